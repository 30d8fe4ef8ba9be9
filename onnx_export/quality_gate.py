"""Fail if a model is worse than the best one that was ever shipped, by more than chance explains.

    models/NAME/onnx/test_decisions.json, assets/best_shipped/  ->  exit status 0 or 1

    python onnx_export/quality_gate.py --model all-minilm-l6-v2

Worse means: the 95 % interval of the difference in micro or macro F1, int8 model to int8 model, lies below 0. The
interval is that of a paired bootstrap: every resample draws the same test questions for both. The models may have
learnt from different questions, as long as tags, test questions and the questions' tags are the same.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import require
from data.options import add_folder_options, add_trained_model_option
from onnx_export.evaluation.best_shipped import BEST_SHIPPED, best_shipped, served_decisions
from onnx_export.evaluation.decisions import GATE_FIGURES, judge
from tagging.console import run_script
from tagging.options import script_parser
from training.backbones import short_name


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/compare.py")
    add_folder_options(parser, models_dir="folder of the trained models")
    parser.add_argument("--best", type=Path, default=BEST_SHIPPED, help="folder in which ship.py keeps the best models")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "test_decisions.json", "python onnx_export/compare.py --force")
    try:
        decisions = served_decisions(folder)
        best = best_shipped(args.best, decisions)
    except (ValueError, OSError) as error:
        sys.exit(f"cannot judge {folder}: {error}")
    if len(best) < len(GATE_FIGURES):
        sys.exit(
            f"{args.best} keeps no model that was shipped for the test questions and tags of {folder}: "
            f"ship one first, with  python onnx_export/ship.py --model {args.model}"
        )
    named = {figure: shipped | {"model": f"the best shipped, {shipped['model']}"} for figure, shipped in best.items()}
    verdicts = judge(decisions, named)
    print("\n".join(verdict.line for verdict in verdicts))
    if any(verdict.worse for verdict in verdicts):
        sys.exit(f"{folder}: worse than the best model that was shipped, by more than chance explains")


if __name__ == "__main__":
    run_script(main)
