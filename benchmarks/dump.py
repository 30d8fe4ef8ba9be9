"""Measure the speed and the memory of reading a data dump, compared to a bare XML parser on the same file.

The dump is generated: questions and answers of the sample site, repeated. Output: speeds relative to the bare parser.

    python benchmarks/dump.py --megabytes 1000    # -> reports/dump.md
"""

import argparse
import sys
import tempfile
from pathlib import Path

from lxml import etree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.generated_dump import write_dump
from benchmarks.measure import add_output_option, peak_memory, proportional, seconds, write_report
from data.markdown import markdown_table
from scraper.archives import open_posts
from scraper.posts_xml import raw_questions
from tagging.console import run_script
from tagging.options import at_least_one, script_parser

SCRIPT = Path(__file__).parents[1] / "scraper/data_dump.py"
MIN_SHARE = 0.8  # of the bare parser's speed
MAX_MEMORY = 200  # MB


def bare_parser(path: Path) -> None:
    """Parse the file and free each row."""
    with path.open("rb") as file:
        for _, row in etree.iterparse(file, tag="row"):
            row.clear()
            while row.getprevious() is not None:
                del row.getparent()[0]


def reader(path: Path) -> None:
    """Read the questions as data_dump.py does, without converting their HTML."""
    with open_posts(path) as (posts, _):
        for _ in raw_questions(posts):
            pass


def whole_script(path: Path) -> float:
    """Run data_dump.py; return the peak memory of all its processes together in MB."""
    output = path.with_name("ques_details.csv")
    command: list[str | Path] = [SCRIPT, "--input", path, "--site", "https://site.example", "--output", output]
    return peak_memory(command, memory=proportional)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--megabytes", type=at_least_one, default=1000, help="size of the dump in MB")
    add_output_option(parser, "dump")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Posts.xml")
        questions = write_dump(path, args.megabytes)
        times = {
            "bare lxml.iterparse": seconds(lambda: bare_parser(path)),
            "reader of data_dump.py": seconds(lambda: reader(path)),
            "data_dump.py, with HTML conversion and output": seconds(lambda: peaks.append(whole_script(path))),
        }
    base = next(iter(times.values()))
    lines = [f"# A dump of {args.megabytes} MB with {questions} questions", ""]
    rows = [(name, f"{base / duration:.2f}") for name, duration in times.items()]
    lines.append(markdown_table(["", "relative speed"], rows))
    lines += ["", f"Peak memory of data_dump.py and its workers together: {peaks[0]:.0f} MB."]
    write_report("dump", args.output, lines)
    share = base / times["reader of data_dump.py"]
    if share < MIN_SHARE or peaks[0] > MAX_MEMORY:
        sys.exit(f"reader: {share:.2f} of the speed of the bare parser, peak {peaks[0]:.0f} MB")


if __name__ == "__main__":
    run_script(main)
