"""Measure the speed of each source in questions per minute on the sample site, with one and with two workers.

Output: relative speeds, and the peak memory of each script without its browsers. There is no delay between requests; on
a real site the delay dominates, so the ratios show only the cost of the scripts themselves.

    python benchmarks/scraping.py    # -> reports/scraping.md
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.generated_dump import write_dump
from benchmarks.measure import add_output_option, peak_memory, write_report
from data.files import iter_rows
from data.markdown import markdown_table
from data.sample_site.site import SampleSite
from tagging.console import run_script
from tagging.options import at_least_one, script_parser

SCRAPER = Path(__file__).parents[1] / "scraper"
PAGES = (SCRAPER / "question_url_scraper.py", SCRAPER / "question_details_scraper.py")


@dataclass(frozen=True)
class Run:
    """Result of one source: questions, total seconds, and peak memory of the script's own process in MB."""

    source: str
    workers: int
    questions: int
    seconds: float
    memory: float

    @property
    def per_minute(self) -> float:
        return 60 * self.questions / self.seconds


def measure(source: str, workers: int, commands: list[list], output: Path) -> Run:
    """Run the commands in sequence and measure them; the last one writes ``output``."""
    started = time.perf_counter()
    memory = max(map(peak_memory, commands))
    return Run(source, workers, sum(1 for _ in iter_rows(output)), time.perf_counter() - started, memory)


def pages(source: str, site: str, folder: Path, workers: int) -> Run:
    """Run both page scrapers with the engine ``source``."""
    shared = ["--engine", source, "--workers", workers, "--delay", 0, "--force"]
    urls, details = folder / "ques_urls.csv", folder / "ques_details.csv"
    commands = [
        [PAGES[0], "--site", site, "--output", urls, *shared],
        [PAGES[1], "--input", urls, "--output", details, *shared],
    ]
    return measure(source, workers, [[str(part) for part in command] for command in commands], details)


def api(site: str, folder: Path) -> Run:
    """Run stack_exchange_api.py, which always uses one connection."""
    output = folder / "ques_details.csv"
    command = [SCRAPER / "stack_exchange_api.py", "--site", site, "--api", f"{site}/2.3", "--delay", "0"]
    return measure("api", 1, [[*command, "--output", output, "--force"]], output)


def dump(posts: Path, folder: Path, workers: int) -> Run:
    output = folder / "ques_details.csv"
    command = [SCRAPER / "data_dump.py", "--input", posts, "--site", "https://site.example", "--workers", str(workers)]
    return measure("dump", workers, [[*command, "--output", output, "--force"]], output)


def report(runs: list[Run]) -> list[str]:
    """Return the lines of the report: one row per run, with its speed relative to the first run."""
    base = runs[0].per_minute
    rows = [
        (run.source, run.workers, run.questions, f"{run.per_minute / base:.2f}", f"{run.memory:.0f}") for run in runs
    ]
    return [
        "# The sources of questions\n",
        markdown_table(["source", "workers", "questions", "speed", "own peak MB"], rows),
        "",
        f"Speed 1.00: {base:.0f} questions a minute on this machine.",
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--num-questions", type=at_least_one, nargs="+", default=[450], help="sizes of the sample site, in questions"
    )
    parser.add_argument("--megabytes", type=at_least_one, default=20, help="size of the dump in MB")
    add_output_option(parser, "scraping")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for questions in args.num_questions:
            with SampleSite(n=questions) as site:
                runs += [
                    pages(engine, site.url, folder, workers)
                    for engine in ("selenium", "requests")
                    for workers in (1, 2)
                ]
                runs.append(api(site.url, folder))
        write_dump(folder / "Posts.xml", args.megabytes)
        runs += [dump(folder / "Posts.xml", folder, workers) for workers in (1, 2)]
    write_report("scraping", args.output, report(runs))


if __name__ == "__main__":
    run_script(main)
