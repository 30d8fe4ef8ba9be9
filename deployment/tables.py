"""The files of questions that predict.py reads, and the same files with tags: CSV or Parquet, in constant memory."""

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

TEXT_COLUMNS = ("title", "description")
RESULT_COLUMNS = ("tags", "scores")
LONGEST_CELL = 10_000_000  # characters; more than that is a quotation mark that was never closed
ROWS = 1_000  # of a Parquet file that are in memory at a time


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
            cells = [
                batch[column].to_pylist() if column in batch.schema.names else [""] * len(batch)
                for column in TEXT_COLUMNS
            ]
            yield from ((title or "", description or "") for title, description in zip(*cells, strict=True))
    else:
        for row in read_rows(path):
            yield row.get("title", ""), row.get("description", "")


def write_tagged(source: Path, target: Path, results: Iterable[list[tuple[str, float]]]) -> None:
    """Copy ``source`` to ``target``, in its format, with the columns tags and scores of one result per row."""
    (write_parquet if is_parquet(source) else write_csv)(source, target, iter(results))


def write_csv(source: Path, target: Path, results: Iterator[list[tuple[str, float]]]) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for row, result in zip(read_rows(source), results, strict=True):
            row["tags"] = json.dumps([tag for tag, _ in result], ensure_ascii=False)
            row["scores"] = json.dumps([probability for _, probability in result])
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
                writer.writeheader()
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
            check_header(file.schema_arrow.names, path)
            for field in file.schema_arrow:
                texts = pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)
                if field.name in TEXT_COLUMNS and not texts:
                    raise ValueError(f"{path}: the column {field.name!r} holds {field.type}; it must hold strings")
            yield from file.iter_batches(ROWS)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path}: not readable as Parquet ({str(error).splitlines()[0]})") from error


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file as dicts, every one with a cell for each column of the header.

    Raises
    ------
    ValueError : no CSV in UTF-8, an unusable header, or a row of too few or too many cells; the message names the line
    """
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        line = 0  # where the last sound row ended
        try:
            columns = next(reader, [])
            check_header(columns, path)
            for cells in reader:
                if cells and len(cells) != len(columns):
                    where = f"{path}, line {reader.line_num}"
                    raise ValueError(f"{where}: {len(cells)} cells, but the header names {len(columns)} columns")
                if cells:  # an empty line is no row
                    yield dict(zip(columns, cells, strict=True))
                line = reader.line_num
        except csv.Error as error:
            raise ValueError(f"{path}, the row from line {line + 1} on: not readable as CSV ({error})") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {undecodable_line(path)}: not UTF-8; save the file as UTF-8") from error


def undecodable_line(path: Path) -> int:
    """Return the number of a file's first line that is not UTF-8."""
    with path.open("rb") as file:
        return next(number for number, line in enumerate(file, start=1) if "\ufffd" in line.decode(errors="replace"))


def check_header(columns: list[str], path: Path) -> None:
    """Raise ValueError unless the columns hold a text, none of them twice and none of the result's."""
    if not columns:
        raise ValueError(f"{path}: the file is empty; its first line must name the columns title, description")
    if not set(TEXT_COLUMNS) & set(columns):
        raise ValueError(f"{path}: neither column title nor description; found {', '.join(columns)}")
    for column in columns:
        if columns.count(column) > 1:
            raise ValueError(f"{path}: two columns are called {column!r}; rename one")
        if column in RESULT_COLUMNS:
            raise ValueError(f"{path}: the column {column!r} would be overwritten; rename it, e.g. to given_{column}")
