"""Measure how the time of tagging and of filter_tags.py grows with the rows, and what a second Ray worker gives.

In: the model of deployment/model/ and a file of questions whose words make up the rows. Out: the cost of a row at each
size as a ratio to the largest size's of one run, and a plot.

    python benchmarks/growth.py --questions data/ques_details.csv    # -> reports/growth.md, growth.png
"""

import argparse
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.files import atomic_path, read_questions, write_questions
from deployment.tagger import default_model_folder

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
MOST_GROWTH = 1.2  # of a row's cost from the next to last size to the last
SHARDS = 8
RAY_PORT = 6399
DESCRIPTION_WORDS = 80


def make_rows(questions: "pd.DataFrame", rows: int) -> "pd.DataFrame":
    """Return ``rows`` questions with tags of real ones, and texts of their words in an order of their own."""
    import pandas as pd

    rng = random.Random(0)
    words = " ".join(questions["title"] + " " + questions["description"]).split()
    titles = [" ".join(rng.choices(words, k=9)) for _ in range(rows)]
    descriptions = [" ".join(rng.choices(words, k=DESCRIPTION_WORDS)) for _ in range(rows)]
    tags = rng.choices(questions["tags"].tolist(), k=rows)
    urls = [f"https://site.example/questions/{row}" for row in range(rows)]
    return pd.DataFrame({"title": titles, "description": descriptions, "tags": tags, "url": urls})


def seconds(command: Sequence[str | Path]) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr[-500:]}")
    return time.perf_counter() - started


def tag_titles(rows: "pd.DataFrame", folder: Path, model: Path) -> float:
    """Return the seconds of predict.py over the titles."""
    rows[["title"]].to_csv(folder / "titles.csv", index=False)
    options = ["--model", model, "--input", folder / "titles.csv", "--output", folder / "tagged.csv", "--force"]
    return seconds(["deployment/predict.py", *options])


def filter_and_split(rows: "pd.DataFrame", folder: Path) -> float:
    """Return the seconds of filter_tags.py, near-duplicates and the split with it."""
    write_questions(folder / "ques_details.csv", rows)
    return seconds(["training/filter_tags.py", "--data-dir", folder, "--force"])


def tag_on_ray(rows: "pd.DataFrame", folder: Path, model: Path, workers: int) -> float:
    """Return the seconds of predict.py --ray over the titles in SHARDS files, on a cluster of ``workers`` cores."""
    shards, target = folder / "shards", folder / f"tagged-{workers}"
    shards.mkdir(exist_ok=True)
    size = -(-len(rows) // SHARDS)
    for number in range(SHARDS):
        rows[["title"]].iloc[number * size : (number + 1) * size].to_parquet(shards / f"{number}.parquet")
    ray = Path(sys.executable).with_name("ray")
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    quiet = {"check": True, "capture_output": True}
    head = ["--head", f"--port={RAY_PORT}", f"--num-cpus={workers}", "--include-dashboard=false"]
    subprocess.run([ray, "start", *head], **quiet)
    try:
        options = ["--model", model, "--input", shards, "--output", target, "--ray", f"127.0.0.1:{RAY_PORT}"]
        return seconds(["deployment/predict.py", *options])
    finally:
        subprocess.run([ray, "stop", "--force"], **quiet)


def plot(curves: dict[str, dict[int, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name, taken in curves.items():
        axes.loglog(list(taken), [value / max(taken.values()) for value in taken.values()], "o-", label=name)
    axes.set(xlabel="rows", ylabel="time, against the largest size's")
    axes.legend()
    figure.savefig(path, format="png", dpi=120, bbox_inches="tight")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=default_model_folder(), help="model folder")
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv")
    parser.add_argument("--tag-rows", type=int, nargs="+", default=[1000, 4000, 16_000], help="titles to tag")
    parser.add_argument("--filter-rows", type=int, nargs="+", default=[1000, 4000, 16_000], help="questions to split")
    parser.add_argument("--output", type=Path, default=Path("reports/growth.md"), help="Markdown file to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        questions = read_questions(args.questions)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    rows = make_rows(questions, max(*args.tag_rows, *args.filter_rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways: dict[str, tuple[list[int], Callable[[pd.DataFrame], float]]] = {
            "predict.py": (args.tag_rows, lambda part: tag_titles(part, folder, args.model.resolve())),
            "filter_tags.py": (args.filter_rows, lambda part: filter_and_split(part, folder)),
        }
        curves = {name: {size: run(rows.head(size)) for size in sizes} for name, (sizes, run) in ways.items()}
        part = rows.head(args.tag_rows[-1])
        on_ray = [tag_on_ray(part, folder, args.model.resolve(), workers) for workers in (1, os.cpu_count())]
    lines = ["# Growth\n", "| | rows | cost of a row, against the largest size's |", "|---|---:|---:|"]
    growth = {}
    for name, taken in curves.items():
        costs = {size: duration / size for size, duration in taken.items()}
        *_, before, last = costs.values()
        growth[name] = last / before
        lines += [f"| {name} | {size} | {cost / last:.2f} |" for size, cost in costs.items()]
    single = curves["predict.py"][args.tag_rows[-1]]
    lines += [
        "",
        f"predict.py --ray over {len(part)} titles: {os.cpu_count()} workers are {on_ray[0] / on_ray[1]:.2f} times as "
        f"fast as one, and {single / on_ray[1]:.2f} times as fast as predict.py on the same cores; the start of Ray's "
        "workers, some seconds, included.",
        "",
    ]
    with atomic_path(args.output.with_name("growth.png")) as temporary:
        plot(curves, temporary)
    with atomic_path(args.output) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    if steep := [f"{name}: a row costs {grown:.2f} times" for name, grown in growth.items() if grown > MOST_GROWTH]:
        sys.exit(f"grows faster than the rows: {'; '.join(steep)}")
    print(f"-> {args.output}")


if __name__ == "__main__":
    main()
