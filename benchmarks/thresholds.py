"""Draw micro against macro F1 over the strength that pulls the threshold of each tag towards the global one.

Input: a model folder and the output of filter_tags.py. Each fold of the validation part is tagged with thresholds tuned
on the others, so that no threshold is scored on what it was tuned on; the test part stays unread. The choices of
quantize.py are marked: --favour micro, the default, and --favour macro.

    python benchmarks/thresholds.py --model deployment/model    # -> reports/thresholds.md, reports/thresholds.png
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, write_report
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import add_model_folder_option
from tagging.options import script_parser
from tagging.tagger import Tagger
from training.dataset import Part, check_tags, read_part
from training.metrics import tagging_metrics
from training.thresholds import MACRO_STRENGTH, PRIOR_STRENGTH, suggest_by_folds, tune_thresholds

FOLDS = 10
CHOICES = {np.inf: "--favour micro", PRIOR_STRENGTH: "default", MACRO_STRENGTH: "--favour macro"}
STRENGTHS = sorted({*CHOICES, 2.5, 5.0, 20.0, 80.0, 160.0, 320.0})


def frontier(part: Part, raw: np.ndarray) -> dict[float, dict[str, float]]:
    """Return {strength: metrics} of the questions with raw probabilities of shape (n, num_labels)."""
    metrics = {}
    for strength in STRENGTHS:
        tune = partial(tune_thresholds, strength=strength)
        chosen = suggest_by_folds(part.targets, raw, part.tags, tune, FOLDS)
        metrics[strength] = tagging_metrics(part.targets, chosen, raw)
    return metrics


def plot(metrics: dict[float, dict[str, float]]):
    """Return a figure of micro against macro F1, with the names of CHOICES."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    axes = Figure(figsize=(6, 4)).subplots()
    points = {strength: (one["f1_macro"], one["f1_micro"]) for strength, one in metrics.items()}
    axes.plot(*zip(*points.values(), strict=True), "o-")
    for strength, name in CHOICES.items():
        axes.annotate(name, points[strength], textcoords="offset points", xytext=(6, 6))
    axes.set(xlabel="macro F1", ylabel="micro F1", title="Thresholds of the validation part, cross-fitted")
    axes.margins(x=0.25)
    return axes.figure


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    add_folder_options(parser, data_dir="folder of the model's training questions")
    add_output_option(parser, "thresholds")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        tagger, validation = Tagger(args.model), read_part(args.data_dir, "validation")
        check_tags(validation, tagger.tags, args.model, args.data_dir)
    except ValueError as error:
        sys.exit(str(error))
    metrics = frontier(validation, tagger.raw_probabilities(validation.titles, validation.descriptions))
    rows = [
        (f"{strength:g}", CHOICES.get(strength, ""), f"{one['f1_micro']:.4f}", f"{one['f1_macro']:.4f}")
        for strength, one in metrics.items()
    ]
    picture = args.output.with_suffix(".png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(picture) as temporary:
        plot(metrics).savefig(temporary, dpi=120, bbox_inches="tight", format="png")
    lines = [
        f"# Thresholds: {len(validation)} validation questions in {FOLDS} folds, {len(validation.tags)} tags\n",
        markdown_table(["strength", "of quantize.py", "micro F1", "macro F1"], rows),
        f"\n![Micro against macro F1]({picture.name})",
    ]
    write_report("thresholds", args.output, lines)


if __name__ == "__main__":
    run_script(main)
