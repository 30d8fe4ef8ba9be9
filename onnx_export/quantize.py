"""Quantize an exported model to int8, tune its thresholds, and refuse it if it lost too much.

    models/NAME/onnx/model.onnx  ->  models/NAME/onnx/model_quantized.onnx, thresholds_quantized.json, quantization.json

    python onnx_export/quantize.py --model distilroberta-base

Weights are quantized per channel ahead of time, activations at run time ("dynamic"). Recipes are tried from the
smallest model to the most careful one, until the loss of validation micro F1, each model at its own tuned thresholds
and one question at a time as it is served, is within the limit.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from data.files import refuse_overwrite, require, write_json
from deployment.tagger import ModelFolderError, Tagger, suggest
from training.backbones import short_name
from training.metrics import tagging_metrics
from training.processor import detect_instruction_set
from training.questions import Part, read_part
from training.thresholds import tune_thresholds

MAX_DROP = 0.005  # of validation micro F1

# What a recipe leaves in fp32, by name. The second matrix of each feed-forward block meets the largest activations
# (Bondarenko et al. 2021, "Understanding and overcoming the challenges of efficient transformer quantization").
RECIPES = (
    "int8",
    "int8, 7-bit weights",
    "7-bit weights, fp32 head",
    "7-bit weights, fp32 head and feed-forward outputs",
)


def quantization_config(recipe: str, instruction_set: str, nodes: list[str]):
    """Return optimum's configuration for one of RECIPES; ``nodes`` are the names of the graph's MatMul and Gemm nodes.

    7-bit weights keep the sums of processors without VNNI from saturating (onnxruntime's "reduce_range").
    """
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = getattr(AutoQuantizationConfig, instruction_set)(is_static=False, per_channel=True)
    if recipe != "int8":
        from onnxruntime.quantization import QuantType

        config.weights_dtype = QuantType.QInt8
        config.reduce_range = True
    if "fp32 head" in recipe:
        config.nodes_to_exclude += [name for name in nodes if "classifier" in name]
    if "feed-forward" in recipe:
        config.nodes_to_exclude += [
            name for name in nodes if ("/output/dense" in name and "attention" not in name) or "/ffn/lin2" in name
        ]
    return config


def quantize(folder: Path, output: Path, recipe: str, instruction_set: str) -> None:
    """Quantize ``folder``/model.onnx by ``recipe`` into ``output``/model_quantized.onnx."""
    import onnx
    from optimum.onnxruntime import ORTQuantizer

    graph = onnx.load(folder / "model.onnx").graph
    nodes = [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
    quantizer.quantize(quantization_config(recipe, instruction_set, nodes), save_dir=output)


def score(tagger: Tagger, validation: Part) -> tuple[dict, dict[str, float], np.ndarray]:
    """Return tuned thresholds, validation metrics at them, and the tags chosen, one question at a time as served."""
    probabilities = tagger.probabilities(validation.titles, validation.descriptions)
    thresholds = tune_thresholds(validation.targets, probabilities, validation.tags)
    chosen = suggest(probabilities, np.array(list(thresholds["per_tag"].values())))
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
    _, fp32, fp32_chosen = score(Tagger(folder, "model.onnx"), validation)
    best: dict = {}
    for recipe in RECIPES:
        attempt = staging / "attempt"
        quantize(folder, attempt, recipe, args.instruction_set)
        for name in ("tokenizer.json", "tag_types_encoded.json"):
            shutil.copyfile(folder / name, attempt / name)
        shutil.copyfile(folder / "thresholds.json", attempt / "thresholds_quantized.json")  # until its own are tuned
        thresholds, int8, int8_chosen = score(Tagger(attempt), validation)
        drop = {name: fp32[name] - int8[name] for name in ("f1_micro", "f1_macro")}
        print(f"{recipe}: validation micro F1 {fp32['f1_micro']:.4f} -> {int8['f1_micro']:.4f}, "
              f"macro F1 {fp32['f1_macro']:.4f} -> {int8['f1_macro']:.4f}")  # fmt: skip
        if not best or drop["f1_micro"] < best["drop"]["f1_micro"]:
            write_json(staging / "thresholds_quantized.json", thresholds)
            (attempt / "model_quantized.onnx").replace(staging / "model_quantized.onnx")
            same_tags = float((fp32_chosen == int8_chosen).all(axis=1).mean())
            best = {"recipe": recipe, "drop": drop, "same_tags": same_tags, "fp32": fp32, "int8": int8}
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
        except (ModelFolderError, ValueError) as error:
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
