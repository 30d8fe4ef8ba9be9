"""The files of questions that predict.py reads, and the same files with tags: CSV or Parquet, in constant memory."""

import csv
import difflib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

TEXT_COLUMNS = ("title", "description")
RESULT_COLUMNS = ("tags", "scores")
csv.field_size_limit(10_000_000)  # characters; a longer cell is a quotation mark that was never closed
ROWS = 1_000  # of a Parquet file that are in memory at a time
NEAR = 0.75  # of two names' letters in common, as difflib counts them: "descripton" for description, "titel" for title
FEWEST_LETTERS = 3  # of an abbreviation such as "desc"
OTHER_SEPARATOR = re.compile("[;\t|]")
INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
UNDECODABLE = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of a byte that is not UTF-8


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def read_questions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (title, description) of every row of a CSV or Parquet file; a missing column or cell is ''.

    Raises
    ------
    ValueError : the file cannot be read, or has no text column, or already has a result's; the message says where
    """
    if is_parquet(path):
        for batch in read_batches(path):
            found = text_columns(batch.schema.names, path)
            cells = [
                batch[found[column]].to_pylist() if column in found else [""] * len(batch) for column in TEXT_COLUMNS
            ]
            yield from ((title or "", description or "") for title, description in zip(*cells, strict=True))
    else:
        found = text_columns(read_header(path), path)
        for row in read_rows(path):
            title, description = (row[found[column]] if column in found else "" for column in TEXT_COLUMNS)
            yield title, description


def write_tagged(source: Path, target: Path, results: Iterable[list[tuple[str, float]]]) -> None:
    """Copy ``source`` to ``target``, in its format, with the columns tags and scores of one result per row."""
    (write_parquet if is_parquet(source) else write_csv)(source, target, iter(results))


def write_csv(source: Path, target: Path, results: Iterator[list[tuple[str, float]]]) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*read_header(source), *RESULT_COLUMNS], lineterminator="\n")
        writer.writeheader()
        for row, result in zip(read_rows(source), results, strict=True):
            row["tags"] = json.dumps([tag for tag, _ in result], ensure_ascii=False)
            row["scores"] = json.dumps([probability for _, probability in result])
            writer.writerow(row)


def write_parquet(source: Path, target: Path, results: Iterator[list[tuple[str, float]]]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {"tags": pyarrow.list_(pyarrow.string()), "scores": pyarrow.list_(pyarrow.float32())}
    schema = pyarrow.parquet.read_schema(source)
    for column, kind in columns.items():
        schema = schema.append(pyarrow.field(column, kind))
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        for batch in read_batches(source):
            tagged = list(itertools.islice(results, len(batch)))
            tags = pyarrow.array([[tag for tag, _ in result] for result in tagged], columns["tags"])
            scores = pyarrow.array([[score for _, score in result] for result in tagged], columns["scores"])
            writer.write_batch(pyarrow.record_batch([*batch.columns, tags, scores], schema=schema))


def read_batches(path: Path) -> Iterator:
    """Yield the ``pyarrow.RecordBatch`` es of a Parquet file. Raises as read_questions does."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for column in text_columns(file.schema_arrow.names, path).values():
                kind = file.schema_arrow.field(column).type
                if not holds_text(kind):
                    raise ValueError(f"{path}: the column {column!r} holds {kind}; it must hold strings")
            yield from file.iter_batches(ROWS)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk; Arrow's own are of the file
            raise
        raise ValueError(f"{path}: not readable as Parquet ({str(error).splitlines()[0]})") from error


