"""Quantize an exported model to int8, tune its thresholds, and refuse it if it lost too much.

    models/NAME/onnx/model.onnx  ->  models/NAME/onnx/model_quantized.onnx, thresholds.json, tagger.json,
                                    quantization.json

    python onnx_export/quantize.py --model distilroberta-base

int8.py has the arithmetic. The ranges of the activations are learned from the first CALIBRATION validation questions.
The limit is on the loss of validation micro F1, each model at its own tuned thresholds and one question at a time as it
is served. A loss whose 95 % interval contains 0 is within it.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite, require, write_json
from data.options import add_folder_options, add_trained_model_option
from onnx_export.evaluation.evaluate import MAX_DROP, loses_too_much
from onnx_export.model_files import copy_settings
from onnx_export.quantization import quantize
from tagging.console import run_script
from tagging.decision import DecisionRule, Thresholds
from tagging.model_folder import read_settings, read_thresholds
from tagging.options import add_force_option, script_parser
from tagging.settings import Settings
from tagging.similar import SIMILAR, SIMILAR_TITLES
from tagging.tagger import Tagger
from tagging.tiers import TIERS
from training.backbones import short_name
from training.dataset import Part, check_fields, read_part
from training.metrics import interval, resample, tagging_metrics
from training.thresholds import FAVOURED, PER_TAG, TUNINGS, min_confidence


def score(tagger: Tagger, validation: Part, tuning: str) -> tuple[Thresholds, np.ndarray, dict[str, float], np.ndarray]:
    """Return ``tagger``'s thresholds by one of TUNINGS, its own probabilities, its validation metrics at those, and its
    micro F1 on bootstrap resamples of the questions."""
    raw = tagger.raw_probabilities(validation.titles, validation.descriptions)
    thresholds = TUNINGS[tuning](validation.targets, raw, validation.tags)
    rule = DecisionRule.of(thresholds, validation.tags, tagger.settings)
    shown = rule.probabilities(raw)
    answers = validation.targets, rule.suggest(shown), shown
    return thresholds, raw, tagging_metrics(*answers), resample(*answers)["f1_micro"]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/export.py")
    add_folder_options(parser, data_dir="folder of the validation questions", models_dir="folder of the trained models")
    parser.add_argument(
        "--allow-drop", action="store_true", help=f"write the model even if it loses more than {MAX_DROP} micro F1"
    )
    parser.add_argument(
        "--favour",
        choices=FAVOURED,
        help="average of F1 that the thresholds favour. micro: one for all tags; macro: one per tag, also for rare "
        "ones. Without it, they are tuned as before, by a training for both",
    )
    add_force_option(parser)
    return parser.parse_args(argv)


def assess(folder: Path, quantized: Path, validation: Part, favour: str | None) -> tuple[Thresholds, Settings, dict]:
    """Return thresholds and settings of the model in ``quantized``, and a report of its loss against ``folder``'s.

    ``favour`` is a key of FAVOURED; without one, the thresholds are tuned as those in ``folder``.
    """
    tagger = Tagger(folder, "model.onnx")
    kept = read_thresholds(folder / "thresholds.json", tagger.tags).tuning or PER_TAG
    tuning = FAVOURED[favour] if favour else kept
    _, fp32_raw, fp32, fp32_resampled = score(tagger, validation, tuning)
    thresholds, int8_raw, int8, int8_resampled = score(Tagger(quantized), validation, tuning)
    settings = replace(tagger.settings, min_confidence=min_confidence(int8_raw))
    rule = DecisionRule.of(thresholds, validation.tags, settings)
    fp32_chosen, int8_chosen = (rule.suggest(rule.probabilities(raw)) for raw in (fp32_raw, int8_raw))
    same = (fp32_chosen == int8_chosen).all(axis=1)
    drop = {metric: fp32[metric] - int8[metric] for metric in ("f1_micro", "f1_macro")}
    report = {
        "drop": drop,
        "drop_interval": interval(drop["f1_micro"], fp32_resampled - int8_resampled, lowest=-1.0),
        "same_tags": float(same.mean()),
        "fp32": fp32,
        "int8": int8,
    }
    return thresholds, settings, report


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "model.onnx", f"python onnx_export/export.py --model {args.model}")
    refuse_overwrite(folder / "model_quantized.onnx", force=args.force)

    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8.") as temporary:
        staging = Path(temporary)
        try:
            validation = read_part(args.data_dir, "validation")
            check_fields(validation, read_settings(folder).fields, str(folder.parent))
            quantize(folder, staging / "model_quantized.onnx", validation)
            copy_settings(folder, staging)
            thresholds, settings, report = assess(folder, staging, validation, args.favour)
        except ValueError as error:
            sys.exit(f"cannot quantize {folder / 'model.onnx'}: {error}")
        drop = report["drop"]
        low, high = report["drop_interval"]
        if loses_too_much(report) and not args.allow_drop:
            sys.exit(
                f"{folder}: int8 loses {drop['f1_micro']:.4f} [{low:+.4f}, {high:+.4f}] micro F1 on validation, over "
                f"the limit of {MAX_DROP}; nothing was written. Serve model.onnx, or give --allow-drop"
            )
        write_json(staging / "thresholds.json", thresholds.as_json())
        write_json(staging / "tagger.json", settings.as_json())
        write_json(staging / "quantization.json", report)
        for name in ("model_quantized.onnx", TIERS, SIMILAR, SIMILAR_TITLES):  # the first says "whole": it comes last
            (folder / name).unlink(missing_ok=True)
        for name in ("thresholds.json", "tagger.json", "quantization.json", "model_quantized.onnx"):
            (staging / name).replace(folder / name)

    model = folder / "model_quantized.onnx"
    print(
        f"int8: validation micro F1 {-drop['f1_micro']:+.4f} [{-high:+.4f}, {-low:+.4f}], "
        f"macro F1 {-drop['f1_macro']:+.4f}; "
        f"{report['same_tags']:.1%} of the questions get the same tags"
    )
    print(f"written: {model} ({model.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_script(main)
