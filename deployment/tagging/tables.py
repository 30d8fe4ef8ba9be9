"""Read files of questions and write them with tags: CSV or Parquet, in constant memory."""

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
EVIDENCE_COLUMN = "similar"
csv.field_size_limit(10_000_000)  # characters; a longer cell is the result of an unclosed quotation mark
BATCH_ROWS = 1_000  # rows of a Parquet file in memory at a time
MIN_SIMILARITY = 0.75  # of two names, by difflib's ratio: "descripton" and description, "titel" and title
MIN_LETTERS = 3  # of an abbreviation such as "desc"
OTHER_SEPARATOR = re.compile("[;\t|]")
INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
UNDECODABLE = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of a byte that is not UTF-8


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def iter_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (title, description) of every row of a CSV or Parquet file; a missing column or cell is ''.

    Raises
    ------
    ValueError
        If the file cannot be read, has no text column, or already has a column of the results. The message gives the
        place.
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


def result_columns(evidence: bool) -> tuple[str, ...]:
    """Return the columns that are added to a file: tags and scores, and with ``evidence`` similar."""
    return (*RESULT_COLUMNS, EVIDENCE_COLUMN) if evidence else RESULT_COLUMNS


def write_tagged(source: Path, target: Path, columns: Sequence[str], results: Iterable[dict[str, list]]) -> None:
    """Copy ``source`` to ``target``, in its format, with ``columns`` of one result per row."""
    (write_parquet if is_parquet(source) else write_csv)(source, target, columns, iter(results))


def write_csv(source: Path, target: Path, columns: Sequence[str], results: Iterator[dict[str, list]]) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*read_header(source), *columns], lineterminator="\n")
        writer.writeheader()
        for row, result in zip(read_rows(source), results, strict=True):
            writer.writerow(row | {name: json.dumps(result[name], ensure_ascii=False) for name in columns})


def write_parquet(source: Path, target: Path, columns: Sequence[str], results: Iterator[dict[str, list]]) -> None:
    import pyarrow
    import pyarrow.parquet

    strings = pyarrow.list_(pyarrow.string())
    question = {"url": pyarrow.string(), "title": pyarrow.string(), "tags": strings}
    question |= {"similarity": pyarrow.float32(), "duplicate": pyarrow.bool_()}
    kinds = {
        "tags": strings,
        "scores": pyarrow.list_(pyarrow.float32()),
        EVIDENCE_COLUMN: pyarrow.list_(pyarrow.struct(list(question.items()))),
    }
    schema = pyarrow.parquet.read_schema(source)
    for name in columns:
        schema = schema.append(pyarrow.field(name, kinds[name]))
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        for batch in read_batches(source):
            tagged = list(itertools.islice(results, len(batch)))
            added = [pyarrow.array([result[name] for result in tagged], kinds[name]) for name in columns]
            writer.write_batch(pyarrow.record_batch([*batch.columns, *added], schema=schema))


def read_batches(path: Path) -> Iterator:
    """Yield the ``pyarrow.RecordBatch`` es of a Parquet file. Raises as iter_texts does."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for column in text_columns(file.schema_arrow.names, path).values():
                kind = file.schema_arrow.field(column).type
                if not holds_text(kind):
                    raise ValueError(f"{path}: the column {column!r} holds {kind}; it must hold strings")
            yield from file.iter_batches(BATCH_ROWS)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk; Arrow sets no errno for a damaged file
            raise
        raise ValueError(f"{path}: not readable as Parquet ({str(error).splitlines()[0]})") from error


def holds_text(kind) -> bool:
    """Return whether a ``pyarrow.DataType`` is one of strings, also as a dictionary, or of nulls only."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view, types.is_null))


def read_header(path: Path) -> list[str]:
    """Return the column names of a CSV file as they are written: those that :func:`read_rows` yields."""
    return list(_columns(path).values())


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file as dicts, each with a cell for every column of the header.

    Columns without a name and without cells, as spreadsheets produce them, are ignored; so are empty cells beyond the
    last column.

    Raises
    ------
    ValueError
        If the file is not CSV in UTF-8, its header is not usable, or a row has too few or too many cells. The message
        gives the line.
    """
    columns = _columns(path)
    records = _records(path)
    _, header = next(records)
    for line, cells in records:
        if len(cells) <= max(columns) or any(cell.strip() for cell in cells[len(header) :]):
            raise ValueError(f"{path}, line {line}: {len(cells)} cells, but the header names {len(header)} columns")
        yield {name: cells[place] for place, name in columns.items()}


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the last line, cells) of the header and of each row of a CSV file. Empty lines are skipped."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        line = 0  # the last line of the last valid row
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
    """Return {index: name} of the columns of a CSV file, without those that have neither a name nor a cell."""
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
        _report_once(f"{path}: {len(empty)} empty columns without a name are left out")
    return {place: name for place, name in enumerate(header) if place not in empty}


def undecodable_line(path: Path) -> int:
    """Return the number of a file's first line that is not UTF-8; lines end as :func:`csv.reader` counts them."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return next(number for number, line in enumerate(file, start=1) if UNDECODABLE.search(line))


def text_columns(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Return {name in TEXT_COLUMNS: column}, with at least one entry.

    Raises
    ------
    ValueError
        As :func:`match_columns`; or if there is no text column, or a column has the name of a result.
    """
    check_free(columns, RESULT_COLUMNS, path)
    found = match_columns(columns, TEXT_COLUMNS, path)
    if not found:
        raise ValueError(f"{path}: neither column title nor description; found {', '.join(columns)}")
    return found


def check_free(columns: Sequence[str], results: Sequence[str], path: Path) -> None:
    """Raise ValueError if one of a file's ``columns`` has the name of one of ``results``."""
    for column in columns:
        if (name := _plain(column)) in results:
            raise ValueError(f"{path}: the column {column!r} would be overwritten; rename it, e.g. to given_{name}")


def check_columns_free(path: Path, results: Sequence[str]) -> None:
    """Raise ValueError if a CSV or Parquet file has a column with the name of one of ``results``, or is unreadable."""
    columns = next((batch.schema.names for batch in read_batches(path)), []) if is_parquet(path) else read_header(path)
    check_free(columns, results, path)


def match_columns(columns: Sequence[str], known: Sequence[str], path: Path) -> dict[str, str]:
    """Return {known name: column}, ignoring letter case and surrounding blanks.

    Columns whose names were adapted, and unknown columns while a known one is missing, are reported on stderr, once.

    Raises
    ------
    ValueError
        If two columns have the same name, or a known column is missing while another one has a similar name.
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
            _report_once(f"{path}: the column {column!r} is read as {name}")
    if found and missing and unread:
        _report_once(f"{path}: no column {', '.join(missing)}; not read: {', '.join(unread)}")
    return found


def _plain(column: str) -> str:
    """Return the name of a column in lower case, without surrounding blanks and invisible characters."""
    return INVISIBLE.sub("", column).strip().lower()


def _is_near(column: str, name: str) -> bool:
    """Return whether ``column`` may stand for ``name``: misspelt, abbreviated, or part of a longer name."""
    cut_short = len(column) >= MIN_LETTERS and (name.startswith(column) or column in name.split("_"))
    return cut_short or name in column or difflib.SequenceMatcher(None, column, name).ratio() >= MIN_SIMILARITY


@cache
def _report_once(message: str) -> None:
    """Print a message about a file, once."""
    print(message, file=sys.stderr)
