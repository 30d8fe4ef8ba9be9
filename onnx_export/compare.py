"""Compare the trained models, fp32 and int8, and the baseline on the test questions.

    models/*/onnx/, models/tfidf-baseline/  ->  reports/comparison.md, .csv, .json and plots

    python onnx_export/compare.py

Each model is scored one question at a time by the class that serves it, at the thresholds tuned for it on validation.
This is the only script that reads the test part. Latency is one question's, with every core of this machine.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from data.files import atomic_path, refuse_overwrite, write_json
from deployment.tagger import ModelFolderError, Tagger, suggest
from training.baseline import NAME as BASELINE
from training.baseline import TfidfTagger
from training.metrics import tagging_metrics
from training.questions import Part, data_hash, read_part

PRECISIONS = {"fp32": "model.onnx", "int8": "model_quantized.onnx"}
TIMED_QUESTIONS = 200

# Published by the reference: 24,340 questions of datascience.stackexchange.com, description only, 299 tags,
# threshold 0.5, its own random tenth for testing. For orientation: not measured here, not on this split.
REFERENCE = [
    {"model": "distilroberta-base", "precision": "fp32", "f1_micro": 0.415, "f1_macro": 0.184, "size_mb": 314.3},
    {"model": "distilroberta-base", "precision": "int8", "f1_micro": 0.414, "f1_macro": 0.179, "size_mb": 79.0},
    {"model": "roberta-base", "precision": "fp32", "f1_micro": 0.414, "f1_macro": 0.169, "size_mb": 476.6},
    {"model": "roberta-base", "precision": "int8", "f1_micro": 0.409, "f1_macro": 0.163, "size_mb": 129.9},
    {"model": "bert-base-uncased", "precision": "fp32", "f1_micro": 0.411, "f1_macro": 0.170, "size_mb": 418.8},
    {"model": "bert-base-uncased", "precision": "int8", "f1_micro": 0.308, "f1_macro": 0.103, "size_mb": 105.4},
]

METRIC_COLUMNS = [
    *(f"{name}_{average}" for average in ("micro", "macro") for name in ("precision", "recall", "f1")),
    "exact_match",
    *(f"precision_at_{k}" for k in (1, 3, 5)),
    "recall_at_5",
]
COST_COLUMNS = ["size_mb", "latency_p50_ms", "latency_p95_ms", "questions_per_second"]


def find_taggers(models_dir: Path) -> list[tuple[str, str, Path]]:
    """Return (model, precision, file) of everything trained below ``models_dir``, the baseline first."""
    found = [(BASELINE, "fp32", file) for file in models_dir.glob(f"{BASELINE}/model.npz")]
    for folder in sorted(models_dir.glob("*/onnx")):
        files = {precision: folder / name for precision, name in PRECISIONS.items()}
        found += [(folder.parent.name, precision, file) for precision, file in files.items() if file.is_file()]
    return found


def measure(tagger: Tagger | TfidfTagger, test: Part) -> dict[str, float]:
    """Return quality over all of ``test``, and speed over its first TIMED_QUESTIONS questions."""
    from tqdm import tqdm

    probabilities, seconds = [], []
    for title, description in tqdm(zip(test.titles, test.descriptions, strict=True), total=len(test), unit="question"):
        started = time.perf_counter()
        probabilities.append(tagger.probabilities([title], [description])[0])
        seconds.append(time.perf_counter() - started)
    probabilities = np.stack(probabilities)
    figures = tagging_metrics(test.targets, suggest(probabilities, tagger.thresholds), probabilities)

    milliseconds = 1000 * np.array(seconds[:TIMED_QUESTIONS])
    figures["latency_p50_ms"], figures["latency_p95_ms"] = (float(np.percentile(milliseconds, q)) for q in (50, 95))
    started = time.perf_counter()
    tagger.probabilities(test.titles[:TIMED_QUESTIONS], test.descriptions[:TIMED_QUESTIONS], batch_size=32)
    figures["questions_per_second"] = min(TIMED_QUESTIONS, len(test)) / (time.perf_counter() - started)
    return figures


def markdown_table(records: list[dict], columns: list[str]) -> str:
    """Return a Markdown table of ``columns``; the first two hold names, the others numbers."""
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for record in records:
        numbers = [f"{record[column]:.{1 if column in COST_COLUMNS else 3}f}" for column in columns[2:]]
        lines.append("| " + " | ".join([record[columns[0]], record[columns[1]], *numbers]) + " |")
    return "\n".join(lines)


def markdown(rows: list[dict], num_questions: int, num_tags: int) -> str:
    """Return the report as Markdown: the measured rows, then the reference's published ones, marked as such."""
    return f"""# Comparison on {num_questions} test questions, {num_tags} tags

{markdown_table(rows, ["model", "precision", *METRIC_COLUMNS])}

Size, latency of one question, and questions per second in batches of 32, on this machine:

{markdown_table(rows, ["model", "precision", *COST_COLUMNS])}

## The reference's published figures, on other questions and another split

{markdown_table(REFERENCE, ["model", "precision", "f1_micro", "f1_macro", "size_mb"])}
"""


