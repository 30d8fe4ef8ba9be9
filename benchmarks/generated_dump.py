"""A generated data dump of any size: questions and answers of the sample site, repeated."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import quoteattr

from data.sample_site.generator import make_questions
from tagging.stack_exchange import STACK_EXCHANGE


def question_row(key: str, title: str, body_html: str, tags: Iterable[str], date: str) -> str:
    """Return the row of a question in a Posts.xml."""
    body, listed = quoteattr(body_html), quoteattr(f"|{'|'.join(tags)}|")
    return (
        f'  <row Id="{key}" PostTypeId="1" CreationDate="{date}" Score="1" ViewCount="10" Body={body} '
        f'OwnerUserId="1" Title={quoteattr(title)} Tags={listed} '
        f'ContentLicense="{STACK_EXCHANGE.licence_of(date)}" />\n'
    )


def write_dump(path: Path, megabytes: int) -> int:
    """Write a Posts.xml of that size, with questions and answers in turn; return the number of questions."""
    block = []
    for number, question in enumerate(make_questions(450)):
        body, date = quoteattr(question.body_html), question.asked.isoformat()
        block.append(
            question_row(f"%d{number:04}", question.title, question.body_html, question.tags, date)
            + f'  <row Id="%d{number + 5000:04}" PostTypeId="2" ParentId="1" CreationDate="{date}" Body={body} />\n'
        )
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
        for repetition in itertools.count(1):
            file.writelines(rows.replace("%d", str(repetition)) for rows in block)
            if file.tell() > megabytes * 1e6:
                break
        file.write("</posts>\n")
    return repetition * len(block)
