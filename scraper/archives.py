"""A data dump's Posts.xml as a stream: the file itself, compressed, or within a .7z archive, also one in volumes."""

import bisect
import bz2
import gzip
import io
import itertools
import lzma
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from scraper.posts_xml import DumpError, PostsXml
from scraper.xml_text import Readable

MEMBER = "Posts.xml"
VOLUME = re.compile(r"(.+\.7z)\.(\d{3,})", re.IGNORECASE)
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
COMPRESSED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
NOT_READ = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "compressed by Zstandard", b"Rar!": "a rar archive"}
LONGEST_MARK = 6  # bytes


class DamagedArchive(DumpError):
    """What came out of the archive is not what was packed: any question may be damaged."""


@contextmanager
def open_posts(path: Path) -> Iterator[tuple[PostsXml, BinaryIO]]:
    """Open a dump and yield its Posts.xml with the file whose position tells the progress.

    Raises
    ------
    DumpError : no such file, no readable archive, no Posts.xml in it, or what PostsXml raises.
    """
    try:
        with _open(path) as file:
            head = file.peek(LONGEST_MARK)  # type: ignore[attr-defined]
            if unread := next((what for mark, what in NOT_READ.items() if head.startswith(mark)), None):
                raise DumpError(f"{path}: {unread}, which is not read: unpack it, and give its {MEMBER}")
            if head.startswith(SEVEN_ZIP) or path.suffix.lower() == ".7z" or VOLUME.fullmatch(path.name):
                with _unpack(file, path) as posts:
                    yield PostsXml(posts, str(path)), file
            elif opener := next((opener for mark, opener in COMPRESSED.items() if head.startswith(mark)), None):
                yield PostsXml(_Decompressed(opener(file), path), str(path)), file
            else:
                yield PostsXml(file, str(path)), file
    except (FileNotFoundError, IsADirectoryError) as error:
        first = path.with_name(f"{path.name}.001")
        mend = f"give the first of its volumes, {first}" if first.is_file() else "download the site's dump first"
        raise DumpError(f"{path} is no file: {mend}") from error


def volumes(path: Path) -> list[Path]:
    """Return the files that make up a dump, in their order: one, or all volumes of the .7z of which ``path`` is one."""
    volume = VOLUME.fullmatch(path.name)
    if not volume or not path.is_file():
        return [path]
    parts = ((file, VOLUME.fullmatch(file.name)) for file in path.parent.iterdir())
    numbers = {int(part[2]): file for file, part in parts if part and part[1] == volume[1]}
    return [numbers[number] for number in sorted(numbers)]


def _open(path: Path) -> BinaryIO:
    files = volumes(path)
    last = VOLUME.fullmatch(files[-1].name)
    if last and len(files) != int(last[2]):
        found = ", ".join(file.name for file in files)
        raise DumpError(f"{path}: a volume before {last[0]} is missing; found {found}")
    return path.open("rb") if len(files) == 1 else io.BufferedReader(_Volumes(files))  # type: ignore[return-value]


class _Volumes(io.RawIOBase):
    """The volumes of an archive as the one file that was cut into them."""

    def __init__(self, paths: list[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._ends = list(itertools.accumulate(path.stat().st_size for path in paths))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        number = bisect.bisect_right(self._ends, self._at)
        if number == len(self._files):
            return 0
        self._files[number].seek(self._at - (self._ends[number - 1] if number else 0))
        count = self._files[number].readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


class _Decompressed:
    """Reads a compressed file, whose checksum Python compares at its end."""

    def __init__(self, file: Readable, path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int, /) -> bytes:
        try:
            return self._file.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno:  # of the disk
                raise
            raise DamagedArchive(f"{self._path}: the file is damaged ({error})") from error


@contextmanager
def _unpack(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Yield the Posts.xml of an archive as a stream: a thread unpacks it into a pipe."""
    import py7zr
    from py7zr.exceptions import ArchiveError

    try:
        archive = py7zr.SevenZipFile(file)
        if archive.needs_password():
            raise DumpError(f"{path}: the archive asks for a password")
        member = next((name for name in archive.getnames() if Path(name).name.lower() == MEMBER.lower()), None)
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
    except DumpError:
        thread.join()
        if not failures:
            raise
    thread.join()
    if failures:
        raise DamagedArchive(f"{path}: the archive is damaged ({failures[0]})") from failures[0]


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
