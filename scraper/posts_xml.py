"""The questions of a data dump's Posts.xml, read as a stream: from the file itself, or from within its .7z archive."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lxml import etree

QUESTION_TYPE = "1"  # of PostTypeId; answers are 2
MEMBER = "Posts.xml"
TAGS = re.compile(r"[^<>|]+")  # <a><b> until 2025, |a|b| since
ATTRIBUTES = ("Id", "Title", "Body", "Tags", "CreationDate")
START = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*|<!--.*?-->\s*)*(<!DOCTYPE|.)", re.DOTALL)


class RawQuestion(NamedTuple):
    """The ATTRIBUTES of a question's row, as they are; '' where the row lacks one."""

    id: str
    title: str
    body: str
    tags: str
    date: str


class DumpError(ValueError):
    """The file is no Posts.xml, or damaged; the message says where."""


def raw_questions(file: BinaryIO, name: str) -> Iterator[RawQuestion]:
    """Yield the questions of a Posts.xml in its order, in constant memory.

    Raises
    ------
    DumpError : not XML, damaged, or another file of a dump; what came before the damage has been yielded.
    """
    row, number = None, 0
    try:
        rows = etree.iterparse(_without_doctype(file, name), tag="row")
        for number, (_, row) in enumerate(rows):
            kind = row.get("PostTypeId")
            if kind == QUESTION_TYPE:
                yield RawQuestion._make([row.get(attribute, "") for attribute in ATTRIBUTES])
            elif number == 0 and kind is None:
                raise DumpError(f"{name}: its rows have no PostTypeId; of the dump's files, give Posts.xml")
            row.clear()
            while row.getprevious() is not None:
                del row.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise DumpError(f"{name}: damaged at line {error.lineno} ({error.msg})") from error
    if row is None:
        raise DumpError(f"{name}: no rows in it")


def parse_tags(cell: str) -> list[str]:
    """Return the tags of a row, in the form of any year."""
    return TAGS.findall(cell)


@contextmanager
def open_posts(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a Posts.xml, or the one in a .7z archive, and yield it with the file whose position tells the progress.

    Raises
    ------
    DumpError : no such file, no readable archive, or no Posts.xml in it.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".7z":
                with _unpack(file, path) as posts:
                    yield posts, file
            else:
                yield file, file
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DumpError(f"{path} is no file: download the site's dump first") from error


class _NoDoctype:
    """Reads a file from bytes already taken from it; iterparse asks for nothing but ``read``."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file

    def read(self, size: int) -> bytes:
        head, self._head = self._head, b""
        return head or self._file.read(size)


def _without_doctype(file: BinaryIO, name: str) -> _NoDoctype:
    """Refuse a file with a DOCTYPE, which no dump has: entities can blow up a parser's memory."""
    head = file.read(1 << 16)
    start = START.match(head.removeprefix(b"\xef\xbb\xbf"))
    if start and start[1] == b"<!DOCTYPE":
        raise DumpError(f"{name}: it begins with a DOCTYPE, which no data dump does; it is not read")
    return _NoDoctype(head, file)


@contextmanager
def _unpack(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Yield the Posts.xml of an archive as a stream: a thread unpacks it into a pipe."""
    import py7zr
    from py7zr.exceptions import ArchiveError

    try:
        archive = py7zr.SevenZipFile(file)
        if archive.needs_password():
            raise DumpError(f"{path}: the archive asks for a password")
        member = next((name for name in archive.getnames() if Path(name).name == MEMBER), None)
    except (ArchiveError, OSError, EOFError) as error:
        raise DumpError(f"{path}: not a readable 7z archive ({error})") from error
    if member is None:
        raise DumpError(f"{path}: no {MEMBER} in the archive; found {', '.join(archive.getnames()[:5])}")
    end, start = os.pipe()
    failures: list[Exception] = []

    def unpack() -> None:
        with os.fdopen(start, "wb") as pipe:
            try:
                archive.extract(targets=[member], factory=_to(pipe))
            except BrokenPipeError:  # the reader has had enough
                pass
            except Exception as error:  # lzma's and py7zr's share no base class
                failures.append(error)
            with suppress(BrokenPipeError):
                pipe.flush()

    thread = threading.Thread(target=unpack, daemon=True)
    thread.start()
    try:
        with os.fdopen(end, "rb") as posts:
            yield posts
    except DumpError as error:
        thread.join()
        raise (DumpError(f"{path}: the archive is damaged ({failures[0]})") if failures else error) from error
    thread.join()


def _to(pipe: BinaryIO):
    """Return a factory, as py7zr wants it, whose one file writes into ``pipe``."""
    from py7zr.io import Py7zIO, WriterFactory

    class Writer(Py7zIO):
        def write(self, s: bytes | bytearray) -> int:
            return pipe.write(s)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def flush(self) -> None:
            pipe.flush()

        def size(self) -> int:
            return 0

    class Factory(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            return Writer()

    return Factory()