def plot(rows: list[dict], reports_dir: Path) -> list[Path]:
    """Draw quality by model, and micro F1 against latency; return the files."""
    import matplotlib
    import pandas as pd

    matplotlib.use("agg")
    table = pd.DataFrame(rows)
    table.index = table["model"] + " " + table["precision"]
    quality = table[["f1_micro", "f1_macro", "precision_at_1", "recall_at_5"]].plot.barh(figsize=(8, 1 + len(rows)))
    quality.set(xlim=(0, 1), title="Quality on the test questions")
    quality.invert_yaxis()
    speed = table.plot.scatter("latency_p50_ms", "f1_micro", s=10 + 2 * table["size_mb"], alpha=0.6, figsize=(8, 5))
    speed.set(xlabel="median latency of one question, ms", ylabel="micro F1", title="Quality, speed and size (area)")
    speed.set_xlim(0, 1.4 * table["latency_p50_ms"].max())  # room for the names
    for name, row in table.iterrows():
        speed.annotate(name, (row["latency_p50_ms"], row["f1_micro"]), xytext=(8, 0), textcoords="offset points")
    files = []
    for name, axes in (("comparison_quality.png", quality), ("comparison_speed.png", speed)):
        with atomic_path(reports_dir / name) as temporary:
            axes.figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
        files.append(reports_dir / name)
    return files


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the test questions")
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of the trained models")
    parser.add_argument("--reports-dir", type=Path, default=Path("reports"), help="folder of the results")
    parser.add_argument("--force", action="store_true", help="replace existing results")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    outputs = {suffix: args.reports_dir / f"comparison.{suffix}" for suffix in ("md", "csv", "json")}
    refuse_overwrite(*outputs.values(), force=args.force)
    found = find_taggers(args.models_dir)
    if not found:
        sys.exit(f"no exported model in {args.models_dir}: run  python onnx_export/export.py  first")

    rows = []
    try:
        test = read_part(args.data_dir, "test")
        for model, precision, file in found:
            tagger = TfidfTagger.load(file.parent) if model == BASELINE else Tagger(file.parent, file.name)
            if tagger.tags != test.tags:
                raise ModelFolderError(
                    f"{file} was trained for other tags than those in {args.data_dir}: train it again"
                )
            print(f"{model} {precision}")
            row = {"model": model, "precision": precision, "size_mb": file.stat().st_size / 1e6}
            rows.append(row | measure(tagger, test))
    except ValueError as error:
        sys.exit(f"cannot compare: {error}")

    import pandas as pd

    report = markdown(rows, len(test), len(test.tags))
    with atomic_path(outputs["md"]) as temporary:
        temporary.write_text(report, encoding="utf-8")
    with atomic_path(outputs["csv"]) as temporary:
        pd.DataFrame(rows)[["model", "precision", *METRIC_COLUMNS, *COST_COLUMNS]].to_csv(temporary, index=False)
    measured = {"data_sha256": data_hash(args.data_dir), "test_questions": len(test), "rows": rows}
    write_json(outputs["json"], measured | {"reference_on_another_split": REFERENCE})
    plots = plot(rows, args.reports_dir)
    print(report)
    print(f"written: {', '.join(str(path) for path in [*outputs.values(), *plots])}")


if __name__ == "__main__":
    main()
