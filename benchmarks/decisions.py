"""Measure what the decisions of moderators change, before the next training.

Input: decisions.jsonl of webapp/moderation.py, and the output of filter_tags.py, made without them. One logistic
regression per tag on an encoder's vectors is fitted to the training part with the tags of the site, and with those that
were decided. Reported are the figures of both on the validation part, whose tags stay as they are, with the paired
difference and its 95 % bootstrap interval.

    python benchmarks/decisions.py --decisions data/decisions.jsonl    # -> reports/decisions.md
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, write_report
from data.decisions import Decision, read_decisions
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.decision import sigmoid
from tagging.options import script_parser
from training.dataset import Part, read_parts
from training.heads import fit_heads
from training.metrics import MAIN_FIGURES, interval, multi_hot, resample, tagging_metrics
from training.options import add_backbone_option
from training.tags import decided_tags
from training.thresholds import suggest_by_folds
from training.vectors import question_vectors

FOLDS = 10


def decided_targets(train: Part, decisions: list[Decision]) -> np.ndarray:
    """Return the targets of the training part with the decided tags."""
    tag_lists = [[train.tags[index] for index in np.flatnonzero(row)] for row in train.targets]
    return multi_hot(decided_tags(train.urls, tag_lists, decisions, set(train.tags)), train.tags)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--decisions", type=Path, required=True, help="decisions.jsonl of webapp/moderation.py")
    add_backbone_option(parser, default="all-minilm-l6-v2")
    add_folder_options(parser, data_dir="folder of the output of filter_tags.py")
    add_output_option(parser, "decisions")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        train, validation = read_parts(args.data_dir, "train", "validation")
        decided = decided_targets(train, read_decisions(args.decisions))
        changed = int((train.targets != decided).any(axis=1).sum())
        if not changed:
            raise ValueError(
                f"{args.decisions}: no decision changes the tags of a question in train of {args.data_dir}: name the "
                "decisions of this site, and make the data without them"
            )
        vectors, unseen = question_vectors(args.model, train), question_vectors(args.model, validation)
    except ValueError as error:
        sys.exit(str(error))
    rows, resamples, estimates = [], {}, {}
    for name, targets in (("tags of the site", train.targets), ("decided tags", decided)):
        probabilities = sigmoid(fit_heads(vectors, targets)(unseen))
        chosen = suggest_by_folds(validation.targets, probabilities, validation.tags, folds=FOLDS)
        estimates[name] = tagging_metrics(validation.targets, chosen, probabilities)
        resamples[name] = resample(validation.targets, chosen, probabilities)
        rows.append((name, *(f"{estimates[name][figure]:.4f}" for figure in MAIN_FIGURES.values())))
    before, after = estimates
    differences = []
    for figure in MAIN_FIGURES.values():
        estimate = estimates[after][figure] - estimates[before][figure]
        low, high = interval(estimate, resamples[after][figure] - resamples[before][figure], lowest=-1.0)
        differences.append(f"{estimate:+.4f} [{low:+.4f}, {high:+.4f}]")
    lines = [
        f"# Decisions that change the tags of {changed} of {len(train)} training questions\n",
        markdown_table(["", *MAIN_FIGURES], [*rows, ("difference", *differences)]),
        f"\nOn the {len(validation)} validation questions, at thresholds tuned in {FOLDS} folds.",
    ]
    write_report("decisions", args.output, lines)


if __name__ == "__main__":
    run_script(main)
