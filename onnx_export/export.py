"""Export a fine-tuned model to ONNX, and check that it gives the same logits.

models/NAME/  ->  models/NAME/onnx/model.onnx, with all that tagging/tagger.py needs beside it

python onnx_export/export.py --model distilroberta-base
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import ONNX_FILES, refuse_overwrite, remove_results, require
from data.options import add_folder_options, add_trained_model_option
from onnx_export.model_files import copy_settings
from tagging.console import run_script
from tagging.model_folder import read_settings
from tagging.options import add_force_option, script_parser
from tagging.tagger import Tagger
from training.backbones import short_name
from training.dataset import Part, check_fields, read_part
from training.recipes import training_command

MAX_ABSOLUTE_DIFFERENCE = 1e-4


def export(folder: Path, output: Path) -> None:
    """Export the model in ``folder`` with dynamic batch and length, and put the tagger's other files beside it."""
    from training.model import load_trained, write_onnx

    model = load_trained(folder)
    output.mkdir()
    write_onnx(model, output / "model.onnx")
    model.config.save_pretrained(output)
    copy_settings(folder, output)


def largest_difference(folder: Path, exported: Path, part: Part) -> float:
    """Return the largest absolute difference of a logit, ONNX one by one and in padded batches against PyTorch."""
    from training.model import pytorch_scorer

    expected = np.stack(list(map(pytorch_scorer(folder), part.titles, part.descriptions)))
    tagger = Tagger(exported, "model.onnx")
    return max(
        float(np.abs(tagger.logits(part.titles, part.descriptions, batch_size) - expected).max())
        for batch_size in (1, 32)
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "training/finetune.py")
    add_folder_options(parser, data_dir="folder of the validation questions", models_dir="folder of the trained models")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model)
    require(folder / "run.json", training_command(args.model))
    output = folder / "onnx"
    refuse_overwrite(*(output / name for name in ONNX_FILES), force=args.force)

    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the model's folder
    with tempfile.TemporaryDirectory(dir=folder, prefix=".onnx.") as temporary:
        exported = Path(temporary) / "onnx"
        try:
            validation = read_part(args.data_dir, "validation")
            check_fields(validation, read_settings(folder).fields, str(folder))
            export(folder, exported)
            difference = largest_difference(folder, exported, validation)
        except Exception as error:  # a broken file, or an architecture, which fails in a way of its own
            reason, *_ = str(error.args[0] if isinstance(error, KeyError) else error).strip().splitlines() or [""]
            sys.exit(f"cannot export {folder}: {reason}")
        if difference > MAX_ABSOLUTE_DIFFERENCE:
            sys.exit(f"{folder}: ONNX and PyTorch differ by {difference:.1e} in a logit; nothing was written")
        remove_results(output, ONNX_FILES)  # also what was made from the old export
        output.mkdir(exist_ok=True)
        for path in sorted(exported.iterdir(), key=lambda path: path.name == "model.onnx"):  # last: it says "whole"
            path.replace(output / path.name)

    print(f"logits differ from PyTorch's by at most {difference:.1e} over {len(validation)} validation questions")
    print(f"written: {output / 'model.onnx'} ({(output / 'model.onnx').stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_script(main)
