"""Read the questions of a data dump's Posts.xml as a stream."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.parsers import expat

from lxml import etree

from scraper.xml_text import Readable, Recoded, remove_forbidden

QUESTION_TYPE = "1"  # value of PostTypeId; answers have 2
TAGS = re.compile(r"[^<>|]+")  # <a><b> until 2025, |a|b| since
ATTRIBUTES = ("Id", "Title", "Body", "Tags", "CreationDate")
ROW = b"<row "
BLOCK = 1 << 16  # bytes
MAX_PROLOG = 1 << 20  # bytes before the root element
MAX_ROW = 1 << 24  # bytes, above the parser's own limit


class RawQuestion(NamedTuple):
    """The ATTRIBUTES of a question's row, unchanged; '' if the row lacks one."""

    id: str
    title: str
    body: str
    tags: str
    date: str


class DumpError(ValueError):
    """The file is not a Posts.xml, or is damaged; the message says where."""


class PostsXml:
    """The text of a Posts.xml. A DOCTYPE is rejected: its entities could exhaust the memory.

    Attributes
    ----------
    name
        Name of the file, for error messages.
    removed
        Number of characters invalid in XML that :func:`raw_questions` has removed so far.
    """

    def __init__(self, file: Readable, name: str) -> None:
        """Read the beginning of the file.

        Raises
        ------
        DumpError
            The file is not XML, or has a DOCTYPE.
        """
        self._file = Recoded(file)
        self._encoding = "utf-8" if self._file.encoding else None
        self._root = ""
        self.name = name
        self.removed = 0
        self._beginning = self._read_beginning()

    def _read_beginning(self) -> bytes:
        """Read and return the bytes up to the root element; libexpat reports a DOCTYPE before reading its entities."""
        parser = expat.ParserCreate(self._encoding)
        parser.XmlDeclHandler = self._note_encoding
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._note_root
        beginning = b""
        try:
            while not self._root:
                if len(beginning) > MAX_PROLOG:
                    raise DumpError(f"{self.name}: no element in its first {MAX_PROLOG >> 20} MB; pass Posts.xml")
                block = self._file.read(BLOCK)
                beginning += block
                parser.Parse(block, not block)
        except DumpError:
            raise
        except (expat.ExpatError, ValueError) as error:  # ValueError: unknown encoding
            if not self._root:
                raise DumpError(f"{self.name}: damaged at line {parser.ErrorLineNumber} ({error})") from error
        return beginning

    def _note_encoding(self, _: str, encoding: str | None, __: int) -> None:
        self._encoding = self._encoding or encoding

    def _refuse_doctype(self, *_: object) -> None:
        raise DumpError(f"{self.name}: it begins with a DOCTYPE, which a data dump does not have; the file is rejected")

    def _note_root(self, name: str, _: object) -> None:
        self._root = self._root or name

    def parser(self, within: bool) -> etree.XMLPullParser:
        """Return a parser for the beginning of the file, or one that is already ``within`` the root element."""
        parser = etree.XMLPullParser(("end",), tag="row", encoding=self._encoding)
        if within:
            parser.feed(f"<{self._root}>".encode())
        return parser

    def blocks(self) -> Iterator[bytes]:
        yield self._beginning
        while block := self._file.read(BLOCK):
            yield block


def raw_questions(posts: PostsXml) -> Iterator[RawQuestion]:
    """Yield the questions of a Posts.xml in order, in constant memory.

    Raises
    ------
    DumpError
        The file is damaged or another file of a dump; the questions before the damage have been yielded.
    """
    row, number = None, 0
    for number, (_, row) in enumerate(itertools.chain.from_iterable(_parsed(posts))):
        kind = row.get("PostTypeId")
        if kind == QUESTION_TYPE:
            yield RawQuestion._make([row.get(attribute, "") for attribute in ATTRIBUTES])
        elif number == 0 and kind is None:
            raise DumpError(f"{posts.name}: its rows have no PostTypeId; pass Posts.xml, not another file of the dump")
        row.clear()
        while row.getprevious() is not None:
            del row.getparent()[0]
    if row is None:
        raise DumpError(f"{posts.name}: no rows in it")


def _parsed(posts: PostsXml) -> Iterator[Iterable[tuple[str, etree._Element]]]:
    """Yield the parser's events for each block: pairs of "end" and a row.

    Only a block that the parser rejects is searched for invalid characters; a new parser then continues without them.
    Searching all blocks would take a third of the parsing time.
    """
    parser, unseen, lines = posts.parser(within=False), 0, 0
    recent = b""  # the bytes read last: at least the last row, so far
    for block in posts.blocks():
        damage, events = _feed(parser, block), parser.read_events()
        recent, before = block if ROW in block else (recent + block)[-MAX_ROW:], recent
        if damage:
            start = before.rfind(ROW)
            before, within = before[max(start, 0) :], start >= 0
            allowed, removed = remove_forbidden(before + block)
            if removed:
                posts.removed += removed
                known, parser, unseen = posts.parser(within), posts.parser(within), lines - before.count(b"\n")
                _feed(known, before)
                damage, recent = _feed(parser, allowed), allowed
                events = itertools.islice(parser.read_events(), len(list(known.read_events())), None)
        yield events
        if damage:
            raise DumpError(f"{posts.name}: damaged at line {unseen + damage.lineno} ({damage.msg})")
        lines += block.count(b"\n")
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        raise DumpError(f"{posts.name}: damaged at line {unseen + error.lineno} ({error.msg})") from error


def _feed(parser: etree.XMLPullParser, part: bytes) -> etree.XMLSyntaxError | None:
    try:
        parser.feed(part)
    except etree.XMLSyntaxError as error:
        return error
    return None


def parse_tags(cell: str) -> list[str]:
    """Return the tags of a row, in the format of any year.

    Examples
    --------
    >>> parse_tags("<python><pandas>"), parse_tags("|python|pandas|")
    (['python', 'pandas'], ['python', 'pandas'])
    """
    return TAGS.findall(cell)
