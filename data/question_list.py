"""questions.csv.gz: which questions a model was made from, with their tags and parts, and without any of their text.

The file is CSV in UTF-8, compressed by gzip, with the columns of COLUMNS:

site        URL of the site, such as https://cooking.stackexchange.com
id          id of the question on its site
split       train, validation, test, repost, which no stage uses, or extra, of extra_questions.csv
described   1 if the data had a description of the question, else 0
tags        the tags that the model was trained with, a JSON array
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from data.files import FRACTIONS, REPOST, parse_tags
from tagging.platforms import Platform
from tagging.stack_exchange import MAX_ID


@dataclass(frozen=True, order=True)
class ListedQuestion:
    """A question of a list; the attributes are the columns of the file."""

    site: str
    id: int
    split: str
    described: bool
    tags: tuple[str, ...]


COLUMNS = [field.name for field in fields(ListedQuestion)]
EXTRA_SPLIT = "extra"
SPLITS = (*FRACTIONS, REPOST, EXTRA_SPLIT)


def list_questions(questions, splits: Sequence[str], platform: Platform) -> list[ListedQuestion]:
    """Return a list of the questions whose URL is that of a question of the platform, by site and id.

    Parameters
    ----------
    questions
        DataFrame as :func:`data.files.read_questions` returns it, of n questions.
    splits
        The part of each question, n values.
    platform
        The platform of the site.
    """
    columns = (questions[name] for name in ("url", "description", "tags"))
    listed = []
    for url, description, tags, split in zip(*columns, splits, strict=True):
        if known := identify(url, platform):
            listed.append(ListedQuestion(*known, str(split), description != "", tuple(tags)))
    return sorted(listed)


def identify(url: str, platform: Platform) -> tuple[str, int] | None:
    """Return the site and the id of a question, None if its URL is not that of a question of the platform.

    Examples
    --------
    >>> from tagging.stack_exchange import STACK_EXCHANGE
    >>> identify("https://cooking.stackexchange.com/questions/12/rye-bread", STACK_EXCHANGE)
    ('https://cooking.stackexchange.com', 12)
    """
    try:
        scheme, host, path, *_ = urlsplit(platform.canonical_url(url))
    except ValueError:  # no URL at all
        return None
    question = platform.question_path.match(path)
    if not (scheme and host and question and 0 < int(question["id"]) <= MAX_ID):
        return None
    return f"{scheme}://{host}", int(question["id"])


def encode_question_list(listed: Iterable[ListedQuestion]) -> bytes:
    """Return the content of a questions.csv.gz, the same bytes for the same list."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for question in listed:
        *cells, described, tags = astuple(question)
        writer.writerow([*cells, int(described), json.dumps(tags, ensure_ascii=False)])
    content = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=content, mtime=0) as file:  # neither name nor time
        file.write(text.getvalue().encode())
    return content.getvalue()


def read_question_list(path: Path) -> list[ListedQuestion]:
    """Read a questions.csv.gz.

    Raises
    ------
    ValueError
        The file cannot be read, or a row is not that of a question list; the message gives file, row and column.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a question list, which is CSV in UTF-8 compressed by gzip ({error})") from error
    if header != COLUMNS:
        raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {', '.join(header)[:80]!r}")
    if not rows:
        raise ValueError(f"{path}: lists no question")
    listed = [parse_row(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    seen = set()
    for number, question in enumerate(listed, start=1):
        if (question.site, question.id) in seen:
            raise ValueError(f"{path}, row {number}: question {question.id} of {question.site} comes twice")
        seen.add((question.site, question.id))
    return listed


def parse_row(row: Sequence[str], where: str) -> ListedQuestion:
    """Parse the cells of a row; ``where`` goes into the ValueError."""
    if len(row) != len(COLUMNS):
        raise ValueError(f"{where}: {len(row)} cells, expected {len(COLUMNS)}")
    site, number, split, described, tags = row
    if not site.startswith(("http://", "https://")) or not urlsplit(site).netloc:
        raise ValueError(f"{where}, column site: {site[:60]!r} is not the URL of a site")
    if not (number.isascii() and number.isdecimal() and 0 < int(number[:12]) <= MAX_ID):
        raise ValueError(f"{where}, column id: {number[:40]!r} is not the id of a question")
    if split not in SPLITS:
        raise ValueError(f"{where}, column split: expected {', '.join(SPLITS)}, found {split[:40]!r}")
    if described not in ("0", "1"):
        raise ValueError(f"{where}, column described: expected 0 or 1, found {described[:40]!r}")
    return ListedQuestion(site, int(number), split, described == "1", tuple(parse_tags(tags, f"{where}, column tags")))


def select_listed(questions, listed: Iterable[ListedQuestion], platform: Platform):
    """Return the questions that are in the list, with its tags and parts, and descriptions only where it has them.

    The url of each becomes the shortest one, which is the same whatever title a question has today.

    Parameters
    ----------
    questions
        DataFrame as :func:`data.files.read_questions` returns it.

    Returns
    -------
    DataFrame
        The same columns, ``split``, and ``tags_today``, the tags in ``questions``.
    """
    urls = ((platform.question_url(one.site, one.id), one) for one in listed)
    by_key = {platform.question_key(url): (url, one) for url, one in urls}
    found = questions.assign(key=questions["url"].map(platform.question_key))
    found = found[found["key"].isin(by_key)].drop_duplicates("key")
    kept, rows = zip(*(by_key[key] for key in found["key"]), strict=True) if len(found) else ((), ())
    texts = zip(found["description"], rows, strict=True)
    return found.drop(columns="key").assign(
        url=list(kept),
        description=[text if row.described else "" for text, row in texts],
        tags_today=found["tags"],
        tags=[list(row.tags) for row in rows],
        split=[row.split for row in rows],
    )
