"""From the text of a question to the tokens that a model reads."""

from collections.abc import Sequence
from pathlib import Path

from tagging.settings import FIELDS

# A text is treated as foreign when this share of its words is split into three or more pieces, as happens to random
# letters and to most languages other than the model's. Of the site's own titles, one in a hundred is.
MAX_FRAGMENTED = 1 / 3
MIN_WORDS = 4  # with fewer words, a single rare name would decide


def load_tokenizer(path: str | Path, max_length: int) -> tuple:
    """Return the ``tokenizers.Tokenizer`` of a tokenizer.json and its pad id.

    It truncates to ``max_length`` tokens, otherwise as configured in the file, and does not pad.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    pad_id = (tokenizer.padding or {}).get("pad_id", 0)
    tokenizer.enable_truncation(**(tokenizer.truncation or {}) | {"max_length": max_length})
    tokenizer.no_padding()  # once, here: changing the settings for each question would not be thread-safe
    return tokenizer, pad_id


def encode(tokenizer, titles: Sequence[str], descriptions: Sequence[str], fields: Sequence[str] = FIELDS) -> list:
    """Tokenize questions as (title, description) pairs, truncated as ``tokenizer`` is configured, and unpadded.

    A question with an empty title or description is encoded as a single text. A field that is not in ``fields`` counts
    as empty.

    Returns
    -------
    list of ``tokenizers.Encoding``, one per question
    """
    texts = []
    for title, description in zip(titles, descriptions, strict=True):
        title = title.strip() if "title" in fields else ""
        description = description.strip() if "description" in fields else ""
        texts.append((title, description) if title and description else title or description)
    return tokenizer.encode_batch(texts)


def is_blank(title: str, description: str, fields: Sequence[str] = FIELDS) -> bool:
    """Return whether a question is blank in all of ``fields``.

    Examples
    --------
    >>> is_blank(" ", "Which metric?")
    False
    >>> is_blank(" ", "Which metric?", fields=["title"])
    True
    """
    return not ("title" in fields and title.strip()) and not ("description" in fields and description.strip())


def check_question(title: str, description: str, where: str = "the question") -> None:
    """Raise ValueError if a question is blank; the message starts with ``where``."""
    if is_blank(title, description):
        raise ValueError(f"{where} is empty: give it a title or a description")


def is_fragmented(encoding) -> bool:
    """Return whether most words of a ``tokenizers.Encoding`` are missing from the tokenizer's vocabulary."""
    pieces: dict[tuple, int] = {}
    for sequence, word, token in zip(encoding.sequence_ids, encoding.word_ids, encoding.tokens, strict=True):
        if word is not None and ((sequence, word) in pieces or token.lstrip("Ġ▁")[:1].isalpha()):
            pieces[sequence, word] = pieces.get((sequence, word), 0) + 1
    fragments = sum(count >= 3 for count in pieces.values())
    return len(pieces) >= MIN_WORDS and fragments / len(pieces) > MAX_FRAGMENTED
