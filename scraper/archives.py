"""Open the Posts.xml of a data dump as a stream: plain, compressed, or in a .7z archive (also a multi-volume one)."""

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
MAX_MARK = 6  # bytes


class DamagedArchive(DumpError):
    """The archive is corrupted (wrong checksum or broken data): any question read from it may be damaged."""


@contextmanager
def open_posts(path: Path) -> Iterator[tuple[PostsXml, BinaryIO]]:
    """Open a dump; yield its Posts.xml and the underlying file, whose position shows the progress.

    Raises
    ------
    DumpError
        The file does not exist, is not a readable archive, contains no Posts.xml, or PostsXml rejects it.
    """
    try:
        with _open(path) as file:
            head = file.peek(MAX_MARK)  # type: ignore[attr-defined]
            if unread := next((what for mark, what in NOT_READ.items() if head.startswith(mark)), None):
                raise DumpError(f"{path}: {unread}, not supported: unpack it, and pass its {MEMBER}")
            if head.startswith(SEVEN_ZIP) or path.suffix.lower() == ".7z" or VOLUME.fullmatch(path.name):
                with _unpack(file, path) as posts:
                    yield PostsXml(posts, str(path)), file
            elif opener := next((opener for mark, opener in COMPRESSED.items() if head.startswith(mark)), None):
                yield PostsXml(_Decompressed(opener(file), path), str(path)), file
            else:
                yield PostsXml(file, str(path)), file
    except (FileNotFoundError, IsADirectoryError) as error:
        first = path.with_name(f"{path.name}.001")
        hint = f"pass its first volume, {first}" if first.is_file() else "download the site's dump first"
        raise DumpError(f"{path} is not a file: {hint}") from error


def volumes(path: Path) -> list[Path]:
    """Return the files of a dump in order: ``path`` alone, or all volumes of the .7z archive it belongs to."""
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
    """The volumes of an archive, concatenated into one seekable file."""

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
    """A compressed file as a stream; the decompressor checks the checksum at its end."""

    def __init__(self, file: Readable, path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int, /) -> bytes:
        try:
            return self._file.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno:  # a disk error, not a damaged file
                raise
            raise DamagedArchive(f"{self._path}: the file is damaged ({error})") from error


@contextmanager
def _unpack(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Yield the Posts.xml of an archive as a stream; a thread unpacks it into a pipe."""
    import py7zr
    from py7zr.exceptions import ArchiveError

    try:
        archive = py7zr.SevenZipFile(file)
        if archive.needs_password():
            raise DumpError(f"{path}: the archive is protected by a password")
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
            except BrokenPipeError:  # the reader stopped early
                pass
            except Exception as error:  # those of lzma and py7zr have no common base class
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
    """Return a py7zr factory whose only file writes to ``pipe``."""
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
