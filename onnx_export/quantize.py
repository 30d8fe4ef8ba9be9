"""Quantize an exported model to int8, tune its thresholds, and refuse it if it lost too much.

    models/NAME/onnx/model.onnx  ->  models/NAME/onnx/model_quantized.onnx, thresholds.json, quantization.json

    python onnx_export/quantize.py --model distilroberta-base

int8.py has the arithmetic. What ranges the activations have it learns from the first CALIBRATION validation questions.
The limit is on the loss of validation micro F1, each model at its own tuned thresholds and one question at a time as it
is served.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite, require, write_json
from data.options import add_folder_options, add_trained_model_option
from tagging.console import run_script
from tagging.decision import DecisionRule, suggest
from tagging.encoding import encode
from tagging.model_folder import read_fields, read_json
from tagging.options import add_force_option, script_parser
from tagging.tagger import Tagger
from training.backbones import short_name
from training.metrics import tagging_metrics
from training.questions import Part, check_fields, read_part
from training.thresholds import PER_TAG, TUNINGS

MAX_DROP = 0.005  # of validation micro F1
CALIBRATION = 200


def quantize(folder: Path, output: Path, calibration: Part) -> None:
    """Quantize the matrices and the word vectors of ``folder``'s model.onnx; the small linear head stays as it is."""
    import onnx

    from onnx_export.int8 import OPSET, quantize_matrices, quantize_tables

    tagger = Tagger(folder, "model.onnx")
    encodings = encode(tagger.model.tokenizer, calibration.titles, calibration.descriptions, tagger.fields)
    model = onnx.version_converter.convert_version(onnx.load(folder / "model.onnx"), OPSET)
    quantize_matrices(model, (tagger.inputs([encoding]) for encoding in encodings))
    quantize_tables(model)
    onnx.save(model, output)


def score(tagger: Tagger, validation: Part, tuning: str) -> tuple[dict, np.ndarray, dict[str, float]]:
    """Return ``tagger``'s thresholds by one of TUNINGS, its own probabilities, and its validation metrics at those."""
    raw = tagger.raw_probabilities(validation.titles, validation.descriptions)
    thresholds = TUNINGS[tuning](validation.targets, raw, validation.tags)
    rule = DecisionRule.of(thresholds, validation.tags)
    shown = rule.probabilities(raw)
    return thresholds, raw, tagging_metrics(validation.targets, suggest(shown, rule.threshold), shown)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/export.py")
    add_folder_options(parser, data_dir="folder of the validation questions", models_dir="folder of the trained models")
    parser.add_argument(
        "--allow-drop", action="store_true", help=f"write the model even if it loses more than {MAX_DROP} micro F1"
    )
    add_force_option(parser)
    return parser.parse_args(argv)


def assess(folder: Path, quantized: Path, validation: Part, tuning: str) -> tuple[dict, dict]:
    """Return the thresholds of the model in ``quantized`` and the report of what it lost against ``folder``'s."""
    _, fp32_raw, fp32 = score(Tagger(folder, "model.onnx"), validation, tuning)
    thresholds, int8_raw, int8 = score(Tagger(quantized), validation, tuning)
    rule = DecisionRule.of(thresholds, validation.tags)
    fp32_chosen, int8_chosen = (suggest(rule.probabilities(raw), rule.threshold) for raw in (fp32_raw, int8_raw))
    same = (fp32_chosen == int8_chosen).all(axis=1)
    drop = {metric: fp32[metric] - int8[metric] for metric in ("f1_micro", "f1_macro")}
    return thresholds, {"drop": drop, "same_tags": float(same.mean()), "fp32": fp32, "int8": int8}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "model.onnx", f"python onnx_export/export.py --model {args.model}")
    refuse_overwrite(folder / "model_quantized.onnx", force=args.force)

    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8.") as temporary:
        staging = Path(temporary)
        try:
            validation = read_part(args.data_dir, "validation")
            exported = read_json(folder / "thresholds.json")
            check_fields(validation, read_fields(folder / "thresholds.json"), str(folder.parent))
            quantize(
                folder, staging / "model_quantized.onnx", validation.take(np.arange(len(validation))[:CALIBRATION])
            )
            for file in ("tokenizer.json", "tag_types_encoded.json", "thresholds.json"):
                shutil.copyfile(folder / file, staging / file)
            thresholds, report = assess(folder, staging, validation, exported.get("tuning", PER_TAG))
        except ValueError as error:
            sys.exit(f"cannot quantize {folder / 'model.onnx'}: {error}")
        drop = report["drop"]
        if drop["f1_micro"] > MAX_DROP and not args.allow_drop:
            sys.exit(
                f"{folder}: int8 loses {drop['f1_micro']:.4f} micro F1 on validation, over the limit of {MAX_DROP}; "
                "nothing was written. Serve model.onnx, or give --allow-drop"
            )
        write_json(staging / "thresholds.json", exported | thresholds)
        write_json(staging / "quantization.json", report)
        (folder / "model_quantized.onnx").unlink(missing_ok=True)  # it says "whole": it goes first and comes last
        for name in ("thresholds.json", "quantization.json", "model_quantized.onnx"):
            (staging / name).replace(folder / name)

    model = folder / "model_quantized.onnx"
    print(
        f"int8: validation micro F1 {-drop['f1_micro']:+.4f}, macro F1 {-drop['f1_macro']:+.4f}; "
        f"{report['same_tags']:.1%} of the questions get the same tags"
    )
    print(f"written: {model} ({model.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_script(main)
