"""Measure the latency of the served model, compared to PyTorch, optimum and the limits of the machine.

    python benchmarks/inference.py --model distilroberta-base    # models/NAME/ and its onnx/ -> reports/inference.md

All implementations answer the same validation questions in turn, round after round, so that other load on the machine
affects all of them equally; the figures are medians, and ratios of medians. Questions with descriptions show the cost
of the model, titles alone the overhead.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.matrix_rates import gigaflops
from benchmarks.measure import add_output_option, fastest, feed_of, seconds, write_report
from data.files import require
from data.markdown import markdown_table
from data.options import add_folder_options, add_trained_model_option
from tagging.console import run_script
from tagging.decision import sigmoid
from tagging.encoding import encode
from tagging.options import at_least_one, script_parser
from tagging.tagger import Tagger, import_onnxruntime
from training.backbones import short_name
from training.dataset import read_part

ROUNDS = 3
BATCH = 32
PREDICT = Path(__file__).parents[1] / "deployment/predict.py"
# Targets of the served model; the report lists those that it misses.
MIN_SPEED_UP = 3.0  # over PyTorch fp32, at the median
MAX_SPREAD = 3.0  # p99 / median
MIN_OVER_OPTIMUM = 1.15  # on titles
MAX_DIFFERENCE = 1e-6  # of probabilities, to optimum
MAX_START_UP = 1.0  # seconds from exec to the first tag
MAX_SIZE = 0.27  # relative to the fp32 model


def optimum_scorer(folder: Path) -> Callable[[str, str], np.ndarray]:
    """Return a function from (title, description) to logits that uses optimum's classes on the same int8 file."""
    import_onnxruntime()  # optimum would import it with telemetry enabled
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer

    model = ORTModelForSequenceClassification.from_pretrained(folder / "onnx", file_name="model_quantized.onnx")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cut = {"truncation": True, "max_length": tokenizer.backend_tokenizer.truncation["max_length"]}

    def score(title: str, description: str) -> np.ndarray:
        texts = (title, description) if title and description else (title or description,)
        return model(**tokenizer(*texts, **cut, return_tensors="pt")).logits[0].numpy()

    return score


def seconds_per_question(rivals: dict[str, Callable[[str, str], object]], questions: list[tuple[str, str]]) -> dict:
    """Return the seconds of each implementation, arrays of shape (ROUNDS * n,), without the warm-up round.

    Each implementation answers all questions before the next one starts: threads that wait for work keep a core busy
    for a while, and would slow down the next implementation.
    """
    from tqdm import tqdm

    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for round_number in tqdm(range(ROUNDS + 1), unit="round"):
        for name, score in rivals.items():
            for title, description in questions:
                started = time.perf_counter()
                score(title, description)
                if round_number:
                    taken[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in taken.items()}


def operations(model: Path, length: int) -> float:
    """Return the number of floating-point operations for a question of ``length`` tokens.

    Computed from the shapes of the weight matrices: 2 per weight and token, and 4 * length per hidden unit, token and
    layer for the two products of attention.
    """
    import onnx

    graph = onnx.load(model).graph
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    matrices = [
        weights[name] for node in graph.node if node.op_type == "MatMul" for name in node.input if name in weights
    ]
    products = sum(node.op_type == "MatMul" and not set(node.input) & set(weights) for node in graph.node)
    hidden = matrices[0][0]
    return length * (2 * sum(rows * columns for rows, columns in matrices) + 2 * products * length * hidden)


def time_by_operator(model: Path, feed: dict[str, np.ndarray], repetitions: int = 20) -> dict[str, float]:
    """Return the share of time of each type of operator, according to onnxruntime's profiler."""
    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for _ in range(repetitions):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    taken: Counter = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["args"]["op_name"]] += event["dur"]
    return {name: duration / taken.total() for name, duration in taken.most_common(6)}


