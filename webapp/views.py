"""The form at /, the REST API under /api, and what an operator's probes ask. Described for programs by openapi.json."""

import json
from urllib.parse import quote

from flask import Blueprint, Response, current_app, jsonify, render_template, request, send_from_directory
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, ServiceUnavailable, TooManyRequests
from werkzeug.wrappers import Response as BaseResponse

from webapp.guards import limit_questions, seconds_to_wait
from webapp.questions import MAX_BATCH, MAX_DESCRIPTION, MAX_TITLE, Question, read_question
from webapp.space import SpaceUnavailable

RETRY_AFTER = 10  # seconds; a sleeping Space takes longer to wake, but answers its next visitor soon after

pages = Blueprint("pages", __name__)
api = Blueprint("api", __name__, url_prefix="/api")


def ask(method: str, *arguments):
    """Call a method of :class:`webapp.tagging.Tagging`, or raise a 503 with its Retry-After."""
    try:
        return getattr(current_app.extensions["tagging"], method)(*arguments)
    except SpaceUnavailable:
        raise ServiceUnavailable(
            "The tagger cannot be reached just now. It may be waking up: please try again in a moment.",
            retry_after=RETRY_AFTER,
        ) from None


@pages.get("/")
def show_form() -> str:
    return render_page(Question("", ""))


@pages.post("/")
@limit_questions
def tag_question() -> str | tuple:
    """Show the tags below the form; whatever goes wrong, the form keeps the asker's text."""
    # Browsers send two characters for a line break, but count one.
    fields = {name: request.form.get(name, "").replace("\r\n", "\n") for name in Question._fields}
    asked = Question(**fields)
    try:
        question = read_question(fields)
        explanation = ask("explain", question) if "explain" in request.form else None
        return render_page(asked, answer=ask("answers", [question])[0], explanation=explanation)
    except ValueError as error:
        return render_page(asked, problem=str(error)), 400
    except ServiceUnavailable as error:
        page = render_page(asked, problem=error.description, can_retry=True)
        return page, error.code, {"Retry-After": str(RETRY_AFTER)}


@pages.get("/answer.css")
def answer_css() -> Response:
    from webapp.app import ANSWER_FILES

    return send_from_directory(ANSWER_FILES, "answer.css")


@pages.get("/healthz")
def healthz() -> Response:
    """Tell that this app runs."""
    return jsonify(status="ok")


@pages.get("/readyz")
def readyz() -> Response:
    """Tell that the Space answers."""
    ask("ping")
    return jsonify(status="ok")


@api.post("/tags")
@limit_questions
def tag_json() -> Response:
    """POST {"title": ..., "description": ...} -> the tags of one question."""
    fields = read_json()
    return jsonify(ask("answers", [read(fields)])[0])


@api.post("/tags/batch")
@limit_questions
def tag_batch() -> Response:
    """POST {"questions": [{"title": ..., "description": ...}, ...]} -> {"answers": [...]}, in the same order."""
    questions = read_json().get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= MAX_BATCH:
        raise BadRequest(f'"questions" must be a list of 1 to {MAX_BATCH} objects.')
    asked = [read(fields, f"Question {number}: ") for number, fields in enumerate(questions, start=1)]
    return jsonify(answers=ask("answers", asked))


@api.post("/explain")
@limit_questions
def explain() -> Response:
    """POST {"title": ..., "description": ...} -> the words that carried each suggested tag."""
    return jsonify(ask("explain", read(read_json())))


@api.get("/tags")
@limit_questions
def list_tags() -> Response:
    """GET -> {"tags": [{"tag": ..., "threshold": ...}, ...]}, every tag that the model knows."""
    return jsonify(tags=ask("tags"))


@api.get("/openapi.json")
def openapi() -> Response:
    return current_app.send_static_file("openapi.json")


def read_json() -> dict:
    """Return the request's JSON object, or raise a 400."""
    try:
        fields = request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    if not isinstance(fields, dict):
        raise BadRequest('A JSON object was expected: {"title": "...", "description": "..."}.')
    return fields


def read(fields: object, where: str = "") -> Question:
    """Return the question of a JSON object, or raise a 400 that begins with ``where``."""
    if not isinstance(fields, dict):
        raise BadRequest(f'{where}A JSON object was expected: {{"title": "...", "description": "..."}}.')
    try:
        return read_question(fields)
    except ValueError as error:
        raise BadRequest(f"{where}{error}") from None


def show_error(error: HTTPException) -> BaseResponse | tuple:
    """Render an HTTP error: problem details (RFC 9457) to programs, a page to people."""
    if isinstance(error, RequestEntityTooLarge):
        limit = current_app.config["MAX_CONTENT_LENGTH"] // 1024
        error.description = f"That is more text than a question can have: at most {limit} KiB are accepted."
    if isinstance(error, TooManyRequests):
        error = TooManyRequests(
            f"More than {error.description} came from this address. Please wait a little.",
            retry_after=seconds_to_wait(),
        )
    response = error.get_response()  # keeps Allow and Retry-After
    if request.path.startswith(("/api/", "/healthz", "/readyz")):
        problem = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
        response.data = json.dumps(problem)
        response.content_type = "application/problem+json"
    else:
        response.data = render_template("error.html", error=error)
        response.content_type = "text/html; charset=utf-8"
    return response


def render_page(question: Question, **context) -> str:
    return render_template(
        "index.html",
        question=question,
        max_title=MAX_TITLE,
        max_description=MAX_DESCRIPTION,
        tag_url=tag_url,
        **context,
    )


def tag_url(tag: str) -> str:
    """Return the url of a tag's page on the site."""
    return f"{current_app.config['TAGGER_SITE']}/questions/tagged/{quote(tag, safe='')}"
