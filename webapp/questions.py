"""What the form and the JSON endpoint accept as a question."""

from collections.abc import Mapping
from typing import NamedTuple

MAX_TITLE = 300  # characters
MAX_DESCRIPTION = 30_000  # characters, the limit of a Stack Exchange question
MAX_BATCH = 64  # questions of one request


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
        text = text.replace("\r\n", "\n")  # browsers send two characters for a line break, but count one
        if len(text) > longest:
            raise ValueError(f"The {name} has {len(text):,} characters; at most {longest:,} are possible.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"The {name} holds half of a surrogate pair, which is no character.")
        texts.append(text)
    question = Question(*texts)
    if not question.title.strip() and not question.description.strip():
        raise ValueError("Write a title or a description first.")
    return question
