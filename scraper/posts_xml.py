"""The questions of a data dump's Posts.xml, read as a stream."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.parsers import expat

from lxml import etree

from scraper.xml_text import Readable, Recoded, remove_forbidden

QUESTION_TYPE = "1"  # of PostTypeId; answers are 2
TAGS = re.compile(r"[^<>|]+")  # <a><b> until 2025, |a|b| since
ATTRIBUTES = ("Id", "Title", "Body", "Tags", "CreationDate")
ROW = b"<row "
BLOCK = 1 << 16  # bytes
LONGEST_PROLOG = 1 << 20  # bytes before the first element, which are comments
LONGEST_ROW = 1 << 24  # bytes, more than the parser takes


class RawQuestion(NamedTuple):
    """The ATTRIBUTES of a question's row, as they are; '' where the row lacks one."""

    id: str
    title: str
    body: str
    tags: str
    date: str


class DumpError(ValueError):
    """The file is no Posts.xml, or damaged; the message says where."""


class PostsXml:
    """The text of a Posts.xml, which has no DOCTYPE: entities can blow up a parser's memory.

    Attributes
    ----------
    name : begins the message of an error.
    removed : characters that XML forbids and that :func:`raw_questions` has left out so far.
    """

    def __init__(self, file: Readable, name: str) -> None:
        """Read the file's beginning.

        Raises
        ------
        DumpError : it is not XML, or has a DOCTYPE.
        """
        self._file = Recoded(file)
        self._encoding = "utf-8" if self._file.encoding else None
        self._root = ""
        self.name = name
        self.removed = 0
        self._beginning = self._read_beginning()

    def _read_beginning(self) -> bytes:
        """Return what is read to come to the root; libexpat tells of a DOCTYPE before it reads its entities."""
        parser = expat.ParserCreate(self._encoding)
        parser.XmlDeclHandler = self._note_encoding
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._note_root
        beginning = b""
        try:
            while not self._root:
                if len(beginning) > LONGEST_PROLOG:
                    raise DumpError(f"{self.name}: no element in its first {LONGEST_PROLOG >> 20} MB; give Posts.xml")
                block = self._file.read(BLOCK)
                beginning += block
                parser.Parse(block, not block)
        except DumpError:
            raise
        except (expat.ExpatError, ValueError) as error:  # ValueError: in an encoding that it does not know
            if not self._root:
                raise DumpError(f"{self.name}: damaged at line {parser.ErrorLineNumber} ({error})") from error
        return beginning

    def _note_encoding(self, _: str, encoding: str | None, __: int) -> None:
        self._encoding = self._encoding or encoding

    def _refuse_doctype(self, *_: object) -> None:
        raise DumpError(f"{self.name}: it begins with a DOCTYPE, which no data dump does; it is not read")

    def _note_root(self, name: str, _: object) -> None:
        self._root = self._root or name

    def parser(self, within: bool) -> etree.XMLPullParser:
        """Return a parser for the file's beginning, or one that already is ``within`` its root."""
        parser = etree.XMLPullParser(("end",), tag="row", encoding=self._encoding)
        if within:
            parser.feed(f"<{self._root}>".encode())
        return parser

    def blocks(self) -> Iterator[bytes]:
        yield self._beginning
        while block := self._file.read(BLOCK):
            yield block


def raw_questions(posts: PostsXml) -> Iterator[RawQuestion]:
    """Yield the questions of a Posts.xml in its order, in constant memory.

    Raises
    ------
    DumpError : damaged, or another file of a dump; what came before the damage has been yielded.
    """
    row, number = None, 0
    for number, (_, row) in enumerate(itertools.chain.from_iterable(_parsed(posts))):
        kind = row.get("PostTypeId")
        if kind == QUESTION_TYPE:
            yield RawQuestion._make([row.get(attribute, "") for attribute in ATTRIBUTES])
        elif number == 0 and kind is None:
            raise DumpError(f"{posts.name}: its rows have no PostTypeId; of the dump's files, give Posts.xml")
        row.clear()
        while row.getprevious() is not None:
            del row.getparent()[0]
    if row is None:
        raise DumpError(f"{posts.name}: no rows in it")


def _parsed(posts: PostsXml) -> Iterator[Iterable[tuple[str, etree._Element]]]:
    """Yield the parser's events of each block: "end" and a row.

    Only a block that the parser refuses is searched for forbidden characters, and another parser goes on without them:
    to search all would take a third of the time that the parser takes.
    """
    parser, unseen, lines = posts.parser(within=False), 0, 0
    recent = b""  # what was read last: at least the last row, as far as it has come
    for block in posts.blocks():
        damage, events = _feed(parser, block), parser.read_events()
        recent, before = block if ROW in block else (recent + block)[-LONGEST_ROW:], recent
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
    """Return the tags of a row, in the form of any year."""
    return TAGS.findall(cell)
