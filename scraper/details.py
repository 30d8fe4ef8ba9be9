"""Build a row of ques_details.csv; shared by the sources pages, API and dump."""

import json
import re
from typing import Any

from data.files import QuestionRow, parse_tags
from scraper.addresses import web_address
from tagging.html_text import UNPRINTABLE
from tagging.platforms import Platform


def clean_title(text: str, platform: Platform) -> str:
    """Return a title on one line, without the status that the platform has appended, such as " [closed]".

    Characters that cannot be printed, such as lone surrogates, are removed.

    Examples
    --------
    >>> from tagging.stack_exchange import STACK_EXCHANGE
    >>> clean_title("How to join  two data frames? [duplicate]", STACK_EXCHANGE)
    'How to join two data frames?'
    """
    return platform.without_status(" ".join(UNPRINTABLE.sub("", re.sub(r"\s", " ", text)).split()))


def details_row(title: str, description: str, tags: Any, url: str, creation_date: str) -> QuestionRow:
    """Return a row of ques_details.csv.

    Raises
    ------
    ValueError
        The title is blank, or the later stages could not read the row; the message gives the reason.
    """
    if not title or not tags:
        raise ValueError("no tags" if title else "no title")
    row = QuestionRow(
        title=title,
        description=description,
        tags=json.dumps(tags, ensure_ascii=False),
        url=web_address(url),
        creation_date=creation_date,
    )
    parse_tags(row["tags"], "tags")
    "".join(map(str, row.values())).encode("utf-8")  # rejects lone surrogates in a tag or a url
    return row
