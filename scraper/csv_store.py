"""An append-only CSV file that survives SIGKILL: an incomplete last row is cut off when the file is opened again."""

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

# A field, quoted or not, and its end: a comma or the end of the record (RFC 4180).
FIELD = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"[^,\r\n]*+|[^",\r\n][^,\r\n]*+|)(,|\r\n|\n|\r)')


def complete_length(data: bytes) -> int:
    """Return the number of bytes up to the end of the last complete record.

    Line breaks, commas and doubled quotes inside a quoted field do not end a record.

    Examples
    --------
    >>> complete_length(b'title,url\\nA,u\\n"B')
    14
    """
    end = position = 0
    while field := FIELD.match(data, position):
        position = field.end()
        if field[1] != b",":
            end = position
    return end


def to_csv(rows: Iterable[Iterable[str]]) -> bytes:
    """Return rows as CSV in UTF-8, each ended by a line feed; a lone surrogate becomes "?"."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", errors="replace")


def parse_table(data: bytes, name: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the column names and the rows of a CSV file.

    Parameters
    ----------
    data
        Content of the file.
    name
        Name of the file, for error messages.

    Raises
    ------
    ValueError
        Not CSV in UTF-8, or a row with too few or too many cells; the message gives the row.
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
    """The CSV file of one run: locked against concurrent runs, repaired on opening, and only appended to.

    Attributes
    ----------
    urls
        Values of the column ``url`` of the existing rows, in order.
    """

    def __init__(self, path: Path, columns: list[str], force: bool, whole: int | None = None) -> None:
        """Open ``path`` and cut off an incomplete last row; with ``force``, set the old content aside instead.

        Parameters
        ----------
        path
            The file; it may not exist yet.
        columns
            The expected header.
        force
            Replace the existing content; it is kept until the first new rows are written.
        whole
            Number of bytes known to be complete rows of this table. The file is then truncated to it without being
            read, and ``urls`` stays empty; for files too large to read.

        Raises
        ------
        SystemExit
            Another run has locked the file, or it has other columns; the file is left unchanged.
        """
        self.path = path
        self._columns = columns
        self._keeps_urls = whole is None
        with ExitStack() as held:
            try:
                held.enter_context(sole_writer(path))
            except BlockingIOError as error:
                sys.exit(str(error))
            target = path.resolve()  # if the path is a link, its target
            self._set_aside = target.with_name(f".{target.name}.replaced")
            self._put_back()  # if a run with --force was killed
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
        """Append rows by one write, which is on disk when this returns.

        Raises
        ------
        OSError
            The disk is full; the file is unchanged.
        """
        rows = list(rows)
        size = self.size()
        data = to_csv([] if size else [self._columns]) + to_csv([row[name] for name in self._columns] for row in rows)
        try:
            # Opened for each write: Windows cannot replace an open file, and --since-last replaces this one.
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
        """Restore the content that ``force`` set aside, unless new rows have been written."""
        if self._set_aside.exists() and not (self.path.exists() and self.size()):
            self._set_aside.replace(self.path.resolve())

    def size(self) -> int:
        """Return the size of the file in bytes; all rows in it are complete."""
        return self.path.stat().st_size

    def _repair(self) -> list[str]:
        data = self.path.read_bytes()
        length = complete_length(data)
        hint = "give --force to replace it, or choose another --output"
        try:
            columns, rows = parse_table(data[:length], str(self.path))
        except ValueError as error:
            sys.exit(f"{error}: {hint}")
        torn_header = not length and to_csv([self._columns]).startswith(data)
        if columns != self._columns and not torn_header:
            found = ", ".join(columns) or "no header"
            sys.exit(f"{self.path} has {found}, where {', '.join(self._columns)} is expected: {hint}")
        os.truncate(self.path, length)
        return [row["url"] for row in rows]
