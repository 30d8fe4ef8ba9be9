"""The sample site: a Flask application that renders questions in the markup of Stack Exchange sites."""

from collections import Counter
from collections.abc import Sequence

from flask import Flask, Response, abort, redirect, render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response as BaseResponse

from data.sample_site.api import add_api
from data.sample_site.faults import Faults, install_faults
from data.sample_site.generator import SampleQuestion

PAGE_SIZES = (15, 30, 50)
EXCERPT_CHARACTERS = 200
SIDEBAR_QUESTIONS = 6
# As on the real sites: no limit on scripts, frames or connections.
CONTENT_SECURITY_POLICY = "upgrade-insecure-requests; frame-ancestors 'self' https://stackexchange.com"


def create_app(questions: Sequence[SampleQuestion], faults: Faults) -> Flask:
    """Return the application.

    Parameters
    ----------
    questions
        The site's questions, newest first; later changes of the list take effect at once.
    faults
        The faults to simulate.
    """
    app = Flask("data.sample_site")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["excerpt"] = excerpt
    install_faults(app, faults)
    _add_listings(app, questions)
    _add_question_pages(app, questions)
    _add_ask_page(app)
    add_api(app, questions, faults)

    @app.get("/robots.txt")
    def robots() -> Response:
        return Response(render_template("robots.txt", faults=faults), mimetype="text/plain")

    @app.get("/users/login")
    def login() -> str:
        return render_template("error.html", title="Log In", text="Email and password, please.")

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        return render_template("error.html", title="Page not found", text="This question was removed."), 404

    return app


def excerpt(body_html: str) -> str:
    """Return the first words of a body as plain text, as listing pages show them."""
    text = Markup(body_html).striptags()
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    return text[:EXCERPT_CHARACTERS].rsplit(" ", 1)[0] + " ..."


def page_numbers(page: int, last: int) -> list[int | None]:
    """Return the page numbers of the pagination: the ends, the neighbours of ``page``, and None for each gap.

    Examples
    --------
    >>> page_numbers(5, 20)
    [1, None, 3, 4, 5, 6, 7, None, 20]
    """
    near = range(1, 6) if page < 5 else range(page - 2, page + 3)
    shown = sorted({1, last, *(number for number in near if 1 <= number <= last)})
    numbers: list[int | None] = []
    for previous, number in zip([0, *shown], shown, strict=False):
        if number - previous > 1:
            numbers.append(None)
        numbers.append(number)
    return numbers


def related_questions(question: SampleQuestion, questions: Sequence[SampleQuestion]) -> list[SampleQuestion]:
    """Return the other questions with the most tags in common with ``question``; newest first if equal."""
    others = (other for other in questions if other.id != question.id)
    return sorted(others, key=lambda other: -len(set(other.tags) & set(question.tags)))[:SIDEBAR_QUESTIONS]


def _add_listings(app: Flask, questions: Sequence[SampleQuestion]) -> None:
    popular_tags = Counter(tag for question in questions for tag in question.tags).most_common(10)

    @app.get("/")
    def home() -> BaseResponse:
        return redirect("/questions")

    @app.get("/questions")
    @app.get("/questions/tagged/<tag>")
    def listing(tag: str = "") -> str:
        listed = [question for question in questions if not tag or tag in question.tags]
        if request.args.get("tab") == "active":
            listed.sort(key=lambda question: question.active, reverse=True)
        size = request.args.get("pagesize", 50, type=int)
        size = size if size in PAGE_SIZES else 50
        page = max(1, request.args.get("page", 1, type=int))
        last = max(1, -(-len(listed) // size))
        return render_template(
            "listing.html",
            questions=listed[(page - 1) * size : page * size],
            total=len(listed),
            tag=tag,
            page=page,
            last=last,
            numbers=page_numbers(page, last),
            size=size,
            sizes=PAGE_SIZES,
            popular_tags=popular_tags,
        )


def _add_question_pages(app: Flask, questions: Sequence[SampleQuestion]) -> None:
    hot = sorted(questions, key=lambda question: -question.views)[:SIDEBAR_QUESTIONS]

    @app.get("/questions/<int:question_id>")
    @app.get("/questions/<int:question_id>/<slug>")
    def question(question_id: int, slug: str = "") -> str | BaseResponse:
        by_id = {question.id: question for question in questions}
        question = by_id.get(question_id)
        if question is None or question.deleted:
            abort(404)
        if slug != question.slug:
            return redirect(question.path, 301)
        original = by_id.get(question.duplicate_of or 0)
        if original and "noredirect" not in request.args:  # as the sites do for readers without an account
            return redirect(original.path)
        return render_template(
            "question.html",
            question=question,
            original=original,
            related=related_questions(question, questions),
            hot=hot,
        )


def _add_ask_page(app: Flask) -> None:
    @app.get("/questions/ask")
    def ask() -> Response:
        """Show the form to ask a question, with ``?editor=old`` with the tag editor of the sites before 2020."""
        page = render_template("ask.html", editor=request.args.get("editor"))
        return Response(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    @app.post("/questions/ask/submit")
    def submit() -> str:
        return render_template("error.html", title="Thank you", text="The sample site takes no questions.")
