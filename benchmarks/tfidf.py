"""Measure the training of the TF-IDF baseline against liblinear's own settings, and what its haste costs of F1.

In: the output of filter_tags.py, without its test part. Each half of the validation questions is judged by thresholds
tuned on the other half. Fails over 60 s, or where micro or macro F1 is lower by more than 0.005.

    python benchmarks/tfidf.py    # -> reports/tfidf.md
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from tagging.console import run_script
from tagging.options import script_parser

from benchmarks.measure import add_output_option, write_report
from data.markdown import markdown_table
from data.options import add_folder_options
from training.ablate import choose
from training.baseline import TfidfTagger, fit
from training.metrics import MAIN_FIGURES, tagging_metrics
from training.questions import Part, read_part

LIBLINEAR = {"dual": False, "tol": 1e-4}  # scikit-learn's defaults for this solver
MOST_SECONDS = 60
MOST_LOSS = 0.005


def train_and_judge(train: Part, validation: Part, **settings) -> tuple[float, dict[str, float]]:
    """Return the seconds of a training with ``settings`` and the figures of its answers to the validation questions.

    Raises
    ------
    ValueError : no question of a half carries a tag
    """
    started = time.perf_counter()
    tagger = TfidfTagger(fit(train, **settings))
    took = time.perf_counter() - started
    probabilities = tagger.raw_probabilities(validation.titles, validation.descriptions)
    return took, tagging_metrics(validation.targets, choose(validation, probabilities), probabilities)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(parser, data_dir="folder of the output of filter_tags.py")
    add_output_option(parser, "tfidf")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for module in ("sklearn.feature_extraction.text", "sklearn.linear_model"):
        importlib.import_module(module)  # which is no part of the training
    try:
        train, validation = read_part(args.data_dir, "train"), read_part(args.data_dir, "validation")
        took, figures = train_and_judge(train, validation)
        rival_took, rival = train_and_judge(train, validation, **LIBLINEAR)
    except ValueError as error:
        sys.exit(str(error))
    loss = max(rival[name] - figures[name] for name in ("f1_micro", "f1_macro"))
    rows = [
        ("liblinear's own settings", "1.0", *(f"{rival[name]:.3f}" for name in MAIN_FIGURES.values())),
        ("baseline.py's", f"{rival_took / took:.1f}", *(f"{figures[name]:.3f}" for name in MAIN_FIGURES.values())),
    ]
    lines = [
        f"# TF-IDF, {len(train.tags)} tags, {len(train)} training and {len(validation)} validation questions\n",
        markdown_table(["", "trained, times as fast", *MAIN_FIGURES.values()], rows),
    ]
    write_report("tfidf", args.output, lines)
    if took > MOST_SECONDS or loss > MOST_LOSS:
        sys.exit(f"missed: {took:.0f} s of training, F1 lower by {loss:.4f}")


if __name__ == "__main__":
    run_script(main)
