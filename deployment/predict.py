"""Tag a CSV file of questions, or a single question.

In:  a UTF-8 CSV file with a header and the columns title and description, or one of them; others are carried over
Out: the same rows in the same order with two columns more:
         tags     a JSON array, the most probable tag first; [] where title and description are both blank
         scores   a JSON array of the tags' probabilities in the same order

    python deployment/predict.py --input questions.csv --output tagged.csv
    python deployment/predict.py --title "How many clusters for k-means?"    # prints its tags

The file is read twice, row by row: once to check all of it before the work begins, once to tag it. Memory does not grow
with its length, and questions are tagged one at a time as the apps do it, so the same question gets the same tags here.
"""

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagger import Tagger, default_model_folder

TEXT_COLUMNS = ("title", "description")
RESULT_COLUMNS = ("tags", "scores")
CHUNK = 32  # questions between two steps of the progress bar
LONGEST_CELL = 10_000_000  # characters; more than that is a quotation mark that was never closed


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--input", type=Path, help="CSV file with the columns title, description")
    parser.add_argument("--output", type=Path, help="CSV file to write: the input plus tags, scores")
    parser.add_argument("--title", default="", help="title of a single question, instead of --input")
    parser.add_argument("--description", default="", help="description of a single question")
    parser.add_argument(
        "--model",
        type=Path,
        default=default_model_folder(),
        help="model folder; the environment variable TAGGER_MODEL sets another default",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        help="give this many of the most probable tags; without it, the one to five that clear their thresholds",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    args = parser.parse_args(argv)
    if args.top_k is not None and args.top_k < 1:
        parser.error(f"--top-k is {args.top_k}; it must be 1 or more")
    from_file, single = bool(args.input and args.output), bool(args.title or args.description)
    if from_file == single or bool(args.input) != bool(args.output):
        parser.error("give either --input and --output, or --title and --description")
    return args


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


def check_places(source: Path, target: Path, force: bool) -> None:
    """Stop with one line if the output would overwrite the input, or an existing result without ``--force``."""
    if not source.is_file():
        sys.exit(f"{source} not found: give --input a CSV file with the columns title, description")
    if target.is_dir():
        sys.exit(f"{target} is a folder: give --output the name of a file")
    if target.exists() and target.samefile(source):
        sys.exit(f"--output {target} is the input itself: name another file")
    if target.exists() and not force:
        sys.exit(f"{target} already there: give --force to replace it, or name another place")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block succeeds, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def tag_rows(tagger, rows: list[dict[str, str]], top_k: int | None) -> int:
    """Add ``tags`` and ``scores`` to the rows, in place, and return how many of them are blank."""
    texts = [tuple(row.get(column, "") for column in TEXT_COLUMNS) for row in rows]
    asked = [row for row, (title, description) in enumerate(texts) if title.strip() or description.strip()]
    results = [[] for _ in rows]
    tagged = tagger.tag_batch([texts[row][0] for row in asked], [texts[row][1] for row in asked], top_k)
    for row, result in zip(asked, tagged, strict=True):
        results[row] = result
    for row, result in zip(rows, results, strict=True):
        row["tags"] = json.dumps([tag for tag, _ in result], ensure_ascii=False)
        row["scores"] = json.dumps([round(probability, 4) for _, probability in result])
    return len(rows) - len(asked)


def tag_file(tagger, source: Path, target: Path, total: int, top_k: int | None) -> int:
    """Tag the ``total`` questions of ``source`` into ``target`` and return how many of them are blank."""
    from tqdm import tqdm

    blank = 0
    rows = read_rows(source)
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
        tqdm(total=total, unit="question", desc="Tagging") as progress,
    ):
        writer = None
        while chunk := list(itertools.islice(rows, CHUNK)):
            blank += tag_rows(tagger, chunk, top_k)
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(chunk[0]), lineterminator="\n")
                writer.writeheader()
            writer.writerows(chunk)
            progress.update(len(chunk))
    return blank


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.input:
        check_places(args.input, args.output, args.force)

    try:
        if not args.input:
            for tag, probability in Tagger(args.model).tag(args.title, args.description, args.top_k):
                print(f"{probability:.2f}  {tag}")
            return
        total = sum(1 for _ in read_rows(args.input))
        if total == 0:
            raise ValueError(f"{args.input}: no row below the header")
        blank = tag_file(Tagger(args.model), args.input, args.output, total, args.top_k)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {args.output} was not written")
    print(f"{total - blank} questions tagged, {blank} blank ones left without tags -> {args.output}")


if __name__ == "__main__":
    main()