def start_up(command: list, repetitions: int = 5) -> float:
    """Return the median run time of ``command`` in seconds."""
    run = partial(subprocess.run, list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return float(np.median([seconds(run) for _ in range(repetitions)]))


def rival_table(taken: dict[str, np.ndarray], asked: str) -> str:
    """Return a table of the implementations; the first one is the baseline."""
    base = np.median(next(iter(taken.values())))
    rows = []
    for name, values in taken.items():
        median = np.median(values)
        rows.append((name, f"{base / median:.2f}", f"{np.percentile(values, 99) / median:.2f}"))
    return markdown_table([asked, "median speed-up", "p99 / median"], rows)


def roofline_lines(folder: Path, taggers: dict[str, Tagger], length: int) -> list[str]:
    """Return a table of the share of this machine's matrix rates that the models reach, and the time by operator."""
    rates = {kind: gigaflops(kind) for kind in ("fp32", "int8")}
    rows = []
    work = operations(folder / "onnx/model.onnx", length)
    for name, tagger in taggers.items():
        for batch in (1, BATCH):
            feed = feed_of(tagger, length, batch)
            reached = work * batch / fastest(partial(tagger.run, feed)) / 1e9
            rows.append((name, batch, *(f"{reached / rate:.2f}" for rate in rates.values())))
    shares = time_by_operator(folder / "onnx/model_quantized.onnx", feed_of(taggers["int8"], length, 1))
    return [
        f"onnxruntime multiplies int8 matrices {rates['int8'] / rates['fp32']:.2f} times as fast as fp32 ones here.\n",
        markdown_table([f"model, {length} tokens", "batch", "share of fp32's rate", "share of int8's"], rows),
        "",
        "Time of int8 by operator, batch 1: " + ", ".join(f"{n} {s:.0%}" for n, s in shares.items()),
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/quantize.py")
    add_folder_options(parser, data_dir="folder of the validation questions", models_dir="folder of the trained models")
    parser.add_argument("--num-questions", type=at_least_one, default=100, help="number of validation questions to use")
    add_output_option(parser, "inference")
    return parser.parse_args(argv)


def largest_difference(optimum: Callable, tagger: Tagger, questions: list[tuple[str, str]]) -> float:
    """Return the maximum absolute difference between the probabilities of the served model and of optimum."""
    titles, descriptions = zip(*questions, strict=True)
    served = tagger.raw_probabilities(titles, descriptions)
    return max(
        float(np.abs(sigmoid(optimum(*question)) - row).max()) for question, row in zip(questions, served, strict=True)
    )


def missed_targets(taken: dict, of_titles: dict, difference: float, began: float, size: float) -> list[str]:
    """Return a message for each target that the served model misses."""
    base, _, _, served = map(np.median, taken.values())
    _, _, rival, served_title = map(np.median, of_titles.values())
    spread = np.percentile(list(taken.values())[-1], 99) / served
    targets = {
        f"{base / served:.2f} times the speed of PyTorch, below {MIN_SPEED_UP}": base / served >= MIN_SPEED_UP,
        f"p99 / median {spread:.2f}, above {MAX_SPREAD}": spread <= MAX_SPREAD,
        f"{rival / served_title:.3f} times the speed of optimum on titles, below {MIN_OVER_OPTIMUM}": (
            rival / served_title >= MIN_OVER_OPTIMUM
        ),
        f"probabilities differ from optimum's by {difference:.0e}": difference <= MAX_DIFFERENCE,
        f"start-up of {began:.2f} s": began <= MAX_START_UP,
        f"size of int8 {size:.3f} of fp32": size <= MAX_SIZE,
    }
    return [line for line, met in targets.items() if not met]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model)
    onnx = folder / "onnx"
    int8_file = require(onnx / "model_quantized.onnx", f"python onnx_export/quantize.py --model {args.model}")
    try:
        validation = read_part(args.data_dir, "validation")
        fp32, int8 = Tagger(onnx, "model.onnx"), Tagger(onnx)
    except ValueError as error:
        sys.exit(f"cannot benchmark: {error}")
    questions = list(zip(validation.titles, validation.descriptions, strict=True))[: args.num_questions]
    from training.model import pytorch_scorer  # here, so that --help need not load torch

    optimum = optimum_scorer(folder)
    rivals: dict[str, Callable[[str, str], object]] = {
        "PyTorch fp32": pytorch_scorer(folder),
        "ONNX fp32": lambda title, description: fp32.logits([title], [description]),
        "optimum's ORTModelForSequenceClassification, int8": optimum,
        "ONNX int8, as served": lambda title, description: int8.logits([title], [description]),
    }
    taken = seconds_per_question(rivals, questions)
    of_titles = seconds_per_question(rivals, [(title, "") for title, _ in questions if title])
    difference = largest_difference(optimum, int8, questions)
    length = round(
        np.mean([len(encoding.ids) for encoding in encode(int8.model.tokenizer, *zip(*questions, strict=True))])
    )
    began = start_up([sys.executable, PREDICT, "--model", onnx, "--title", "python"])
    imports = start_up([sys.executable, "-c", "import numpy, onnxruntime, tokenizers"])
    size = int8_file.stat().st_size / (onnx / "model.onnx").stat().st_size
    missed = "; ".join(missed_targets(taken, of_titles, difference, began, size))
    lines = [
        f"# {folder.name}, one question at a time, {len(questions)} validation questions, {ROUNDS} rounds\n",
        rival_table(taken, "title and description"),
        "",
        rival_table(of_titles, "titles alone"),
        f"\nProbabilities as served and by optimum differ by at most {difference:.0e}.\n",
        *roofline_lines(folder, {"fp32": fp32, "int8": int8}, length),
        f"\nFrom exec to the first tag: {began:.2f} s, of which starting Python and importing numpy, onnxruntime and "
        f"tokenizers takes {imports / began:.0%}. Size of int8 relative to fp32: {size:.3f}.\n",
        f"Missed targets: {missed or 'none'}.",
    ]
    write_report("inference", args.output, lines)
    if missed:
        sys.exit(f"missed targets: {missed}")


if __name__ == "__main__":
    run_script(main)
