"""The rows, failures and progress of a scraper, in an SQLite file beside the CSV files that are written from it.

Each step of a run, such as the rows of a page and the progress, is one transaction. The CSV files are written when a
run ends or is interrupted; after SIGKILL, at the end of the next run. A CSV file that has been changed since it was
written is read first, and its rows replace those that were written to it.
"""

import codecs
import csv
import itertools
import json
import mmap
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from data.files import DETAILS_COLUMNS, QUESTION_COLUMNS, write_table
from tagging.locks import sole_writer
from tagging.platforms import Platform

FAILED = "ques_failed.csv"
TEMPORARY, PERMANENT = "temporary", "permanent"
OVERLAP_S = 3600  # overlap of --since-last with the previous run: clocks differ, and pages may be cached for minutes

APPLICATION_ID = 0x71746167  # in the header of the SQLite file
BUSY_S = 60  # how long a commit waits for a program that reads the file
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# A row has a version, which is the number of the first CSV file with it, and a note, which is in no CSV file. Of a CSV
# file, its size and time of change are those of the last time it was written or read, version is how often it has been
# written, and changed says whether the rows have changed since.
SCHEMA = """
CREATE TABLE IF NOT EXISTS {name} (position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
                                   note TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
                                  version INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS progress (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT OR IGNORE INTO files (name, changed) VALUES ('{name}', {changed});
"""
# A field, quoted or not, and its end: a comma or the end of the record (RFC 4180).
FIELD = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"[^,\r\n]*+|[^",\r\n][^,\r\n]*+|)(,|\r\n|\n|\r)')


