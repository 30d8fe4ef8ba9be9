"""Compare the int8 model of onnx_export/int8.py with those of onnxruntime's and optimum's quantizers.

Input: models/NAME/onnx/model.onnx and the validation questions. Every int8 model is made anew in a temporary folder.

    python benchmarks/int8_recipes.py --model distilroberta-base    # -> reports/int8_recipes.md

F1 is that of each half of the validation set at thresholds tuned on the other half, for each model anew. The shares of
questions with the same tags are at fp32's thresholds, so that they show the rounding alone. Latency is one question's,
with the threads that are served with; the models take turns in every round, so that other load affects all of them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, feed_of, machine, seconds, write_report
from benchmarks.rivals import Recipe, library_recipe, reference_recipe
from data.files import require
from data.markdown import markdown_table
from data.options import add_folder_options, add_trained_model_option
from onnx_export.model_files import copy_settings
from onnx_export.quantization import quantize
from tagging.console import run_script
from tagging.decision import DecisionRule
from tagging.options import at_least_one, script_parser
from tagging.tagger import Tagger
from training.backbones import short_name
from training.dataset import Part, read_part
from training.metrics import tagging_metrics
from training.thresholds import suggest_by_folds, tune_thresholds

LENGTHS = (64, 125)  # tokens, beside the median length of a title
BATCH = 32
ROUNDS = 20
REPETITIONS = 5  # in each round, after one that is not counted


def recipes(validation: Part) -> dict[str, Recipe]:
    """Return {name: recipe}; int8.py learns the ranges of activations from validation questions."""
    return {
        "int8.py": lambda folder, output: quantize(folder, output, validation),
        "`quantize_dynamic`, per tensor": library_recipe(),
        "`quantize_dynamic`, per channel": library_recipe(per_channel=True),
        "`quantize_dynamic`, per channel, reduced range": library_recipe(per_channel=True, reduce_range=True),
        "the reference's: optimum, `avx2`, per tensor": reference_recipe,
    }


def make_taggers(folder: Path, validation: Part, temporary: Path) -> dict[str, Tagger]:
    """Return the tagger of fp32 and of each recipe, whose models are written to ``temporary``."""
    copy_settings(folder, temporary)
    taggers = {"fp32": Tagger(folder, "model.onnx")}
    for number, (name, recipe) in enumerate(recipes(validation).items()):
        recipe(folder, temporary / f"{number}.onnx")
        taggers[name] = Tagger(temporary, f"{number}.onnx")
    return taggers


def quality(taggers: dict[str, Tagger], validation: Part) -> dict[str, list[str]]:
    """Return the cells of micro and macro F1, and of the shares of questions with the same tags as fp32 and as one by
    one, for each tagger; the first is fp32."""
    texts = validation.titles, validation.descriptions
    cells = {}
    rule = fp32 = None
    for name, tagger in taggers.items():
        raw = tagger.raw_probabilities(*texts)
        halves = suggest_by_folds(validation.targets, raw, validation.tags)
        figures = tagging_metrics(validation.targets, halves, raw)
        if rule is None:
            rule = DecisionRule.of(tune_thresholds(validation.targets, raw, validation.tags), validation.tags)
        chosen, in_batches = (
            rule.suggest(rule.probabilities(scores)) for scores in (raw, tagger.raw_probabilities(*texts, BATCH))
        )
        fp32 = chosen if fp32 is None else fp32
        same = ((chosen == fp32).all(axis=1).mean(), (chosen == in_batches).all(axis=1).mean())
        cells[name] = [f"{figures[metric]:.3f}" for metric in ("f1_micro", "f1_macro")] + [f"{s:.3f}" for s in same]
    return cells


def latencies(taggers: dict[str, Tagger], length: int, rounds: int) -> dict[str, np.ndarray]:
    """Return the milliseconds of each run over one question of ``length`` tokens, shape (rounds * REPETITIONS,)."""
    taken: dict[str, list[float]] = {name: [] for name in taggers}
    for _ in range(rounds):
        for name, tagger in taggers.items():
            feed = feed_of(tagger, length, 1)
            tagger.run(feed)
            taken[name] += [1000 * seconds(lambda: tagger.run(feed)) for _ in range(REPETITIONS)]  # noqa: B023
    return {name: np.array(values) for name, values in taken.items()}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/export.py")
    add_folder_options(parser, data_dir="folder of the validation questions", models_dir="folder of the trained models")
    parser.add_argument("--rounds", type=at_least_one, default=ROUNDS, help="number of rounds in which to time")
    add_output_option(parser, "int8_recipes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "model.onnx", f"python onnx_export/export.py --model {args.model}")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            validation = read_part(args.data_dir, "validation")
            taggers = make_taggers(folder, validation, Path(temporary))
        except ValueError as error:
            sys.exit(f"cannot benchmark: {error}")
        cells = quality(taggers, validation)
        encodings = taggers["fp32"].model.encode(validation.titles, [""] * len(validation))
        lengths = (round(np.median([len(encoding.ids) for encoding in encodings])), *LENGTHS)
        for length in lengths:
            for name, taken in latencies(taggers, length, args.rounds).items():
                cells[name].append(f"{np.median(taken):.1f} ({taken.min():.1f})")
        for name, tagger in taggers.items():
            cells[name].append(f"{tagger.model.model_path.stat().st_size / 1e6:.1f}")
    headings = ["", "micro F1", "macro F1", "same tags as fp32", f"same in batches of {BATCH}"]
    lines = [
        f"# int8 of {args.model}: {len(validation)} validation questions, {len(validation.tags)} tags\n",
        f"{machine()}. "
        f"Latency in ms at batch 1: median (minimum) of {args.rounds * REPETITIONS} runs. Load of the machine, over "
        f"15 minutes: {psutil.getloadavg()[2]:.1f}.\n",
        markdown_table([*headings, *(f"{n} tokens" for n in lengths), "MB"], [(n, *row) for n, row in cells.items()]),
    ]
    write_report("int8_recipes", args.output, lines)


if __name__ == "__main__":
    run_script(main)
