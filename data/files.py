"""Read and write the files that the stages pass to each other.

ques_urls.csv            title, url
ques_details.csv         title, description, tags (a JSON array), url, creation_date (ISO 8601, UTC; may be empty)
ques_filtered.csv        the same columns, frequent tags only
tag_synonyms.csv         from, to: tags that filter_tags.py renames; optional
split.csv                url, split (train, validation, test, or repost, which no stage uses)
extra_questions.csv      title, description, tags, url, source: of other sources, for training alone; optional
tag_types_encoded.json   {tag: index}
"""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from tagging.files import atomic_path
from tagging.tables import match_columns, read_header, read_rows

Row = TypeVar("Row")

URL_COLUMNS = ["title", "url"]
QUESTION_COLUMNS = ["title", "description", "tags", "url"]
SYNONYM_COLUMNS = ["from", "to"]
DATE_COLUMN = "creation_date"  # written by the scrapers; optional in other files


class QuestionRow(TypedDict):
    """A row of ques_details.csv; files of other origin may lack the columns that are not in QUESTION_COLUMNS."""

    title: str
    description: str
    tags: str
    url: str
    creation_date: str


DETAILS_COLUMNS = list(QuestionRow.__annotations__)

# The values of the column ``split`` of split.csv, and the share of the questions in each part.
FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
REPOST = "repost"  # a copy, or nearly one, of a question of another part, used by no stage

TAG_ENDS = re.compile(r"[\s,;|<>]")  # what separates tags in a list: on sites, in dumps, and in what the stages write


# The files that onnx_export/ writes to models/NAME/onnx/; new weights or a new export make all of them stale.
ONNX_FILES = ("model.onnx", "model.onnx_data", "config.json", "tokenizer.json", "tag_types_encoded.json",
              "thresholds.json", "tagger.json", "model_quantized.onnx", "quantization.json", "metrics.json",
              "per_tag.tsv", "worst_errors.md", "test_decisions.json", "tiers.json",
              "similar.npz", "similar_titles.txt")  # fmt: skip


def write_json(path: str | Path, content: object) -> None:
    """Write indented JSON atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def read_json_lines(path: Path, parse: Callable[[Any], Row], expected: str) -> list[Row]:
    """Read a file of one JSON value a line.

    Parameters
    ----------
    parse : makes a row of a value, and raises ValueError, KeyError or TypeError if it is none
    expected : the end of the message on such a line; {error} in it stands for what ``parse`` or JSON says

    Raises
    ------
    ValueError : the file cannot be read, or a line is not as expected; the message gives file and line
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    rows = []
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            rows.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {expected.format(error=error)}") from error
    return rows


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows of cells as CSV in UTF-8 atomically; a lone surrogate becomes "?"."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def refuse_overwrite(*paths: str | Path, force: bool) -> None:
    """Exit with a one-line message if one of the files exists, unless ``force``."""
    existing = [str(path) for path in paths if Path(path).exists()]
    if existing and not force:
        sys.exit(f"{', '.join(existing)} already there: give --force to replace, or choose another place")


def refuse_foreign(path: str | Path, script: str, force: bool = False) -> None:
    """Exit with a one-line message if ``path`` exists and :func:`write_report` has not written it for ``script``."""
    path = Path(path)
    if (
        path.exists()
        and not force
        and not (path.is_file() and path.read_bytes().rstrip().endswith(_mark(script).encode()))
    ):
        sys.exit(f"{path} exists and is not a report of {script}: choose another place for the report")