def holds_text(kind) -> bool:
    """Whether a ``pyarrow.DataType`` is a string's, also as a category, or that of a column of nulls alone."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view, types.is_null))


def read_header(path: Path) -> list[str]:
    """Return the names of a CSV file's columns that :func:`read_rows` gives, as they are written."""
    return list(_columns(path).values())


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file as dicts, every one with a cell for each column of the header.

    Columns that have neither a name nor cells, as spreadsheets leave behind, are left out, and empty cells beyond the
    header's last.

    Raises
    ------
    ValueError : no CSV in UTF-8, an unusable header, or a row of too few or too many cells; the message names the line
    """
    columns = _columns(path)
    records = _records(path)
    _, header = next(records)
    for line, cells in records:
        if len(cells) <= max(columns) or any(cell.strip() for cell in cells[len(header) :]):
            raise ValueError(f"{path}, line {line}: {len(cells)} cells, but the header names {len(header)} columns")
        yield {name: cells[place] for place, name in columns.items()}


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which it ends, cells) of a CSV file's header and rows; an empty line is no row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        line = 0  # where the last sound row ended
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
                line = reader.line_num
        except csv.Error as error:
            raise ValueError(f"{path}, the row from line {line + 1} on: not readable as CSV ({error})") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {undecodable_line(path)}: not UTF-8; save the file as UTF-8") from error


def _columns(path: Path) -> dict[int, str]:
    """Return {place in a row: name} of a CSV file's columns, but for those that have neither a name nor a cell."""
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            raise ValueError(f"{path}: a Parquet file; give it a name that ends in .parquet")
    records = _records(path)
    _, header = next(records, (0, []))
    if not any(map(_plain, header)):
        raise ValueError(f"{path}: the file is empty, or its first line names no column")
    if len(header) == 1 and (separator := OTHER_SEPARATOR.search(header[0])):
        raise ValueError(f"{path}: the columns are separated by {separator[0]!r}; save the file with commas")
    unnamed = {place for place, name in enumerate(header) if not _plain(name)}
    empty = set(unnamed)
    if unnamed:
        for _, cells in records:
            empty -= {place for place in empty if place < len(cells) and cells[place].strip()}
        if len(unnamed - empty) > 1:
            places = " and ".join(str(place + 1) for place in sorted(unnamed - empty))
            raise ValueError(f"{path}: the columns {places} hold cells, but have no name; name them in the first line")
    if empty:
        _tell(f"{path}: {len(empty)} empty columns without a name are left out")
    return {place: name for place, name in enumerate(header) if place not in empty}


def undecodable_line(path: Path) -> int:
    """Return the number of a file's first line that is not UTF-8; lines end as :func:`csv.reader` counts them."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return next(number for number, line in enumerate(file, start=1) if UNDECODABLE.search(line))


def text_columns(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Return {name of TEXT_COLUMNS: column of that name}, at least one.

    Raises
    ------
    ValueError : as match_columns, or there is none, or a column bears a result's name
    """
    for column in columns:
        if (name := _plain(column)) in RESULT_COLUMNS:
            raise ValueError(f"{path}: the column {column!r} would be overwritten; rename it, e.g. to given_{name}")
    found = match_columns(columns, TEXT_COLUMNS, path)
    if not found:
        raise ValueError(f"{path}: neither column title nor description; found {', '.join(columns)}")
    return found


def match_columns(columns: Sequence[str], known: Sequence[str], path: Path) -> dict[str, str]:
    """Return {known name: column of that name}, whatever its letter case and the blanks around it.

    What is read under another name, or not read while a known column is missing, is told on stderr, once.

    Raises
    ------
    ValueError : two columns have one name, or none has a known one but one is nearly called so
    """
    called: dict[str, list[str]] = {}
    for column in columns:
        name = _plain(column) if _plain(column) in known else column
        called.setdefault(name, []).append(column)
    if twice := next((name for name, same in called.items() if len(same) > 1), None):
        raise ValueError(f"{path}: two columns are called {twice!r}; rename one")
    found = {name: called[name][0] for name in known if name in called}
    missing = [name for name in known if name not in called]
    unread = [name for name in called if name not in known and _plain(name)]
    for name, column in itertools.product(missing, unread):
        if _is_near(_plain(column), name):
            raise ValueError(
                f"{path}: no column is called {name}, but one {column!r}: rename it to {name}; "
                "or, if it holds something else, to a name that is less alike"
            )
    for name, column in found.items():
        if column != name:
            _tell(f"{path}: the column {column!r} is read as {name}")
    if found and missing and unread:
        _tell(f"{path}: no column {', '.join(missing)}; not read: {', '.join(unread)}")
    return found


def _plain(column: str) -> str:
    """Return a column's name in lower case, without blanks around it and what no editor shows."""
    return INVISIBLE.sub("", column).strip().lower()


def _is_near(column: str, name: str) -> bool:
    """Whether a column that is not called ``name`` may be meant by it: misspelt, cut short, or within a longer name."""
    cut_short = len(column) >= FEWEST_LETTERS and (name.startswith(column) or column in name.split("_"))
    return cut_short or name in column or difflib.SequenceMatcher(None, column, name).ratio() >= NEAR


@cache
def _tell(message: str) -> None:
    """Say something about a file once, however often it is read."""
    print(message, file=sys.stderr)
