"""Quantize an exported model to int8, tune its thresholds, and refuse it if it lost too much.

    models/NAME/onnx/model.onnx  ->  models/NAME/onnx/model_quantized.onnx, thresholds_quantized.json, quantization.json

    python onnx_export/quantize.py --model distilroberta-base

Weights are quantized per channel ahead of time, activations at run time ("dynamic"). Recipes are tried from the
smallest model to the most careful one, until the loss of validation micro F1, each model at its own tuned thresholds
and one question at a time as it is served, is within the limit.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from data.files import refuse_overwrite, require, write_json
from deployment.tagger import Tagger, read_json, suggest
from training.backbones import short_name
from training.metrics import tagging_metrics
from training.processor import detect_instruction_set
from training.questions import Part, read_part
from training.thresholds import tune_thresholds

MAX_DROP = 0.005  # of validation micro F1

# What each recipe does about a loss, tried in this order: nothing; 7-bit weights, whose sums do not saturate on
# processors without VNNI; fp32 for the nodes whose names match. The second matrix of a feed-forward block meets the
# largest activations (Bondarenko et al. 2021, "Understanding and overcoming the challenges of efficient transformer
# quantization"); embeddings share one scale, which a single outlier spoils, but are most of a small model's size. The
# head is a Gemm node, which optimum leaves in fp32 anyway.
RECIPES = {
    "int8": {},
    "int8, 7-bit weights": {"reduce_range": True},
    "int8, fp32 feed-forward outputs": {"fp32": r"layer\.\d+/(output/dense|ffn/lin2)/"},
    "int8, fp32 embeddings": {"fp32": r"embeddings/.*Gather"},
}


def quantization_config(recipe: dict, instruction_set: str, node_names: list[str]):
    """Return optimum's configuration for a value of RECIPES and a graph whose nodes have these names."""
    from onnxruntime.quantization import QuantType
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = getattr(AutoQuantizationConfig, instruction_set)(is_static=False, per_channel=True)
    if recipe.get("reduce_range"):
        config.weights_dtype, config.reduce_range = QuantType.QInt8, True
    if "fp32" in recipe:
        config.nodes_to_exclude = [name for name in node_names if re.search(recipe["fp32"], name)]
    return config


def quantize(folder: Path, output: Path, recipe: dict, instruction_set: str) -> None:
    """Quantize ``folder``/model.onnx by a value of RECIPES into ``output``/model_quantized.onnx."""
    import onnx
    from optimum.onnxruntime import ORTQuantizer

    node_names = [node.name for node in onnx.load(folder / "model.onnx").graph.node]
    quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
    quantizer.quantize(quantization_config(recipe, instruction_set, node_names), save_dir=output)


def score(tagger: Tagger, validation: Part, exported: dict) -> tuple[dict, dict[str, float], np.ndarray]:
    """Return thresholds, validation metrics at them, and the tags chosen, one question at a time as served.

    The thresholds are tuned for ``tagger``, unless those ``exported`` with the model, as thresholds.json, are fixed.
    """
    probabilities = tagger.probabilities(validation.titles, validation.descriptions)
    thresholds = exported
    if not exported.get("fixed"):
        thresholds = exported | tune_thresholds(validation.targets, probabilities, validation.tags)
    chosen = suggest(probabilities, np.array([thresholds["per_tag"][tag] for tag in validation.tags]))
    return thresholds, tagging_metrics(validation.targets, chosen, probabilities), chosen


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="distilroberta-base", help="model that onnx_export/export.py has exported")
    add("--data-dir", type=Path, default=Path("data"), help="folder of the validation questions")
    add("--models-dir", type=Path, default=Path("models"), help="folder of the trained models")
    add("--instruction-set", choices=("avx512_vnni", "avx2", "arm64"), default=detect_instruction_set(),
        help="of the processor that will serve; the default is this machine's")  # fmt: skip
    add("--allow-drop", action="store_true", help=f"write the model even if it loses more than {MAX_DROP} micro F1")
    add("--force", action="store_true", help="replace an existing result")
    return parser.parse_args(argv)


def find_recipe(args: argparse.Namespace, folder: Path, staging: Path, validation: Part) -> dict:
    """Leave the model of the first recipe within the limit, or else of the best, in ``staging``; return its report."""
    exported = read_json(folder / "thresholds.json")
    _, fp32, fp32_chosen = score(Tagger(folder, "model.onnx"), validation, exported)
    best: dict = {}
    for name, recipe in RECIPES.items():
        attempt = staging / "attempt"
        quantize(folder, attempt, recipe, args.instruction_set)
        for file in ("tokenizer.json", "tag_types_encoded.json"):
            shutil.copyfile(folder / file, attempt / file)
        shutil.copyfile(folder / "thresholds.json", attempt / "thresholds_quantized.json")  # until its own are tuned
        thresholds, int8, int8_chosen = score(Tagger(attempt), validation, exported)
        drop = {metric: fp32[metric] - int8[metric] for metric in ("f1_micro", "f1_macro")}
        print(f"{name}: validation micro F1 {fp32['f1_micro']:.4f} -> {int8['f1_micro']:.4f}, "
              f"macro F1 {fp32['f1_macro']:.4f} -> {int8['f1_macro']:.4f}")  # fmt: skip
        if not best or drop["f1_micro"] < best["drop"]["f1_micro"]:
            write_json(staging / "thresholds_quantized.json", thresholds)
            (attempt / "model_quantized.onnx").replace(staging / "model_quantized.onnx")
            same_tags = float((fp32_chosen == int8_chosen).all(axis=1).mean())
            best = {"recipe": name, "drop": drop, "same_tags": same_tags, "fp32": fp32, "int8": int8}
        if best["drop"]["f1_micro"] <= MAX_DROP:
            break
    return best


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "model.onnx", f"python onnx_export/export.py --model {args.model}")
    refuse_overwrite(folder / "model_quantized.onnx", force=args.force)

    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the model's folder
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8.") as temporary:
        staging = Path(temporary)
        try:
            report = find_recipe(args, folder, staging, read_part(args.data_dir, "validation"))
        except ValueError as error:
            sys.exit(f"cannot quantize {folder / 'model.onnx'}: {error}")
        drop = report["drop"]
        if drop["f1_micro"] > MAX_DROP and not args.allow_drop:
            sys.exit(
                f"{folder}: int8 loses {drop['f1_micro']:.4f} micro F1 on validation with its best recipe, over the "
                f"limit of {MAX_DROP}; nothing was written. Serve model.onnx, or give --allow-drop"
            )
        write_json(staging / "quantization.json", {"instruction_set": args.instruction_set, **report})
        for name in ("thresholds_quantized.json", "quantization.json", "model_quantized.onnx"):
            (staging / name).replace(folder / name)

    model = folder / "model_quantized.onnx"
    print(
        f"{report['recipe']} ({args.instruction_set}): validation micro F1 {-drop['f1_micro']:+.4f}, "
        f"macro F1 {-drop['f1_macro']:+.4f}; {report['same_tags']:.1%} of the questions get the same tags"
    )
    print(f"written: {model} ({model.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