def write_report(path: str | Path, text: str, script: str) -> None:
    """Write a Markdown report; its last line says that every run of ``script`` replaces it."""
    with atomic_path(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n\n{_mark(script)}\n\n", encoding="utf-8", newline="\n")


def _mark(script: str) -> str:
    return f"<!-- Every run of {script} replaces this file. -->"


def remove_results(folder: Path, names: Iterable[str]) -> None:
    """Remove the files ``names`` of ``folder`` that exist, and then the folder if it is empty."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def require(path: str | Path, made_by: str) -> Path:
    """Return ``path`` if it is a file, else exit with a one-line message that gives the command that makes it."""
    path = Path(path)
    if not path.is_file():
        sys.exit(f"{path} not found: run  {made_by}  first")
    return path


def iter_rows(path: str | Path, columns: Sequence[str] = DETAILS_COLUMNS) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file one by one, with the names of ``columns`` normalized.

    Raises
    ------
    ValueError
        As :func:`tagging.tables.read_rows` and :func:`tagging.tables.match_columns`.
    """
    path = Path(path)
    found = match_columns(read_header(path), columns, path)
    names = {column: name for name, column in found.items()}
    for row in read_rows(path):
        yield {names.get(column, column): cell for column, cell in row.items()}


def read_table(path: str | Path, columns: Sequence[str], optional: Sequence[str] = ()):
    """Read a CSV file that must have ``columns`` and at least one row; every cell is a string, an empty one ''.

    Raises
    ------
    ValueError
        The file is not CSV in UTF-8, lacks a column, or has no rows; the message gives file and column.
    """
    import pandas as pd

    cells: dict[str, list[str]] = {}
    for row in iter_rows(path, [*columns, *optional]):
        for column, cell in row.items():
            cells.setdefault(column, []).append(cell)
    if not cells:
        raise ValueError(f"{path}: no rows; run the stage before this one again")
    missing = [column for column in columns if column not in cells]
    if missing:
        raise ValueError(f"{path}: column {', '.join(missing)} missing; found {', '.join(cells)}")
    return pd.DataFrame(cells, dtype=object)  # the very strings, which pandas 3 would copy to Arrow for dtype=str


def read_questions(path: str | Path, further: Sequence[str] = ()):
    """Read ques_details.csv or ques_filtered.csv into a DataFrame. The file must have the columns ``further``, too.

    ``tags`` become lists of str. ``creation_date``, where the file has it, becomes datetimes in UTC; a date without a
    time zone is read as UTC, an empty cell as NaT.

    Raises
    ------
    ValueError
        As in :func:`read_table`, or a cell of ``tags`` is not a JSON array of tags, a date cannot be parsed, a question
        is blank, or a url is blank or duplicated; the message gives the row and the column.
    """
    questions = read_table(path, [*QUESTION_COLUMNS, *further], optional=[DATE_COLUMN])
    questions["tags"] = [
        parse_tags(cell, f"{path}, row {row}, column tags") for row, cell in enumerate(questions["tags"], start=1)
    ]
    blank = ((questions["title"].str.strip() == "") & (questions["description"].str.strip() == "")).to_numpy()
    if blank.any():
        raise ValueError(f"{path}, row {blank.argmax() + 1}: neither title nor description; remove the row")
    if DATE_COLUMN in questions:
        questions[DATE_COLUMN] = parse_dates(questions[DATE_COLUMN], path)
    check_urls(questions, path)
    return questions


def check_urls(table, path: str | Path) -> None:
    """Raise ValueError if the column ``url`` of a DataFrame has a blank or duplicated value."""
    urls = table["url"]
    for faulty, fault in (
        (urls.str.strip() == "", "is blank"),
        (urls.duplicated(), "comes twice"),
    ):
        if faulty.any():
            row = faulty.to_numpy().argmax()
            raise ValueError(f"{path}, row {row + 1}, column url: {urls.iloc[row][:80]!r} {fault}")


def read_synonyms(path: str | Path) -> dict[str, str]:
    """Read tag_synonyms.csv as {synonym: tag}; chains such as a -> b -> c end at c.

    Raises
    ------
    ValueError
        As in :func:`read_table`, or a cell is empty, a synonym is duplicated, or a chain is circular.
    """
    table = read_table(path, SYNONYM_COLUMNS)
    synonyms: dict[str, str] = {}
    for row, (old, new) in enumerate(zip(table["from"], table["to"], strict=True), start=1):
        if not old or not new or old in synonyms:
            fault = "comes twice" if old in synonyms else "names no tag"
            raise ValueError(f"{path}, row {row}: {old!r} -> {new!r} {fault}; remove the row")
        synonyms[old] = new
    for old, new in synonyms.items():
        passed = {old}
        while new in synonyms:
            if new in passed:
                raise ValueError(f"{path}: {old!r} leads back to {new!r}; remove one of the rows")
            passed.add(new)
            new = synonyms[new]
        synonyms[old] = new
    return synonyms


def parse_tags(cell: str, where: str) -> list[str]:
    """Parse a cell of the column ``tags``, e.g. '["python", "pandas"]'; ``where`` goes into the ValueError."""
    try:
        tags = json.loads(cell)
    except ValueError:
        tags = None
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise ValueError(f'{where}: must be a JSON array such as ["python", "pandas"], found {cell[:60]!r}')
    for tag in tags:
        if tag != tag.lower() or TAG_ENDS.search(tag):
            raise ValueError(f"{where}: {tag[:60]!r} is not a tag: use lower case, no blanks, commas or brackets")
    return list(map(sys.intern, tags))  # one string per tag, not one per question


def parse_dates(cells, path: str | Path):
    """Parse a Series of ISO 8601 strings to datetimes in UTC, '' to NaT; ``path`` goes into the ValueError."""
    import pandas as pd

    dates = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce")
    broken = (dates.isna() & (cells.str.strip() != "")).to_numpy()
    if broken.any():
        row = broken.argmax()
        raise ValueError(
            f"{path}, row {row + 1}, column {DATE_COLUMN}: must be an ISO 8601 date such as 2024-05-13T23:58:30, "
            f"found {cells.iloc[row][:60]!r}"
        )
    return dates


def write_questions(path: str | Path, questions, further: Sequence[str] = ()) -> None:
    """Write a DataFrame as :func:`read_questions` returns it, with or without dates, atomically."""
    columns = [*QUESTION_COLUMNS, *further]
    cells = {"tags": [json.dumps(tags, ensure_ascii=False) for tags in questions["tags"]]}
    if DATE_COLUMN in questions:
        columns.append(DATE_COLUMN)
        cells[DATE_COLUMN] = questions[DATE_COLUMN].map(lambda date: date.isoformat(), na_action="ignore")
    with atomic_path(path) as temporary:
        questions.assign(**cells).to_csv(temporary, columns=columns, index=False, lineterminator="\n")
