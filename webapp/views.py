"""The form at / and the JSON endpoint at /api/tags: the same question in, the same answer and errors out."""

import json
from urllib.parse import quote

from flask import Blueprint, Response, current_app, jsonify, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, ServiceUnavailable

from webapp.questions import MAX_DESCRIPTION, MAX_TITLE, Question, read_question
from webapp.space import SpaceUnavailable

RETRY_AFTER = 10  # seconds; a sleeping Space takes longer to wake, but answers its next visitor soon after

pages = Blueprint("pages", __name__)
api = Blueprint("api", __name__, url_prefix="/api")


def find_tags(question: Question) -> dict[str, list[dict]]:
    """Ask the Space for the question's tags, or raise a 503 with its Retry-After."""
    try:
        return current_app.extensions["space"].tag(*question)
    except SpaceUnavailable as error:
        current_app.logger.warning("%s", error)
        raise ServiceUnavailable(
            "The tagger cannot be reached just now. It may be waking up: please try again in a moment.",
            retry_after=RETRY_AFTER,
        ) from None


@pages.get("/")
def show_form() -> str:
    return render_page(Question("", ""))


@pages.post("/")
def tag_question() -> Response | tuple:
    """Show the tags below the form; whatever goes wrong, the form keeps the asker's text."""
    asked = Question(request.form.get("title", ""), request.form.get("description", ""))
    try:
        return render_page(asked, result=find_tags(read_question(request.form)))
    except ValueError as error:
        return render_page(asked, problem=str(error)), 400
    except ServiceUnavailable as error:
        page = render_page(asked, problem=error.description, can_retry=True)
        return page, error.code, {"Retry-After": str(RETRY_AFTER)}


@api.post("/tags")
def tag_json() -> Response:
    """POST {"title": ..., "description": ...} -> {"suggested": [{"tag", "probability"}, ...], "others": [...]}"""
    try:
        fields = request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    if not isinstance(fields, dict):
        raise BadRequest('A JSON object was expected: {"title": "...", "description": "..."}.')
    try:
        question = read_question(fields)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return jsonify(find_tags(question))


def show_error(error: HTTPException) -> Response | tuple:
    """Render an HTTP error: problem details (RFC 9457) under /api, a page elsewhere."""
    if isinstance(error, RequestEntityTooLarge):
        limit = current_app.config["MAX_CONTENT_LENGTH"] // 1024
        error.description = f"That is more text than a question can have: at most {limit} KiB are accepted."
    response = error.get_response()  # keeps Allow and Retry-After
    if request.path.startswith("/api/"):
        problem = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
        response.data = json.dumps(problem)
        response.content_type = "application/problem+json"
    else:
        response.data = render_template("error.html", error=error)
        response.content_type = "text/html; charset=utf-8"
    return response


def render_page(question: Question, **context) -> str:
    return render_template(
        "index.html", question=question, max_title=MAX_TITLE, max_description=MAX_DESCRIPTION, **context
    )


@pages.app_template_filter()
def tag_url(tag: str) -> str:
    """Return the url of a tag's page on the site."""
    return f"{current_app.config['TAGGER_SITE']}/questions/tagged/{quote(tag, safe='')}"
