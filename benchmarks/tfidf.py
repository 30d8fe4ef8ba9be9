"""Compare the training time and the F1 of the TF-IDF baseline to those with liblinear's default settings.

Input: the output of filter_tags.py, without the test set. Each half of the validation set is evaluated with thresholds
tuned on the other half. Fails above 60 s, or if micro or macro F1 is lower by more than 0.005.

    python benchmarks/tfidf.py    # -> reports/tfidf.md
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, write_report
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.options import script_parser
from training.dataset import Part, read_parts
from training.metrics import MAIN_FIGURES, tagging_metrics
from training.tfidf import TfidfTagger, fit
from training.thresholds import suggest_by_folds

LIBLINEAR = {"dual": False, "tol": 1e-4}  # scikit-learn's defaults for this solver
MAX_SECONDS = 60
MAX_LOSS = 0.005


def train_and_evaluate(train: Part, validation: Part, **settings) -> tuple[float, dict[str, float]]:
    """Train with ``settings``; return the training time in seconds and the metrics on the validation set.

    Raises
    ------
    ValueError
        No question of a half has a tag.
    """
    started = time.perf_counter()
    tagger = TfidfTagger(fit(train, **settings))
    took = time.perf_counter() - started
    probabilities = tagger.raw_probabilities(validation.titles, validation.descriptions)
    suggested = suggest_by_folds(validation.targets, probabilities, validation.tags)
    return took, tagging_metrics(validation.targets, suggested, probabilities)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(parser, data_dir="folder of the output of filter_tags.py")
    add_output_option(parser, "tfidf")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for module in ("sklearn.feature_extraction.text", "sklearn.linear_model"):
        importlib.import_module(module)  # so that the training time excludes it
    try:
        train, validation = read_parts(args.data_dir, "train", "validation")
        took, figures = train_and_evaluate(train, validation)
        default_took, default = train_and_evaluate(train, validation, **LIBLINEAR)
    except ValueError as error:
        sys.exit(str(error))
    loss = max(default[name] - figures[name] for name in ("f1_micro", "f1_macro"))
    rows = [
        ("liblinear's defaults", "1.0", *(f"{default[name]:.3f}" for name in MAIN_FIGURES.values())),
        ("baseline.py", f"{default_took / took:.1f}", *(f"{figures[name]:.3f}" for name in MAIN_FIGURES.values())),
    ]
    lines = [
        f"# TF-IDF, {len(train.tags)} tags, {len(train)} training and {len(validation)} validation questions\n",
        markdown_table(["", "speed-up of training", *MAIN_FIGURES.values()], rows),
    ]
    write_report("tfidf", args.output, lines)
    if took > MAX_SECONDS or loss > MAX_LOSS:
        sys.exit(f"missed targets: {took:.0f} s of training, F1 lower by {loss:.4f}")


if __name__ == "__main__":
    run_script(main)
