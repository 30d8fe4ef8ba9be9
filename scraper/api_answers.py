"""Parse responses of the Stack Exchange API 2.3. Pure functions from JSON to plain Python.

API reference: https://api.stackexchange.com/docs, in particular /docs/wrapper, /docs/throttle and /docs/error-handling.
"""

import html
import json
import re
from datetime import UTC, datetime

from data.files import QuestionRow
from scraper.details import clean_title, details_row
from scraper.politeness import YEAR_S, RetryLater, StopRun
from tagging.html_text import html_to_text
from tagging.stack_exchange import MAX_ID, STACK_EXCHANGE, canonical_url

# Values of error_name after which the same call may be retried.
TEMPORARY_ERRORS = {"throttle_violation", "temporarily_unavailable", "internal_error"}
AVAILABLE_IN = re.compile(r"available in (\d+) seconds")


class AnswerError(ValueError):
    """An item lacks a field of a question; the message says which."""


def parse_wrapper(text: str, where: str) -> dict:
    """Return the common wrapper object of a response: ``items``, quota and backoff.

    Parameters
    ----------
    text
        Body of the response.
    where
        URL of the method, for error messages.

    Raises
    ------
    RetryLater
        A temporary error, or a response without a wrapper; ``pause_s`` is the requested wait.
    StopRun
        An error that a retry cannot fix, such as an unknown site or an exhausted quota.
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RetryLater("an answer that is no JSON object")
    if "error_id" in answer:
        name, message = str(answer.get("error_name", answer["error_id"])), str(answer.get("error_message", ""))
        if name not in TEMPORARY_ERRORS:
            raise StopRun(f"{where} refuses: {name} ({message})")
        wait = AVAILABLE_IN.search(message)
        raise RetryLater(f"{name} ({message})", slow_down=True, pause_s=float(wait[1]) if wait else None)
    if not isinstance(answer.get("items"), list):
        raise RetryLater("an answer without items")
    return answer


def parse_question_item(item: dict) -> QuestionRow:
    """Convert an item of /questions to a row of ques_details.csv.

    Raises
    ------
    AnswerError
        A field is missing or has the wrong type, or the title or the tags are empty.
    """
    try:
        return details_row(
            title=clean_title(html.unescape(item["title"]), STACK_EXCHANGE),
            description=html_to_text(item["body"]),
            tags=item["tags"],
            url=canonical_url(item["link"]),
            creation_date=iso_time(item["creation_date"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error


def question_id(item: dict) -> int | None:
    """Return the id of an item of /questions, None if it is missing or invalid."""
    number = item.get("question_id")
    return number if isinstance(number, int) and 0 < number <= MAX_ID else None


def backoff(answer: dict) -> float:
    """Return the backoff of a wrapper in seconds, limited to one year; 0 if there is none.

    Examples
    --------
    >>> backoff({"items": [], "backoff": 10})
    10
    """
    seconds = answer.get("backoff")
    return min(max(seconds, 0), YEAR_S) if isinstance(seconds, (int, float)) else 0


def iso_time(seconds: float) -> str:
    """Convert a Unix time in seconds, as the API uses it, to ISO 8601 in UTC.

    Examples
    --------
    >>> iso_time(1700000000)
    '2023-11-14T22:13:20Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def api_time(date: str) -> int:
    """Convert an ISO 8601 date to a Unix time in seconds; without a time zone it is read as UTC.

    Raises
    ------
    ValueError
        ``date`` is not an ISO 8601 date.

    Examples
    --------
    >>> api_time("2024-05-31")
    1717113600
    """
    parsed = datetime.fromisoformat(date)
    return int(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp())
