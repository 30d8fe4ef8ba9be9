"""Quantize the model of a folder to int8, for quantize.py and the benchmarks; int8.py has the arithmetic."""

from pathlib import Path

import numpy as np

from tagging.tagger import Tagger
from training.dataset import Part

CALIBRATION = 200  # questions from which the ranges of the activations are learned


def calibration_questions(validation: Part) -> Part:
    """Return the questions from which the ranges of the activations are learned."""
    return validation.take(np.arange(len(validation))[:CALIBRATION])


def quantize(folder: Path, output: Path, validation: Part) -> None:
    """Quantize the matrices and the word vectors of ``folder``'s model.onnx; the small linear head stays as it is."""
    import onnx

    from onnx_export.int8 import OPSET, quantize_matrices, quantize_tables

    tagger, calibration = Tagger(folder, "model.onnx"), calibration_questions(validation)
    encodings = tagger.model.encode(calibration.titles, calibration.descriptions)
    model = onnx.version_converter.convert_version(onnx.load(folder / "model.onnx"), OPSET)
    quantize_matrices(model, [tagger.inputs([encoding]) for encoding in encodings])
    quantize_tables(model)
    onnx.save(model, output)
