"""The form at /, the REST API under /api, and the health checks. templates/openapi.json describes the API."""

import json
import re

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

from tagging.stack_exchange import STACK_EXCHANGE
from webapp.guards import charge_entry, charge_explanation, charge_rest
from webapp.questions import (
    MAX_BATCH,
    MAX_DESCRIPTION,
    MAX_EXPLANATION_COST,
    MAX_QUESTION_BYTES,
    MAX_TITLE,
    Question,
    explanation_cost,
    read_question,
)
from webapp.settings import ANSWER_FILES
from webapp.space import RequestRefused, SpaceUnavailable

# A string, up to the end of the body if it is not terminated.
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
MAX_STRUCTURE = 256 * 1024  # strings of a body, and bytes around them: more than a batch in any formatting needs
RETRY_AFTER = 10  # seconds; a sleeping Space takes longer to start, but the retry is then answered soon after
SHARED_FILES = '/<any("answer.css", "colours.css", "favicon.svg", "form.css", "ticks.js"):name>'

pages = Blueprint("pages", __name__)
api = Blueprint("api", __name__, url_prefix="/api")


def ask(method: str, *arguments):
    """Call a method of :class:`webapp.answers.Tagging`. Aborts with 503, or with 400 if the request is at fault."""
    try:
        return getattr(current_app.extensions["tagging"], method)(*arguments)
    except RequestRefused as error:
        raise BadRequest(str(error)) from None
    except SpaceUnavailable as error:
        retry_after = RETRY_AFTER if error.is_temporary else None
        raise ServiceUnavailable(error.user_message, retry_after=retry_after) from None


@pages.get("/")
def show_form() -> str:
    return render_page(Question("", ""))


@pages.post("/")
def tag_question() -> str | tuple:
    """Show the tags below the form. If anything fails, the form keeps its text."""
    # Browsers send a line break as two characters, but count it as one in maxlength.
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
        unavailable = isinstance(error, ServiceUnavailable)
        page = render_page(asked, problem=error.description, can_retry=retry_after is not None, unavailable=unavailable)
        return page, error.code, {"Retry-After": str(retry_after)} if retry_after else {}


@pages.get(SHARED_FILES)
def shared_file(name: str) -> Response:
    """Send a file that the Gradio app or the browser page uses as well."""
    return send_from_directory(ANSWER_FILES, name)


@pages.get("/healthz")
def healthz() -> Response:
    """Report that this app runs."""
    return jsonify(status="ok")


@pages.get("/readyz")
def readyz() -> Response:
    """Report that the Space answers, or abort with 503."""
    ask("ping")
    return jsonify(status="ok")


@api.post("/tags")
def tag_json() -> Response:
    """POST {"title": ..., "description": ...} -> the tags of one question."""
    charge_entry()
    fields = json_body()
    return jsonify(ask("answers", [read(fields)])[0])


@api.post("/tags/batch")
def tag_batch() -> Response:
    """POST {"questions": [{"title": ..., "description": ...}, ...]} -> {"answers": [...]}, in the same order."""
    charge_entry()
    request.max_content_length = MAX_BATCH * MAX_QUESTION_BYTES
    questions = json_body().get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= MAX_BATCH:
        raise BadRequest(f'"questions" must be a list of 1 to {MAX_BATCH} objects.')
    asked = [read(fields, f"Question {number}: ") for number, fields in enumerate(questions, start=1)]
    charge_rest(len(asked))
    return jsonify(answers=ask("answers", asked))


@api.post("/explain")
def explain() -> Response:
    """POST {"title": ..., "description": ...} -> the words that led to each suggested tag."""
    charge_entry()
    question = read(json_body())
    charge_explanation(explanation_cost(question))
    return jsonify(ask("explain", question))


@api.get("/tags")
def list_tags() -> Response:
    """GET -> {"tags": [{"tag": ..., "threshold": ...}, ...]}, every tag that the model knows."""
    charge_entry()
    return jsonify(tags=ask("tags"))


@api.get("/openapi.json")
def openapi() -> Response:
    """GET -> the OpenAPI description, with the path under which a proxy serves this app."""
    limits = {
        "max_title": MAX_TITLE,
        "max_description": MAX_DESCRIPTION,
        "max_batch": MAX_BATCH,
        "max_explanation_cost": MAX_EXPLANATION_COST,
        "question_kib": f"{MAX_QUESTION_BYTES // 1024:,}",
        "batch_kib": f"{MAX_BATCH * MAX_QUESTION_BYTES // 1024:,}",
    }
    description = json.loads(render_template("openapi.json", **limits))
    return jsonify(description | {"servers": [{"url": request.script_root or "/"}]})


def json_body() -> dict:
    """Return the JSON object of the request, or abort with 400, 413 or 415."""
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json.")
    body = request.get_data(cache=False)
    check_structure(body)
    try:
        fields = json.loads(body.decode("utf-8-sig"))
    except ValueError:
        raise BadRequest("The body is not JSON in UTF-8.") from None
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    if not isinstance(fields, dict):
        raise BadRequest('A JSON object was expected: {"title": "...", "description": "..."}.')
    return fields


def check_structure(body: bytes) -> None:
    """Abort with 400 if a body is not mainly text: parsed, millions of empty lists take a hundred times its size."""
    texts = position = outside = 0
    for text in JSON_STRING.finditer(body):
        texts += 1
        outside += text.start() - position
        position = text.end()
        if max(texts, outside) > MAX_STRUCTURE:
            break
    if max(texts, outside + len(body) - position) > MAX_STRUCTURE:
        raise BadRequest("The JSON holds more than questions.")


def read(fields: object, where: str = "") -> Question:
    """Return the question in a JSON object, or abort with a 400 whose message starts with ``where``."""
    if not isinstance(fields, dict):
        raise BadRequest(f'{where}A JSON object was expected: {{"title": "...", "description": "..."}}.')
    try:
        return read_question(fields)
    except ValueError as error:
        raise BadRequest(f"{where}{error}") from None


def show_error(error: HTTPException) -> BaseResponse | tuple:
    """Render an HTTP error: as problem details (RFC 9457) for the API and the health checks, else as a page."""
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
    """Return the URL of a tag's page on the site."""
    return STACK_EXCHANGE.tag_url(current_app.config["TAGGER_SITE"], tag)