@dataclass(frozen=True)
class Failure:
    """A question that could not be fetched; the next run retries it unless its kind is "permanent"."""

    url: str
    reason: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a source that --since-last can update.

    Attributes
    ----------
    begun_at
        Start of the first run, in ISO 8601; None before.
    complete_at
        Time up to which all new and changed questions have been fetched, in ISO 8601; None before the first complete
        run.
    """

    begun_at: str | None = None
    complete_at: str | None = None

    def changes_since(self, output: Path) -> datetime:
        """Return the time from which on --since-last asks for changes.

        Raises
        ------
        SystemExit
            There has been no complete run.
        """
        if self.complete_at is None:
            sys.exit(f"--since-last: {store_path(output)} records no complete run; run without this option first")
        return datetime.fromisoformat(self.complete_at) - timedelta(seconds=OVERLAP_S)


AnyProgress = TypeVar("AnyProgress")


@dataclass(frozen=True)
class Table:
    """A table of the store and its CSV file.

    Attributes
    ----------
    name
        Name of the SQL table.
    path
        The CSV file.
    columns
        Columns of the CSV file; ``url`` identifies a row.
    required
        The columns that an existing file must have; missing others are filled with ''.
    compared
        The columns by which a row differs from an older row of the same question.
    hint
        What to do with a file that has other columns.
    """

    name: str
    path: Path
    columns: Sequence[str]
    required: Sequence[str]
    compared: Sequence[str] = ()
    hint: str = "give --force to replace it, or choose another --output"

    @property
    def insert(self) -> str:
        """SQL that adds a row: key, version, note, and the cells."""
        names = ("key", "version", "note", *self.columns)
        return f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    @property
    def upsert(self) -> str:
        """SQL that adds a row, or replaces the row of the same question if it differs.

        A replaced row keeps its url, which identifies the question in the split, and cells of columns that are not
        compared if the new ones are empty.
        """
        kept = [name for name in self.columns if name not in (*self.compared, "url")]
        values = [f"{name} = excluded.{name}" for name in ("version", "note", *self.compared)]
        values += [f"{name} = coalesce(nullif(excluded.{name}, ''), {name})" for name in kept]
        differs = [f"{name} <> excluded.{name}" for name in self.compared]
        differs += [f"{name} = '' AND excluded.{name} <> ''" for name in kept]
        return (
            f"{self.insert} ON CONFLICT (key) DO UPDATE SET {', '.join(values)} WHERE {' OR '.join(differs) or 'FALSE'}"
        )


def store_path(output: Path) -> Path:
    """Return the path of the store of a CSV file."""
    return output.with_suffix(".sqlite")


@contextmanager
def open_store(questions: Table, failures: Table | None, platform: Platform, force: bool) -> Iterator["Store"]:
    """Open the store beside the CSV file of the questions, and write the CSV files at the end.

    Parameters
    ----------
    questions
        The table of the rows.
    failures
        The table of :class:`Failure`, if there is a file for them.
    platform
        The platform of the site, which says what identifies a question.
    force
        Replace the existing content; it is kept until the first new rows are there.

    Raises
    ------
    SystemExit
        The store is damaged, or a CSV file has other columns; all files are unchanged.
    OSError
        Another run has locked the files, or the disk is full; what has been committed is in the store.
    """
    output = questions.path
    path = store_path(output)
    if path == output:
        sys.exit(f"--output {output} would be the name of the store, too: choose another one")
    empty = False
    with sole_writer(output):
        try:
            with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
                store = Store(connection, path, questions, failures, platform)
                try:
                    store.begin(force)
                    yield store
                    store.commit()
                finally:
                    connection.rollback()
                    store.write_files()
                    empty = store.is_empty()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in DAMAGED:
                sys.exit(f"{path} is damaged ({error}): remove it, and the next run continues from {output}")
            raise OSError(f"{path}: {error}") from error
        finally:
            if empty:
                path.unlink()


@contextmanager
def open_details(output: Path, platform: Platform, force: bool) -> Iterator["Store"]:
    """Open the store of a ques_details.csv and its ques_failed.csv, see :func:`open_store`."""
    questions = Table("questions", output, DETAILS_COLUMNS, QUESTION_COLUMNS, ("title", "description", "tags"))
    columns, hint = ("url", "reason", "kind"), "move it, or choose another --output"
    failures = Table("failures", output.with_name(FAILED), columns, columns[:2], columns[1:], hint)
    with open_store(questions, failures, platform, force) as store:
        yield store


class Store:
    """The store of one run; :func:`open_store` opens it.

    Attributes
    ----------
    path
        The SQLite file.
    removed
        Number of rows that have been removed from the CSV file since it was written, and so from the store.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        questions: Table,
        failures: Table | None,
        platform: Platform,
    ) -> None:
        """Create the tables and columns that the SQLite file lacks."""
        self.path = path
        self.removed = 0
        self._connection = connection
        self._platform = platform
        self._questions, self._failures = questions, failures
        self._tables = [questions, failures] if failures else [questions]
        self._replacing = False  # the open transaction has deleted the old rows
        # Files of earlier versions that the next commit makes obsolete.
        self._obsolete = [questions.path.with_name(f".{questions.path.name}.updates")]
        if self._one("PRAGMA page_count") and self._one("PRAGMA application_id") != APPLICATION_ID:
            sys.exit(f"{path} is not a store of this program: move it, or choose another --output")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for table in self._tables:
            # There is always a file of failures: without rows, if there are none.
            connection.executescript(SCHEMA.format(name=table.name, changed=int(table is failures)))
            existing = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table.name})")}
            for name in table.columns:
                if name not in existing:
                    connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")

    def __len__(self) -> int:
        return self._one(f"SELECT count(*) FROM {self._questions.name}")

    def is_empty(self) -> bool:
        """Return whether there are neither rows nor failures."""
        return not any(self._has_rows(table) for table in self._tables)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the changes of the block together, or none of them if it fails."""
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self.commit()

    def put(self, rows: Iterable[Mapping[str, Any]], note: str = "") -> tuple[int, int]:
        """Add rows, replace those of the same questions that differ, and remove the failures of the questions.

        Parameters
        ----------
        rows
            The rows; if there are several for a question, the last one counts.
        note
            What :meth:`notes` returns for these questions.

        Returns
        -------
        new
            Number of new questions.
        changed
            Number of replaced rows.
        """
        keyed = {self._platform.question_key(row["url"]): row for row in rows}
        last = f"SELECT coalesce(max(position), 0) FROM {self._questions.name}"
        before = self._one(last)
        written = self._upsert(self._questions, keyed, note)
        new = self._one(last) - before
        if note:
            notes = [(note, key) for key in keyed]
            self._connection.executemany(f"UPDATE {self._questions.name} SET note = ? WHERE key = ?", notes)
        self._discard(keyed)
        return new, written - new

    def keys(self) -> set[str]:
        """Return the keys of the questions."""
        return {key for (key,) in self._connection.execute(f"SELECT key FROM {self._questions.name}")}

    def urls(self) -> Iterator[str]:
        """Yield the urls of the questions in order."""
        for (url,) in self._connection.execute(f"SELECT url FROM {self._questions.name} ORDER BY position"):
            yield url

    def notes(self) -> dict[str, str]:
        """Return {key: note} of the questions that have a note."""
        return dict(self._connection.execute(f"SELECT key, note FROM {self._questions.name} WHERE note <> ''"))

    def fail(self, url: str, reason: str, permanent: bool) -> None:
        """Record why a question could not be fetched."""
        url, reason = (text.encode(errors="replace").decode() for text in (url, " ".join(reason.split())))
        failure = Failure(url, reason, PERMANENT if permanent else TEMPORARY)
        self._upsert(self._failed, {self._platform.question_key(url): asdict(failure)})

    def discard(self, url: str) -> None:
        """Remove the failure of a question, if there is one."""
        self._discard([self._platform.question_key(url)])

    def failures(self) -> dict[str, Failure]:
        """Return {key: failure} of the questions that could not be fetched."""
        columns = ", ".join(("key", *self._failed.columns))
        rows = self._connection.execute(f"SELECT {columns} FROM {self._failed.name} ORDER BY position")
        return {key: Failure(*cells) for key, *cells in rows}

    def count_failures(self) -> int:
        """Return the number of questions that could not be fetched."""
        return self._one(f"SELECT count(*) FROM {self._failed.name}")

    def failure_summary(self) -> str:
        """Return the number of failures, and their file, for the last line of a run."""
        number = self.count_failures()
        return f"{number} failures" + (f" in {self._failed.path}" if number else "")

    def progress(self, kind: type[AnyProgress]) -> AnyProgress | None:
        """Return the progress of this kind, a dataclass, that was saved last; None if there is none."""
        value = self._one("SELECT (SELECT value FROM progress WHERE name = ?)", kind.__name__)
        return kind(**json.loads(value)) if value else None

    def save(self, progress: Any) -> None:
        """Save progress, a dataclass."""
        values = type(progress).__name__, json.dumps(asdict(progress))
        self._connection.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", values)

    def forget(self, kind: type) -> None:
        """Delete the progress of this kind."""
        self._connection.execute("DELETE FROM progress WHERE name = ?", [kind.__name__])

    def take_over(self, convert: Callable[[dict[str, Any]], AnyProgress]) -> AnyProgress | None:
        """Convert and save the progress that an earlier version kept in a JSON file; None if there is no such file.

        Raises
        ------
        SystemExit
            The file is damaged.
        """
        path = self._questions.path.with_suffix(".progress.json")
        if self._replacing or not path.exists():
            return None
        try:
            progress = convert(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError):
            sys.exit(f"{path} is damaged: remove it, and everything is requested again")
        self.save(progress)
        self._obsolete.append(path)
        return progress

    def begin(self, force: bool) -> None:
        """Read the CSV files that have been changed since they were written, or delete everything if ``force``."""
        if force:
            self._replacing = True
            self._connection.execute("DELETE FROM progress")
            self._obsolete.append(self._questions.path.with_suffix(".progress.json"))
        for table in self._tables:
            if force:
                self._connection.execute(f"DELETE FROM {table.name}")
                self._set_file(table, changed=True)
            elif self._file(table)[:2] != signature(table.path):
                removed = self._read(table)
                self.removed += removed if table is self._questions else 0

    def commit(self) -> None:
        """Commit what has changed; what ``force`` has deleted is kept until there are new rows."""
        if self._replacing and not self._has_rows(self._questions):
            return
        self._connection.commit()
        self._replacing = False
        while self._obsolete:
            self._obsolete.pop().unlink(missing_ok=True)

    def write_files(self) -> None:
        """Write the CSV files of the tables that have changed, atomically.

        Raises
        ------
        SystemExit
            Another program has changed a file during this run; it stays as it is.
        OSError
            A file cannot be written, for example because the disk is full.
        """
        for table in self._tables:
            *found, version, changed = self._file(table)
            if self._connection.in_transaction or not changed or self.is_empty():
                continue
            if tuple(found) != signature(table.path):
                sys.exit(f"{table.path} has been changed during this run: run again to merge it with {self.path}")
            rows = self._connection.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY position")
            try:
                write_table(table.path.resolve(), table.columns, rows)
            except OSError as error:
                cure = f"its rows are in {self.path}, and the next run writes it"
                raise OSError(f"{table.path}: {error.strerror}; {cure}") from error
            self._set_file(table, changed=False, version=version + 1)
            self._connection.commit()

    @property
    def _failed(self) -> Table:
        assert self._failures, "opened without a file of failures"
        return self._failures

    def _one(self, query: str, *values: object) -> Any:
        """Return the first cell of a query."""
        return self._connection.execute(query, values).fetchone()[0]

    def _has_rows(self, table: Table) -> bool:
        return bool(self._one(f"SELECT EXISTS (SELECT * FROM {table.name})"))

    def _upsert(self, table: Table, rows: Mapping[str, Mapping[str, Any]], note: str = "") -> int:
        """Add or replace rows, {key: row}; return the number of those that were not there already."""
        version = self._file(table)[2] + 1
        values = [(key, version, note, *map(row.get, table.columns)) for key, row in rows.items()]
        written = self._connection.executemany(table.upsert, values).rowcount if values else 0
        self._note_change(table, written)
        return written

    def _discard(self, keys: Iterable[str]) -> None:
        if self._failures:
            query = f"DELETE FROM {self._failures.name} WHERE key = ?"
            self._note_change(self._failures, self._connection.executemany(query, [(key,) for key in keys]).rowcount)

    def _note_change(self, table: Table, rows: int) -> None:
        if rows > 0:
            self._connection.execute("UPDATE files SET changed = TRUE WHERE name = ?", [table.name])

    def _file(self, table: Table) -> tuple:
        """Return size, mtime_ns, version and changed of a table's CSV file."""
        query = "SELECT size, mtime_ns, version, changed FROM files WHERE name = ?"
        return self._connection.execute(query, [table.name]).fetchone()

    def _set_file(self, table: Table, **values: int) -> None:
        """Record the CSV file as it is now, with other columns of ``files``."""
        size, mtime_ns = signature(table.path)
        settings = {"size": size, "mtime_ns": mtime_ns, **values}
        names = ", ".join(f"{name} = ?" for name in settings)
        self._connection.execute(f"UPDATE files SET {names} WHERE name = ?", [*settings.values(), table.name])

    def _read(self, table: Table) -> int:
        """Replace the rows that were written to a CSV file by those that are in it now; return how many it lacks."""
        version = self._file(table)[2]
        columns = ", ".join(("key", "version", "note", *table.columns))
        sql = self._connection.execute
        sql(f"CREATE TEMP TABLE before AS SELECT * FROM {table.name} ORDER BY position")
        sql(f"DELETE FROM {table.name}")
        repaired = self._insert_file(table, version)
        lacking = f"SELECT count(*) FROM before WHERE version <= ? AND key NOT IN (SELECT key FROM {table.name})"
        removed = self._one(lacking, version)
        self._connection.executemany(table.upsert, sql(f"SELECT {columns} FROM before WHERE version > ?", [version]))
        sql("DROP TABLE before")
        if table is self._failures:  # earlier versions called temporary failures "passing"
            sql(f"DELETE FROM {table.name} WHERE key IN (SELECT key FROM {self._questions.name})")
            sql(f"UPDATE {table.name} SET kind = ? WHERE kind <> ?", [TEMPORARY, PERMANENT])
        self._set_file(table)
        self._note_change(table, repaired)
        return removed

    def _insert_file(self, table: Table, version: int) -> bool:
        """Insert the rows of a CSV file; return whether it has an incomplete last row, or a question twice.

        Raises
        ------
        SystemExit
            The file has other columns, or is not CSV in UTF-8.
        """
        path, number = table.path, 0
        if not path.exists() or not path.stat().st_size:
            return False

        def rows() -> Iterator[tuple]:
            nonlocal number
            for number, cells in enumerate(records, start=1):
                if len(cells) != len(header):
                    sys.exit(f"{path}, row {number}: {len(cells)} cells, but {len(header)} columns: {table.hint}")
                row = dict(zip(header, cells, strict=True))
                yield (
                    self._platform.question_key(row["url"]),
                    version,
                    "",
                    *(row.get(name, "") for name in table.columns),
                )

        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            length = complete_length(data)
            lines = itertools.takewhile(lambda _: data.tell() <= length, iter(data.readline, b""))
            records = filter(None, csv.reader(codecs.iterdecode(lines, "utf-8-sig")))
            try:
                header = next(records, [])
                if not header and ",".join(table.columns).encode().startswith(data[:]):
                    return True
                if not set(table.required) <= set(header) <= set(table.columns):
                    found, expected = ", ".join(header) or "no header", ", ".join(table.columns)
                    sys.exit(f"{path} has {found}, where {expected} is expected: {table.hint}")
                insert = table.insert.replace("INSERT", "INSERT OR IGNORE")
                inserted = max(self._connection.executemany(insert, rows()).rowcount, 0)
            except (UnicodeDecodeError, csv.Error) as error:
                sys.exit(f"{path}: not a CSV file in UTF-8 ({error}): {table.hint}")
            if inserted < number:
                print(f"{path}: {number - inserted} rows of questions that come twice are left out", file=sys.stderr)
            return length < len(data) or inserted < number


def signature(path: Path) -> tuple[int | None, int | None]:
    """Return size and time of change of a file, by which another state of it is recognized; None if it is missing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None, None
    return status.st_size, status.st_mtime_ns


def complete_length(data: bytes | mmap.mmap) -> int:
    """Return the number of bytes up to the end of the last complete record of a CSV file.

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
