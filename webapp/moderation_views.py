"""The pages of the moderation queue: one question at a time, its decision, undo, export, and the sign-in.

Who reviews is in a signed cookie. On this machine it is a random name; where a token is needed, the name that was given
with it.
"""

import csv
import hmac
import io
import json
import secrets
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, Response, current_app, g, redirect, render_template, request, session, url_for
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, SecurityError, Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from data.decisions import ACCEPT, COLUMNS, REJECT, REPLACE, as_jsonl, label_studio_tasks, table_rows
from data.worklist_file import CHANGES
from tagging.stack_exchange import STACK_EXCHANGE
from webapp.moderation_queue import CERTAIN, ORDERS, SKIP, ModerationQueue, NotLeased, Progress, suggested_tags
from webapp.views import SHARED_FILES, shared_file

MAX_NAME = 40  # characters of a reviewer's name
EXPORTS = {"csv": "text/csv", "jsonl": "application/x-ndjson", "json": "application/json"}

pages = Blueprint("pages", __name__)
pages.add_url_rule(SHARED_FILES, view_func=shared_file)


@dataclass(frozen=True)
class Review:
    """What the pages need: the queue, the tags that a question may get, sets of tags to choose from, and limits.

    ``budget`` is the number of decisions that a reviewer makes on a day, 0 for no limit; ``token`` is '' if none is
    needed.
    """

    queue: ModerationQueue
    tags: frozenset[str]
    presets: list[tuple[str, ...]]
    budget: int
    token: str


def review() -> Review:
    return current_app.extensions["review"]


@pages.before_request
def check_token() -> BaseResponse | None:
    """Send whoever has not given the token to the sign-in page."""
    token = review().token
    if request.endpoint in ("pages.sign_in", "pages.show_sign_in", "pages.shared_file"):
        return None
    if token and not hmac.compare_digest(session.get("token", ""), fingerprint(token)):
        return redirect(url_for("pages.show_sign_in"), 303)
    g.is_new = "reviewer" not in session
    session.setdefault("reviewer", secrets.token_hex(4))
    return None


def fingerprint(token: str) -> str:
    """Return what the cookie holds in place of the token."""
    return hmac.new(current_app.secret_key.encode(), token.encode(), "sha256").hexdigest()  # type: ignore[union-attr]


@pages.get("/sign-in")
def show_sign_in() -> str:
    return render_template("sign_in.html", max_name=MAX_NAME)


@pages.post("/sign-in")
def sign_in() -> BaseResponse:
    name = " ".join(request.form.get("name", "").split())
    if not hmac.compare_digest(request.form.get("token", "").strip().encode(), review().token.encode()):
        raise Unauthorized("That is not the token that this queue was started with.")
    if not 0 < len(name) <= MAX_NAME:
        raise BadRequest(f"Give a name of at most {MAX_NAME} characters.")
    session.update(token=fingerprint(review().token), reviewer=name)
    return redirect(url_for("pages.show_question"), 303)


@pages.get("/")
def show_question() -> str | BaseResponse:
    """Show the question that the reviewer has, or the next one.

    Who comes without a cookie gets one first: a program that keeps none, such as a monitor, gets no question leased.
    """
    if g.is_new and "started" in request.args:
        raise BadRequest("The queue needs a cookie, so that no one else gets your question: allow cookies here.")
    return redirect(url_for("pages.show_question", started="yes"), 303) if g.is_new else render_question()


@pages.post("/decide")
def decide() -> BaseResponse | tuple:
    """Record a decision, and go on to the next question."""
    action, url = request.form.get("action", ""), request.form.get("url", "")
    tags: list[str] = []
    if action == REPLACE:
        tags = list(dict.fromkeys(request.form.get("tags", "").replace(",", " ").split()))
        unknown = [tag for tag in tags if tag not in review().tags]
        if unknown or not 0 < len(tags) <= STACK_EXCHANGE.max_tags:
            problem = (
                f"No tag of this site: {', '.join(unknown)[:80]}."
                if unknown
                else f"Give 1 to {STACK_EXCHANGE.max_tags} tags, separated by blanks."
            )
            return render_question(problem=problem, typed=" ".join(tags)), 400
    elif action not in (ACCEPT, REJECT, SKIP):
        raise BadRequest("No such decision.")
    elif action != SKIP and is_spent(progress()):
        return redirect(url_for("pages.show_question"), 303)
    try:
        review().queue.decide(session["reviewer"], url, action, tags)
    except NotLeased:
        raise Conflict("This question has been decided, or someone else is looking at it.") from None
    return redirect(url_for("pages.show_question"), 303)


@pages.post("/undo")
def undo() -> BaseResponse:
    """Take back the last decision of the reviewer, and show its question again."""
    review().queue.undo(session["reviewer"])
    return redirect(url_for("pages.show_question"), 303)


@pages.post("/order")
def choose_order() -> BaseResponse:
    """Change the order of the questions."""
    order = request.form.get("order", "")
    if order not in ORDERS:
        raise BadRequest("No such order.")
    session["order"] = order
    review().queue.release(session["reviewer"])
    return redirect(url_for("pages.show_question"), 303)


@pages.get('/decisions.<any("csv", "jsonl", "json"):ending>')
def export(ending: str) -> Response:
    """Send all decisions: as a table, as JSON lines, or as tasks for Label Studio."""
    response = Response(exported(review().queue, ending), content_type=f"{EXPORTS[ending]}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="decisions.{ending}"'
    return response


def exported(queue: ModerationQueue, ending: str) -> str:
    """Return all decisions as the content of a file with this ending, one of EXPORTS."""
    decisions = queue.decisions()
    if ending == "jsonl":
        return as_jsonl(decisions)
    if ending == "json":
        return json.dumps(label_studio_tasks(decisions, queue.descriptions()), ensure_ascii=False, indent=2) + "\n"
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([COLUMNS, *table_rows(decisions)])
    return content.getvalue()


def is_spent(state: Progress) -> bool:
    """Tell whether the reviewer has made the decisions of a day."""
    return 0 < review().budget <= state.today


def progress() -> Progress:
    """Return what the reviewer has done; a day begins at midnight on this machine."""
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return review().queue.progress(session["reviewer"], midnight)


def render_question(**context) -> str:
    state = progress()
    order = session.get("order", CERTAIN)
    spent = is_spent(state)
    question = None if spent else review().queue.next_question(session["reviewer"], order)
    return render_template(
        "moderation.html",
        question=question,
        choices=replacements(question, review().presets) if question else [],
        progress=state,
        budget=review().budget,
        spent=spent,
        order=order,
        **context,
    )


def replacements(row: dict, presets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return sets of tags to choose from: each single change, if there are several, then the presets; at most nine."""
    sets: list[tuple[str, ...]] = []
    changes = [(kind, change["tag"]) for kind in CHANGES for change in row[kind]]
    if len(changes) > 1:
        sets = [
            (*row["tags"], tag) if kind == "add" else tuple(other for other in row["tags"] if other != tag)
            for kind, tag in changes
        ]
    known = [set(row["tags"]), set(suggested_tags(row))]
    allowed = [
        tags for tags in (*sets, *presets) if 0 < len(tags) <= STACK_EXCHANGE.max_tags and set(tags) not in known
    ]
    return allowed[:9]


def show_error(error: HTTPException) -> BaseResponse | tuple:
    response = error.get_response()
    if not isinstance(error, SecurityError):  # no url can be made for a host that is not trusted
        response.data = render_template("moderation_error.html", error=error)
        response.content_type = "text/html; charset=utf-8"
    return response
