"""The sample site's imitation of the Stack Exchange API 2.3: the methods questions and tags/synonyms."""

import html
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from data.sample_site.faults import Faults
from data.sample_site.generator import SampleQuestion

KEYLESS_PAGES = 25
MAX_IDS = 100
SYNONYMS = {"neural-net": "deep-learning", "dataframes": "pandas", "ml": "machine-learning"}


def add_api(app: Flask, questions: Sequence[SampleQuestion], faults: Faults) -> None:
    """Add the API's methods to the site."""
    calls = count(1)
    lock = threading.Lock()

    def wrapper(items: list[dict]) -> ResponseReturnValue:
        """Return the requested page of ``items`` with the remaining quota, or an error as the API does."""
        with lock:
            left = faults.quota - next(calls)
        page, size = (request.args.get(name, default, type=int) for name, default in (("page", 1), ("pagesize", 30)))
        if left < 0:
            message = "too many requests from this IP, more requests available in 36000 seconds"
            return jsonify(error_id=502, error_name="throttle_violation", error_message=message), 400
        if not request.args.get("site"):
            return jsonify(error_id=400, error_name="bad_parameter", error_message="site is required"), 400
        if page > KEYLESS_PAGES and not request.args.get("key"):
            message = "page above 25 requires access token or app key"
            return jsonify(error_id=403, error_name="access_denied", error_message=message), 400
        shown = items[(page - 1) * size : page * size]
        backoff = {"backoff": faults.backoff_s} if faults.backoff_s else {}
        more = len(items) > page * size
        return jsonify(items=shown, has_more=more, quota_max=faults.quota, quota_remaining=left, **backoff)

    @app.get("/2.3/questions")
    def list_questions() -> ResponseReturnValue:
        return wrapper(select(questions))

    @app.get("/2.3/questions/<ids>")
    def questions_by_id(ids: str) -> ResponseReturnValue:
        asked = ids.split(";")
        if len(asked) > MAX_IDS or not all(number.isdecimal() for number in asked):
            return jsonify(error_id=400, error_name="bad_parameter", error_message="ids"), 400
        return wrapper([item for item in select(questions) if str(item["question_id"]) in asked])

    @app.get("/2.3/tags/synonyms")
    def list_synonyms() -> ResponseReturnValue:
        return wrapper([{"from_tag": old, "to_tag": new, "applied_count": 1} for old, new in SYNONYMS.items()])


def select(questions: Sequence[SampleQuestion]) -> list[dict]:
    """Return the requested items in the requested order."""
    by_activity = request.args.get("sort", "activity") == "activity"
    tags = set(filter(None, request.args.get("tagged", "").split(";")))
    limits = {name: request.args.get(name, type=int) for name in ("min", "max", "fromdate", "todate")}
    found = []
    for question in questions:
        item = as_item(question)
        date = item["last_activity_date" if by_activity else "creation_date"]
        if (
            not question.deleted
            and tags <= set(question.tags)
            and (limits["min"] is None or date >= limits["min"])
            and (limits["max"] is None or date <= limits["max"])
            and (limits["fromdate"] is None or item["creation_date"] >= limits["fromdate"])
            and (limits["todate"] is None or item["creation_date"] < limits["todate"])
        ):
            found.append((date, question.id, item))
    found.sort(key=lambda entry: entry[:2], reverse=request.args.get("order", "desc") == "desc")
    return [item for _, _, item in found]


def as_item(question: SampleQuestion) -> dict:
    """Convert a question to an item of the API with the filter "withbody"."""
    return {
        "tags": list(question.tags),
        "is_answered": bool(question.answers_html),
        "score": question.score,
        "creation_date": timestamp(question.asked),
        "last_activity_date": timestamp(question.active),
        "question_id": question.id,
        "content_license": "CC BY-SA 4.0",
        "link": f"{request.host_url.rstrip('/')}{question.path}",
        "title": html.escape(question.title),
        "body": question.body_html,
    }


def timestamp(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())
