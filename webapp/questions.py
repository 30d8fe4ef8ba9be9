"""The question that the form and the REST API accept, and its limits."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from tagging.settings import DEFAULTS

MAX_TITLE, MAX_DESCRIPTION = DEFAULTS.max_title, DEFAULTS.max_description  # characters; the Space may allow less
MAX_BATCH = 64  # questions of one request
# Maximum size of a question: each character escaped as a surrogate pair \uXXXX\uXXXX in JSON, or as four
# percent-encoded bytes in a form, plus the rest of the body.
MAX_QUESTION_BYTES = 12 * (MAX_TITLE + MAX_DESCRIPTION) + 1024
MAX_EXPLANATION_COST = 45  # an explanation takes at most as long as this many answers (benchmarks/cost.py)
# A visible character, as in templates/openapi.json: \s of Python and ECMAScript differ in the characters listed here.
VISIBLE = re.compile(r"[^\s\x1c-\x1f\x85\ufeff]")
WORD = re.compile(r"\w+|[^\w\s]+")  # at least as many as the words that remain without markup


class Question(NamedTuple):
    title: str
    description: str


def read_question(fields: Mapping[str, object]) -> Question:
    """Return the question in the fields of a form or a JSON object. A missing field counts as blank.

    Raises
    ------
    ValueError
        If a field is not a string or too long, or if both are blank. The message is meant for the user.
    """
    texts = []
    for name, max_length in (("title", MAX_TITLE), ("description", MAX_DESCRIPTION)):
        text = fields.get(name, "")
        if not isinstance(text, str):
            raise ValueError(f"The {name} must be a string.")
        if len(text) > max_length:
            raise ValueError(f"The {name} has {len(text):,} characters; at most {max_length:,} are allowed.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"The {name} holds half of a surrogate pair, which is no character.")
        texts.append(text)
    question = Question(*texts)
    if not any(VISIBLE.search(text) for text in question):
        raise ValueError("Write a title or a description first.")
    return question


def explanation_cost(question: Question) -> int:
    """Return the cost of an explanation, in answers: one, plus one for each word, which is hidden once.

    Examples
    --------
    >>> explanation_cost(Question("Join two data frames", ""))
    5
    """
    words = sum(len(WORD.findall(text)) for text in question)
    return min(1 + words, MAX_EXPLANATION_COST)
