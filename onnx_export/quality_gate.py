"""Fail if a model is worse than the shipped one by more than chance explains.

    models/NAME/onnx/metrics.json, deployment/model/metrics.json  ->  exit status 0 or 1

    python onnx_export/quality_gate.py --model all-minilm-l6-v2

Worse means: micro or macro F1 of the int8 model below the lower end of the shipped one's 95 % interval, on the same
test questions.
"""

import argparse
import sys
from pathlib import Path

from data.files import require
from deployment.tagger import read_json
from training.backbones import short_name

FIGURES = ("f1_micro", "f1_macro")


def worse_figures(metrics: dict, shipped: dict) -> list[str]:
    """Return a line for each of FIGURES that lies below the shipped model's interval; both are metrics.json files."""
    return [
        f"{figure} {metrics['int8'][figure]:.4f} is below {shipped['int8'][f'{figure}_low']:.4f}, the lower end of the "
        f"shipped model's interval around {shipped['int8'][figure]:.4f}"
        for figure in FIGURES
        if metrics["int8"][figure] < shipped["int8"][f"{figure}_low"]
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="distilroberta-base", help="model that onnx_export/compare.py has compared")
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of the trained models")
    parser.add_argument(
        "--shipped", type=Path, default=Path("deployment/model/metrics.json"), help="figures to hold it against"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    file = args.models_dir / short_name(args.model) / "onnx" / "metrics.json"
    require(file, "python onnx_export/compare.py")
    require(args.shipped, f"python onnx_export/ship.py --model {args.model}")
    try:
        metrics, shipped = read_json(file), read_json(args.shipped)
    except ValueError as error:
        sys.exit(str(error))
    if metrics["data_sha256"] != shipped["data_sha256"]:
        sys.exit(f"{file} and {args.shipped} are of other questions, tags or splits: their figures tell nothing")
    worse = worse_figures(metrics, shipped)
    if worse:
        sys.exit(f"{file}: worse than {args.shipped}: {'; '.join(worse)}")
    print(f"{file}: no worse than {args.shipped}")


if __name__ == "__main__":
    main()
