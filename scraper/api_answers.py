"""What the answers of the Stack Exchange API 2.3 say: pure functions from its JSON to plain Python.

The API: https://api.stackexchange.com/docs, in particular /docs/wrapper, /docs/throttle and /docs/error-handling.
"""

import html
import json
import re
from datetime import UTC, datetime

from tagging.html_text import html_to_text

from scraper.details import details_row
from scraper.pages import canonical_url, clean_title
from scraper.politeness import YEAR_S, RetryLater, StopRun

# error_name: the call was right and may be made again.
PASSING_ERRORS = {"throttle_violation", "temporarily_unavailable", "internal_error"}
LARGEST_ID = 2**31 - 1  # the API refuses a call with a larger one
AVAILABLE_IN = re.compile(r"available in (\d+) seconds")


class AnswerError(ValueError):
    """An item lacks what a question has; the message says what."""


def parse_wrapper(text: str, where: str) -> dict:
    """Return the common wrapper of an answer: its ``items`` and what it says of quota and backoff.

    Raises
    ------
    RetryLater : an error that passes, or no wrapper at all; ``pause_s`` is the wait that it asks for.
    StopRun : an error that will not pass, such as a wrong site or a spent quota.
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RetryLater("an answer that is no JSON object")
    if "error_id" in answer:
        name, message = str(answer.get("error_name", answer["error_id"])), str(answer.get("error_message", ""))
        if name not in PASSING_ERRORS:
            raise StopRun(f"{where} refuses: {name} ({message})")
        wait = AVAILABLE_IN.search(message)
        raise RetryLater(f"{name} ({message})", slow_down=True, pause_s=float(wait[1]) if wait else None)
    if not isinstance(answer.get("items"), list):
        raise RetryLater("an answer without items")
    return answer


def parse_question_item(item: dict) -> dict[str, str]:
    """Return an item of /questions as a row of ques_details.csv.

    Raises
    ------
    AnswerError : a field is missing or of another kind, or the title or the tags are empty.
    """
    try:
        return details_row(
            title=clean_title(html.unescape(item["title"])),
            description=html_to_text(item["body"]),
            tags=item["tags"],
            url=canonical_url(item["link"]),
            creation_date=iso_time(item["creation_date"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error


def question_id(item: dict) -> int | None:
    """Return the id of an item of /questions, None if it has none that can be asked for."""
    number = item.get("question_id")
    return number if isinstance(number, int) and 0 < number <= LARGEST_ID else None


def backoff(answer: dict) -> float:
    """Return the seconds that a wrapper asks its method to be left alone for, a year at most; 0 if it does not."""
    seconds = answer.get("backoff")
    return min(max(seconds, 0), YEAR_S) if isinstance(seconds, (int, float)) else 0


def iso_time(seconds: float) -> str:
    """Return a time of the API (seconds since 1970) as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def api_time(date: str) -> int:
    """Return an ISO 8601 date, in UTC where it names no zone, as a time of the API.

    Raises
    ------
    ValueError : it is none.
    """
    parsed = datetime.fromisoformat(date)
    return int(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp())
