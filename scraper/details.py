"""Build a row of ques_details.csv; shared by the sources pages, API and dump."""

import json
from typing import Any

from data.files import parse_tags
from scraper.addresses import web_address


def details_row(title: str, description: str, tags: Any, url: str, creation_date: str) -> dict[str, str]:
    """Return a row of ques_details.csv.

    Raises
    ------
    ValueError
        The title is blank, or the later stages could not read the row; the message gives the reason.
    """
    if not title or not tags:
        raise ValueError("no tags" if title else "no title")
    row = {
        "title": title,
        "description": description,
        "tags": json.dumps(tags, ensure_ascii=False),
        "url": web_address(url),
        "creation_date": creation_date,
    }
    parse_tags(row["tags"], "tags")
    "".join(row.values()).encode("utf-8")  # rejects lone surrogates in a tag or a url
    return row
