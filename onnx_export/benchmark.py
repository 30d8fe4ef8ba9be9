"""Measure how fast a model is served, each figure beside its rival in the same run.

    models/NAME/ and its onnx/  ->  reports/benchmark.md

    python onnx_export/benchmark.py --model distilroberta-base

The rivals answer the same validation questions in turn, round after round, so that whatever else this machine does
meets all alike; the figures are medians, and ratios of them.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.files import atomic_path, require
from deployment.tagger import Tagger
from onnx_export.export import pytorch_scorer
from training.backbones import short_name
from training.questions import read_part

ROUNDS = 3


def seconds_per_question(rivals: dict[str, Callable[[str, str], object]], questions: list[tuple[str, str]]) -> dict:
    """Return each rival's seconds, arrays of shape (ROUNDS * n,); a first, warming round is dropped."""
    from tqdm import tqdm

    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for round_number in tqdm(range(ROUNDS + 1), unit="round"):
        for title, description in questions:
            for name, score in rivals.items():
                started = time.perf_counter()
                score(title, description)
                if round_number:
                    seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def report(seconds: dict[str, np.ndarray], model: str, num_questions: int) -> str:
    """Return the benchmark as Markdown; the first rival is the one that the others are held against."""
    base = np.median(next(iter(seconds.values())))
    lines = [
        f"# {model}, one question at a time, {num_questions} validation questions, {ROUNDS} rounds\n",
        "| rival | median speed-up | p99 / median |",
        "|---|---:|---:|",
    ]
    for name, values in seconds.items():
        median = np.median(values)
        lines.append(f"| {name} | {base / median:.2f} | {np.percentile(values, 99) / median:.2f} |")
    return "\n".join(lines) + "\n"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--model", default="distilroberta-base", help="model that onnx_export/quantize.py has quantized"
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the validation questions")
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of the trained models")
    parser.add_argument("--reports-dir", type=Path, default=Path("reports"), help="folder of the result")
    parser.add_argument("--questions", type=int, default=100, help="number of validation questions, the first ones")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model)
    require(folder / "onnx" / "model_quantized.onnx", f"python onnx_export/quantize.py --model {args.model}")
    try:
        validation = read_part(args.data_dir, "validation")
        fp32, int8 = Tagger(folder / "onnx", "model.onnx"), Tagger(folder / "onnx")
    except ValueError as error:
        sys.exit(f"cannot benchmark: {error}")
    questions = list(zip(validation.titles, validation.descriptions, strict=True))[: args.questions]
    rivals = {
        "PyTorch fp32": pytorch_scorer(folder),
        "ONNX fp32": lambda title, description: fp32.logits([title], [description]),
        "ONNX int8, as served": lambda title, description: int8.logits([title], [description]),
    }
    text = report(seconds_per_question(rivals, questions), folder.name, len(questions))
    with atomic_path(args.reports_dir / "benchmark.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    print(f"written: {args.reports_dir / 'benchmark.md'}")


if __name__ == "__main__":
    main()
