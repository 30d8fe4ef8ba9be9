"""Measure time and memory of the stages from a data dump to tagged questions, at growing numbers of questions.

Input: a file of questions, whose words make up the generated ones, with and without a description in turn. Output: each
stage's seconds, the growth of its cost per question between the two largest sizes, and its peak memory.

    python benchmarks/scale.py --questions data/ques_details.csv                                  # -> reports/scale.md
    python benchmarks/scale.py --questions data/ques_details.csv --sizes 100000 1000000           # hours

The random words are the worst case for the baseline, whose pairs of words never repeat.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.generated_dump import question_row
from benchmarks.generated_rows import make_rows
from benchmarks.measure import add_output_option, machine, peak_memory, proportional, resident, write_report
from data.files import read_questions
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.model_folder import add_model_folder_option
from tagging.options import at_least_one, script_parser

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
MAX_MEMORY = 4000  # MB
MAX_GROWTH = 1.2  # of the time divided by n log n
TRAINING = ["--epochs", "1", "--batch-size", "16", "--max-length", "128", "--consistency", "0"]


def write_dump(rows: "pd.DataFrame", path: Path) -> None:
    """Write a Posts.xml of the questions."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
        for number, row in enumerate(rows.itertuples(), start=1):
            body_html = f"<p>{row.description or row.title}</p>"
            file.write(question_row(str(number), row.title, body_html, row.tags, "2020-01-01T00:00:00.000"))
        file.write("</posts>\n")


def stages(folder: Path, model: Path, backbone: str, steps: int) -> dict[str, list[str | Path]]:
    """Return {stage: its script and options}, in their order."""
    places: list[str | Path] = ["--data-dir", folder, "--models-dir", folder / "models"]
    details = folder / "ques_details.csv"
    training = ["--model", backbone, "--max-steps", str(steps), *TRAINING]
    return {
        "read the dump": [
            "scraper/data_dump.py", "--input", folder / "Posts.xml", "--site", "https://site.example",
            "--output", details,
        ],
        "rare tags, near-duplicates, split": ["training/filter_tags.py", "--data-dir", folder],
        "baseline": ["training/baseline.py", *places],
        f"tokenize, train {steps} steps, validate": ["training/finetune.py", *places, *training],
        "tag titles": [
            "deployment/predict.py", "--model", model, "--input", folder / "titles.csv", "--output",
            folder / "tagged.csv",
        ],
    }  # fmt: skip


def measure(command: Sequence[str | Path]) -> tuple[float, float]:
    """Return the seconds that a script takes, and the peak memory of its processes in MB."""
    memory = proportional if command[0] == "scraper/data_dump.py" else resident  # it alone has processes of its own
    started = time.perf_counter()
    peak = peak_memory([ROOT / command[0], *command[1:]], memory)
    return time.perf_counter() - started, peak


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv")
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[5000, 20_000], help="numbers of questions")
    parser.add_argument("--steps", type=at_least_one, default=1000, help="optimizer steps of the training")
    parser.add_argument("--backbone", default="all-minilm-l6-v2", help="as finetune.py's --model")
    add_output_option(parser, "scale")
    args = parser.parse_args(argv)
    if len(args.sizes) < 2 or args.sizes != sorted(args.sizes):
        parser.error("--sizes needs at least two numbers, in growing order")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        questions = read_questions(args.questions)
    except ValueError as error:
        sys.exit(str(error))
    measured: dict[str, dict[int, tuple[float, float]]] = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            generated = make_rows(questions, size)
            write_dump(generated, folder / "Posts.xml")
            generated[["title"]].to_csv(folder / "titles.csv", index=False, lineterminator="\n")
            del generated
            for stage, command in stages(folder, args.model, args.backbone, args.steps).items():
                measured.setdefault(stage, {})[size] = taken, peak = measure(command)
                print(f"{size} questions: {stage}, {taken:.0f} s, {peak:.0f} MB", flush=True)

    *_, before, largest = args.sizes
    rows, missed = [], []
    for stage, by_size in measured.items():
        work = {size: by_size[size][0] / (size * math.log(size)) for size in (before, largest)}
        growth, peak = work[largest] / work[before], by_size[largest][1]
        rows.append((stage, *(f"{taken:.0f}" for taken, _ in by_size.values()), f"{growth:.2f}", f"{peak:.0f}"))
        missed += [f"{stage}: {growth:.2f} times the time per n log n"] if growth > MAX_GROWTH else []
        missed += [f"{stage}: {peak:.0f} MB"] if peak > MAX_MEMORY else []
    lines = [
        f"# From a dump of {largest:,} questions to their tags\n",
        f"{machine()}.\n",
        markdown_table(
            ["", *(f"s, {size:,} questions" for size in args.sizes), "growth over n log n", f"MB at {largest:,}"], rows
        ),
        f"\nMissed targets: {'; '.join(missed) or 'none'}.",
    ]
    write_report("scale", args.output, lines)
    if missed:
        sys.exit(f"missed targets: {'; '.join(missed)}")


if __name__ == "__main__":
    run_script(main)
