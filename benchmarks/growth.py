"""Measure how the cost of a row scales in predict.py and filter_tags.py, the memory of the scraper, and Ray's speed-up.

Input: the model of deployment/model/, a file of questions whose words make up the generated rows, and the sample site.
Output: the cost per row and the memory at each size, relative to the largest size, a plot, and the speed-up of Ray with
more workers.

    python benchmarks/growth.py --questions data/ques_details.csv    # -> reports/growth.md, growth.png
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.generated_rows import make_rows
from benchmarks.measure import add_output_option, peak_memory, proportional, resident, write_report
from data.files import read_questions, write_questions
from data.markdown import markdown_table
from data.sample_site.site import SampleSite
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.files import atomic_path
from tagging.model_folder import add_model_folder_option
from tagging.options import at_least_one, script_parser
from tagging.stack_exchange import STACK_EXCHANGE

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
MAX_GROWTH = 1.2  # of the cost per row, and of the scraper's memory, between the last two sizes
SHARDS = 8
RAY_PORT = 6399


def seconds(command: Sequence[str | Path]) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr[-500:]}")
    return time.perf_counter() - started


def tag_titles(rows: "pd.DataFrame", folder: Path, model: Path) -> float:
    """Return the seconds that predict.py takes for the titles."""
    rows[["title"]].to_csv(folder / "titles.csv", index=False, lineterminator="\n")
    options: list[str | Path] = [
        "--model",
        model,
        "--input",
        folder / "titles.csv",
        "--output",
        folder / "tagged.csv",
        "--force",
    ]
    return seconds(["deployment/predict.py", *options])


def filter_and_split(rows: "pd.DataFrame", folder: Path) -> float:
    """Return the seconds that filter_tags.py takes, including near-duplicates and the split."""
    write_questions(folder / "ques_details.csv", rows)
    return seconds(["training/filter_tags.py", "--data-dir", folder, "--force"])


def scraper_memory(engine: str, pages: int, folder: Path) -> float:
    """Return the peak memory in MB of question_details_scraper.py and its browser on a site of ``pages`` questions."""
    urls = folder / "ques_urls.csv"
    with SampleSite(n=pages) as site:
        addresses = (STACK_EXCHANGE.question_url(site.url, question.id) for question in site.questions)
        urls.write_text("\n".join(["url", *addresses, ""]), encoding="utf-8", newline="\n")
        options: list[str | Path] = [
            "--input",
            urls,
            "--output",
            folder / "scraped.csv",
            "--engine",
            engine,
            "--delay",
            "0",
            "--force",
        ]
        # Memory shared by the browser's processes is counted once (PSS); for a single process the faster RSS suffices.
        memory = proportional if engine == "selenium" else resident
        return peak_memory([ROOT / "scraper/question_details_scraper.py", *options], memory)


def tag_on_ray(rows: "pd.DataFrame", folder: Path, model: Path, workers: int) -> float:
    """Return the seconds that predict.py --ray takes for the titles in SHARDS files, with ``workers`` cores."""
    shards, target = folder / "shards", folder / f"tagged-{workers}"
    shards.mkdir(exist_ok=True)
    size = -(-len(rows) // SHARDS)
    for number in range(SHARDS):
        rows[["title"]].iloc[number * size : (number + 1) * size].to_parquet(shards / f"{number}.parquet")
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    quiet: dict = {"check": True, "capture_output": True}
    head = ["--head", f"--port={RAY_PORT}", f"--num-cpus={workers}", "--include-dashboard=false"]
    subprocess.run([*ray, "start", *head], **quiet)
    try:
        options: list[str | Path] = [
            "--model",
            model,
            "--input",
            shards,
            "--output",
            target,
            "--ray",
            f"127.0.0.1:{RAY_PORT}",
        ]
        return seconds(["deployment/predict.py", *options])
    finally:
        subprocess.run([*ray, "stop", "--force"], **quiet)


def plot(curves: dict[str, dict[int, float]], memory: dict[str, dict[int, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, taken in curves.items():
        left.loglog(list(taken), [value / max(taken.values()) for value in taken.values()], "o-", label=name)
    left.set(xlabel="rows", ylabel="time, relative to the largest size")
    for engine, peaks in memory.items():
        right.semilogx(list(peaks), list(peaks.values()), "o-", label=f"question_details_scraper.py, {engine}")
    right.set(xlabel="pages", ylabel="peak memory, MB", ylim=(0, None))
    for axes in (left, right):
        axes.legend()
    figure.savefig(path, format="png", dpi=120)


def relative_table(headings: Sequence[str], series: dict[str, dict[int, float]]) -> str:
    """Return a table of each series by size, against the value of its largest size."""
    rows = []
    for name, values in series.items():
        *_, last = values.values()
        rows += [(name, size, f"{value / last:.2f}") for size, value in values.items()]
    return markdown_table([*headings[:-1], f"{headings[-1]}, against the largest size's"], rows)


def excessive_growth(costs: dict[str, dict[int, float]], memory: dict[str, dict[int, float]]) -> list[str]:
    """Return a message for each value that grows by more than MAX_GROWTH between the last two sizes."""
    named = {f"cost per row of {name}:": values for name, values in costs.items()}
    named |= {f"memory of the scraper with {engine}:": peaks for engine, peaks in memory.items()}
    grown = {what: last / before for what, values in named.items() for *_, before, last in [values.values()]}
    return [f"{what} {growth:.2f} times as much" for what, growth in grown.items() if growth > MAX_GROWTH]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv")
    parser.add_argument(
        "--tag-rows", type=at_least_one, nargs="+", default=[1000, 10_000, 100_000], help="numbers of titles to tag"
    )
    parser.add_argument(
        "--filter-rows",
        type=at_least_one,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        help="numbers of questions to filter and split",
    )
    parser.add_argument(
        "--pages", type=at_least_one, nargs="+", default=[100, 300, 900], help="numbers of question pages to scrape"
    )
    add_output_option(parser, "growth")
    args = parser.parse_args(argv)
    if min(map(len, (args.tag_rows, args.filter_rows, args.pages))) < 2:
        parser.error("--tag-rows, --filter-rows and --pages need at least two sizes each")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        questions = read_questions(args.questions)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    model = args.model.resolve()
    rows = make_rows(questions, max(*args.tag_rows, *args.filter_rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = {
            engine: {pages: scraper_memory(engine, pages, folder) for pages in args.pages}
            for engine in ("selenium", "requests")
        }
        methods: dict[str, tuple[list[int], Callable[[pd.DataFrame], float]]] = {
            "predict.py": (args.tag_rows, lambda part: tag_titles(part, folder, model)),
            "filter_tags.py": (args.filter_rows, lambda part: filter_and_split(part, folder)),
        }
        curves = {name: {size: run(rows.head(size)) for size in sizes} for name, (sizes, run) in methods.items()}
        part = rows.head(args.tag_rows[-2])  # the largest size would take too long
        on_ray = [tag_on_ray(part, folder, model, workers) for workers in (1, usable_cpus())]
    costs = {name: {size: value / size for size, value in taken.items()} for name, taken in curves.items()}
    single = curves["predict.py"][args.tag_rows[-2]]
    lines = [
        "# Growth\n",
        relative_table(("", "rows", "cost of a row"), costs),
        "",
        relative_table(("question_details_scraper.py", "pages", "peak MB"), memory),
        f"\npredict.py --ray over {len(part)} titles: {usable_cpus()} workers are {on_ray[0] / on_ray[1]:.2f} times "
        f"as fast as one, and {single / on_ray[1]:.2f} times as fast as predict.py on the same cores; the start of "
        "Ray's workers, some seconds, included.",
    ]
    with atomic_path(args.output.with_name("growth.png")) as temporary:
        plot(curves, memory, temporary)
    write_report("growth", args.output, lines)
    if grown := excessive_growth(costs, memory):
        sys.exit(f"superlinear growth: {'; '.join(grown)}")


if __name__ == "__main__":
    run_script(main)
