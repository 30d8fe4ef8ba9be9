"""What the form and the JSON endpoint accept as a question."""

import re
from collections.abc import Mapping
from typing import NamedTuple

MAX_TITLE = 300  # characters
MAX_DESCRIPTION = 30_000  # characters, the limit of a Stack Exchange question
MAX_BATCH = 64  # questions of one request
# A character that shows. As in openapi.json: \s of Python and \s of ECMAScript differ in the characters named here.
VISIBLE = re.compile(r"[^\s\x1c-\x1f\x85\ufeff]")


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
