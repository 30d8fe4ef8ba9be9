"""The form at /, the REST API under /api, and what an operator's probes ask. Described for programs by openapi.json."""

import json
import re
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, Response, current_app, jsonify, render_template, request, send_from_directory
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    ServiceUnavailable,
    TooManyRequests,
    UnsupportedMediaType,
)
from werkzeug.wrappers import Response as BaseResponse

from webapp.guards import charge_entry, charge_explanation, charge_rest
from webapp.questions import (
    MAX_BATCH,
    MAX_DESCRIPTION,
    MAX_TITLE,
    QUESTION_BYTES,
    Question,
    explanation_cost,
    read_question,
)
from webapp.settings import ANSWER_FILES
from webapp.space import RequestRefused, SpaceUnavailable

STATIC = Path(__file__).with_name("static")
# A string, to the end of the body where it has none.
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
MOST_STRUCTURE = 256 * 1024  # strings of a body, and bytes around them: more than any layout of a batch needs
RETRY_AFTER = 10  # seconds; a sleeping Space takes longer to wake, but answers its next visitor soon after

pages = Blueprint("pages", __name__)
api = Blueprint("api", __name__, url_prefix="/api")


def ask(method: str, *arguments):
    """Call a method of :class:`webapp.answers.Tagging`, or raise a 503, or a 400 where the request is at fault."""
    try:
        return getattr(current_app.extensions["tagging"], method)(*arguments)
    except RequestRefused as error:
        raise BadRequest(str(error)) from None
    except SpaceUnavailable as error:
        raise ServiceUnavailable(error.told, retry_after=RETRY_AFTER if error.passes else None) from None


@pages.get("/")
def show_form() -> str:
    return render_page(Question("", ""))


@pages.post("/")
def tag_question() -> str | tuple:
    """Show the tags below the form; whatever goes wrong, the form keeps the asker's text."""
    # Browsers send two characters for a line break, but count one.
    fields = {name: request.form.get(name, "").replace("\r\n", "\n") for name in Question._fields}
    asked = Question(**fields)
    try:
        charge_entry()
        question = read(fields)
        explanation = None
        if "explain" in request.form:
            charge_explanation(1 + explanation_cost(question))
            explanation = ask("explain", question)
        return render_page(asked, answer=ask("answers", [question])[0], explanation=explanation)
    except (BadRequest, ServiceUnavailable, TooManyRequests) as error:
        retry_after = getattr(error, "retry_after", None)
        page = render_page(asked, problem=error.description, can_retry=retry_after is not None)
        return page, error.code, {"Retry-After": str(retry_after)} if retry_after else {}


@pages.get("/answer.css")
def answer_css() -> Response:
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
def tag_json() -> Response:
    """POST {"title": ..., "description": ...} -> the tags of one question."""
    charge_entry()
    fields = read_json()
    return jsonify(ask("answers", [read(fields)])[0])


@api.post("/tags/batch")
def tag_batch() -> Response:
    """POST {"questions": [{"title": ..., "description": ...}, ...]} -> {"answers": [...]}, in the same order."""
    charge_entry()
    request.max_content_length = MAX_BATCH * QUESTION_BYTES
    questions = read_json().get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= MAX_BATCH:
        raise BadRequest(f'"questions" must be a list of 1 to {MAX_BATCH} objects.')
    asked = [read(fields, f"Question {number}: ") for number, fields in enumerate(questions, start=1)]
    charge_rest(len(asked))
    return jsonify(answers=ask("answers", asked))


@api.post("/explain")
def explain() -> Response:
    """POST {"title": ..., "description": ...} -> the words that carried each suggested tag."""
    charge_entry()
    question = read(read_json())
    charge_explanation(explanation_cost(question))
    return jsonify(ask("explain", question))


@api.get("/tags")
def list_tags() -> Response:
    """GET -> {"tags": [{"tag": ..., "threshold": ...}, ...]}, every tag that the model knows."""
    charge_entry()
    return jsonify(tags=ask("tags"))


@api.get("/openapi.json")
def openapi() -> Response:
    """GET -> the description of this API, with the address under which a proxy serves it."""
    description = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))
    return jsonify(description | {"servers": [{"url": request.script_root or "/"}]})


def read_json() -> dict:
    """Return the request's JSON object, or raise a 400, 413 or 415."""
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json.")
    body = request.get_data(cache=False)
    check_structure(body)
    try:
        fields = json.loads(body.decode("utf-8-sig"))
    except ValueError:
        raise BadRequest("The body is no JSON in UTF-8.") from None
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    if not isinstance(fields, dict):
        raise BadRequest('A JSON object was expected: {"title": "...", "description": "..."}.')
    return fields


def check_structure(body: bytes) -> None:
    """Raise a 400 if a body is more than texts: parsed, millions of empty lists would take a hundred times its size."""
    texts = position = outside = 0
    for text in JSON_STRING.finditer(body):
        texts += 1
        outside += text.start() - position
        position = text.end()
        if max(texts, outside) > MOST_STRUCTURE:
            break
    if max(texts, outside + len(body) - position) > MOST_STRUCTURE:
        raise BadRequest("The JSON holds more than questions.")


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
        limit = (request.max_content_length or 0) // 1024
        error.description = f"That is more text than the questions can have: at most {limit:,} KiB are accepted."
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
