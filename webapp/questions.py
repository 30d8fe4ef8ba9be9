"""What the form and the JSON endpoint accept as a question."""

import re
from collections.abc import Mapping
from typing import NamedTuple

MAX_TITLE = 300  # characters
MAX_DESCRIPTION = 30_000  # characters, the limit of a Stack Exchange question
MAX_BATCH = 64  # questions of one request
# Bytes of the longest question: each character escaped as a pair of \uXXXX in JSON, or as four percent signs in a form,
# and what stands around the two texts.
QUESTION_BYTES = 12 * (MAX_TITLE + MAX_DESCRIPTION) + 1024
EXPLANATION = 45  # questions that explaining a long text costs as much as (benchmarks/cost.py)
# A character that shows. As in openapi.json: \s of Python and \s of ECMAScript differ in the characters named here.
VISIBLE = re.compile(r"[^\s\x1c-\x1f\x85\ufeff]")
WORD = re.compile(r"\w+|[^\w\s]+")  # at least as many as the words that are left when markup is gone


class Question(NamedTuple):
    title: str
    description: str


def read_question(fields: Mapping[str, object]) -> Question:
    """Return the question of a form or of a JSON object; a missing field counts as blank.

    Raises
    ------
    ValueError : a field is no text or too long, or both are blank; the message is meant for the asker
    """
    texts = []
    for name, longest in (("title", MAX_TITLE), ("description", MAX_DESCRIPTION)):
        text = fields.get(name, "")
        if not isinstance(text, str):
            raise ValueError(f"The {name} must be a text.")
        if len(text) > longest:
            raise ValueError(f"The {name} has {len(text):,} characters; at most {longest:,} are possible.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"The {name} holds half of a surrogate pair, which is no character.")
        texts.append(text)
    question = Question(*texts)
    if not any(VISIBLE.search(text) for text in question):
        raise ValueError("Write a title or a description first.")
    return question


def explanation_cost(question: Question) -> int:
    """Return the number of answers that an explanation costs as much as: one, and one for each word, hidden once."""
    words = sum(len(WORD.findall(text)) for text in question)
    return min(1 + words, EXPLANATION)
