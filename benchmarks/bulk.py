"""Measure the throughput of predict.py on a file, compared to the model alone and to simple loops.

Input: the model of deployment/model/ and a file of questions, repeated up to --rows. Output: questions per second,
relative to the simple loop, and the peak memory of predict.py for all rows and for a quarter of them.

    python benchmarks/bulk.py --questions data/ques_details.csv    # -> reports/bulk.md
"""

import argparse
import csv
import itertools
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, peak_memory, seconds, write_report
from data.files import read_questions
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.model_folder import add_model_folder_option
from tagging.options import at_least_one, script_parser
from tagging.tagger import Tagger

PREDICT = Path(__file__).parents[1] / "deployment/predict.py"
NAIVE_BATCH = 32
MAX_MEMORY = 700  # MB
MIN_SHARE = 0.8  # of the throughput of the model alone


def naive_loop(tagger: Tagger, questions: list[tuple[str, str]]) -> None:
    """Tag batches of NAIVE_BATCH in file order, each padded to its longest text, on all cores."""
    for start in range(0, len(questions), NAIVE_BATCH):
        titles, descriptions = zip(*questions[start : start + NAIVE_BATCH], strict=True)
        tagger.tag_batch(titles, descriptions, batch_size=NAIVE_BATCH)


def one_by_one(tagger: Tagger, questions: list[tuple[str, str]]) -> None:
    """Tag one question at a time, each on all cores."""
    for question in questions:
        tagger.tag(*question)


def raw_model(tagger: Tagger, questions: list[tuple[str, str]]) -> Callable[[], None]:
    """Return a function that runs the model on already tokenized questions, one question per core at a time."""
    titles, descriptions = zip(*questions, strict=True)
    encodings = tagger.model.encode(titles, descriptions)

    def run() -> None:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            for _ in pool.map(lambda encoding: tagger.run(tagger.inputs([encoding])), encodings):
                pass

    return run


def write_csv(path: Path, questions: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("title", "description"), *questions])


def peak_of_predict(model: Path, source: Path) -> float:
    """Run predict.py on ``source`` and return its peak resident memory in MB."""
    target = source.with_suffix(".out.csv")
    return peak_memory([PREDICT, "--model", model, "--input", source, "--output", target, "--force"])


def report(speeds: dict[str, float], peaks: dict[int, float]) -> list[str]:
    """Return the lines of the report.

    Parameters
    ----------
    speeds
        {method: questions per second}; the first method is the baseline.
    peaks
        {number of rows: peak memory in MB}.
    """
    base = next(iter(speeds.values()))
    rows = [(name, f"{speed:.0f}", f"{speed / base:.2f}") for name, speed in speeds.items()]
    return [
        f"# A file of {max(peaks)} questions\n",
        markdown_table(["way", "questions/s", "against the naive loop"], rows),
        "",
        *(f"predict.py's peak memory over {size} rows: {peak:.0f} MB" for size, peak in peaks.items()),
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv")
    parser.add_argument(
        "--rows", type=at_least_one, default=4000, help="number of questions to tag; the file is repeated up to it"
    )
    add_output_option(parser, "bulk")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        table = read_questions(args.questions)
        side_by_side, all_cores = Tagger(args.model, num_threads=1), Tagger(args.model)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    rows = zip(table["title"], table["description"], strict=True)
    questions = list(itertools.islice(itertools.cycle(rows), args.rows))
    with tempfile.TemporaryDirectory() as folder:
        whole, quarter = Path(folder, "whole.csv"), Path(folder, "quarter.csv")
        write_csv(whole, questions)
        write_csv(quarter, questions[: args.rows // 4])
        peaks = {args.rows // 4: peak_of_predict(args.model, quarter)}
        took = {
            f"simple loop: batches of {NAIVE_BATCH} in file order": seconds(lambda: naive_loop(all_cores, questions)),
            "one question at a time, all cores": seconds(lambda: one_by_one(all_cores, questions)),
            "model alone, one question per core": seconds(raw_model(side_by_side, questions)),
            "predict.py, including start-up": seconds(
                lambda: peaks.update({args.rows: peak_of_predict(args.model, whole)})
            ),
        }
    speeds = {name: args.rows / duration for name, duration in took.items()}
    write_report("bulk", args.output, report(speeds, peaks))
    share = speeds["predict.py, including start-up"] / speeds["model alone, one question per core"]
    if share < MIN_SHARE or max(peaks.values()) > MAX_MEMORY:
        sys.exit(f"predict.py: {share:.2f} of the throughput of the model alone, peak {max(peaks.values()):.0f} MB")
    print(f"predict.py: {share:.2f} of the throughput of the model alone")


if __name__ == "__main__":
    run_script(main)
