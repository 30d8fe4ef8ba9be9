"""An append-only CSV file that survives SIGKILL: rows go in whole, and a torn end is cut off before going on."""

import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tagging.locks import sole_writer

# A field, quoted or not, and what ends it: a comma or the record's end (RFC 4180).
FIELD = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"[^,\r\n]*+|[^",\r\n][^,\r\n]*+|)(,|\r\n|\n|\r)')


def complete_length(data: bytes) -> int:
    """Return how many bytes of a CSV file are whole records; what follows is a record cut short.

    Line breaks, commas and doubled quotes inside a quoted field end nothing.
    """
    end = position = 0
    while field := FIELD.match(data, position):
        position = field.end()
        if field[1] != b",":
            end = position
    return end


def to_csv(rows: Iterable[Iterable[str]]) -> bytes:
    """Return rows as CSV in UTF-8, one line break after each; half a character, which UTF-8 has not, becomes "?"."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", errors="replace")


def parse_table(data: bytes, name: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a CSV file.

    Raises
    ------
    ValueError : not CSV in UTF-8, or a row with too few or too many cells; the message gives ``name`` and row.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        rows, columns = list(reader), list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name}: not a CSV file in UTF-8 ({error})") from error
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ValueError(f"{name}, row {number}: not as many cells as columns ({len(columns)})")
    return columns, rows


class CsvStore:
    """Holds the file for one run: locked against a second one, repaired, and appended to in whole rows.

    Attributes
    ----------
    urls : the column ``url`` of the rows that are there, in their order.
    """

    def __init__(self, path: Path, columns: list[str], force: bool, whole: int | None = None) -> None:
        """Open ``path``; if ``force``, set aside what it holds until there are new rows, else cut off a torn end.

        Parameters
        ----------
        path : the file; it need not be there.
        columns : its header.
        force : drop what it holds.
        whole : bytes that are known to be whole rows of this table. A file too large to be read is cut there unread,
            and ``urls`` then stays empty.

        Raises
        ------
        SystemExit : another run holds the file, or it is not this table; it is then left as it was.
        """
        self.path = path
        self._columns = columns
        self._keeps_urls = whole is None
        with ExitStack() as held:
            try:
                held.enter_context(sole_writer(path))
            except BlockingIOError as error:
                sys.exit(str(error))
            target = path.resolve()  # of a link, the file
            self._set_aside = target.with_name(f".{target.name}.replaced")
            self._put_back()  # where a run was killed
            if force and path.exists():
                target.replace(self._set_aside)
            path.touch()
            self.urls = self._repair() if whole is None else []
            if whole is not None and not force:
                os.truncate(path, whole)
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()
        if self.path.exists() and not self.size():
            self.path.unlink()
        self._held.close()

    def append(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Add rows at the end, all of them by one write that reaches the disk before this returns.

        Raises
        ------
        OSError : the disk is full; the file is as before.
        """
        rows = list(rows)
        size = self.size()
        data = to_csv([] if size else [self._columns]) + to_csv([row[name] for name in self._columns] for row in rows)
        try:
            # Opened for each write: Windows replaces no file that is open, and --since-last replaces this one.
            with self.path.open("ab", buffering=0) as file:
                if file.write(data) < len(data):
                    raise OSError(f"{self.path}: the disk is full")
                os.fsync(file.fileno())
        except OSError:
            os.truncate(self.path, size)
            raise
        self._set_aside.unlink(missing_ok=True)
        if self._keeps_urls:
            self.urls += [row["url"] for row in rows]

    def _put_back(self) -> None:
        """Put what ``force`` set aside back in its place, if no row has come there."""
        if self._set_aside.exists() and not (self.path.exists() and self.size()):
            self._set_aside.replace(self.path.resolve())

    def size(self) -> int:
        """Return the number of bytes, all of them whole rows."""
        return self.path.stat().st_size

    def _repair(self) -> list[str]:
        data = self.path.read_bytes()
        length = complete_length(data)
        mend = "give --force to replace it, or name another --output"
        try:
            columns, rows = parse_table(data[:length], str(self.path))
        except ValueError as error:
            sys.exit(f"{error}: {mend}")
        torn_header = not length and to_csv([self._columns]).startswith(data)
        if columns != self._columns and not torn_header:
            found = ", ".join(columns) or "no header"
            sys.exit(f"{self.path} has {found}, where {', '.join(self._columns)} is expected: {mend}")
        os.truncate(self.path, length)
        return [row["url"] for row in rows]
