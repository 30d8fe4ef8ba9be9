"""The files of a model folder, and what they must contain.

    model_quantized.onnx (or model.onnx)   input_ids, attention_mask[, token_type_ids] -> logits (n, num_labels)
    tokenizer.json                         with the truncation (max_length) and the padding of the training
    tag_types_encoded.json                 {tag: index of its logit}
    thresholds.json                        {"global": t, "per_tag": {tag: t}, "fields": [...], "min_confidence": p,
                                           "calibration": {"slope": s, "threshold": t}}, tuned on the validation
                                           scores of the served model

``fields`` are the fields of a question that the model was trained on. ``calibration`` is the line of
:class:`tagging.decision.DecisionRule`. ``min_confidence`` is a raw probability: if every tag of a question is below it,
no tag clearly fits.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from tagging.decision import NO_CALIBRATION, DecisionRule
from tagging.encoding import FIELDS, load_tokenizer

INT8_MODEL, FP32_MODEL = "model_quantized.onnx", "model.onnx"
TOKENIZER, TAGS, THRESHOLDS = "tokenizer.json", "tag_types_encoded.json", "thresholds.json"
DEFAULT_MAX_LENGTH = 512  # tokens, of a tokenizer.json without truncation


class ModelFolderError(ValueError):
    """A file of a model folder is missing or damaged, or the files do not belong together."""


def default_model_folder() -> Path:
    """Return the model folder that the environment variable TAGGER_MODEL names, or else ``deployment/model``."""
    return Path(os.environ.get("TAGGER_MODEL") or Path(__file__).parents[1] / "model")


def add_model_folder_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``. Not in tagging.options, which must not import NumPy: the form has none."""
    parser.add_argument(
        "--model",
        type=Path,
        default=default_model_folder(),
        help="model folder; the environment variable TAGGER_MODEL sets another default",
    )


@dataclass(frozen=True)
class ModelFolder:
    """A model folder without its ONNX file: tags, decision rule, settings and tokenizer.

    Attributes
    ----------
    path : Path
    tags : list of str, length num_labels
        In the order of the logits.
    rule : DecisionRule
        From raw to calibrated probabilities.
    fields : list of str
        The fields of a question that the model reads.
    min_confidence : float
        Raw probability of the best tag below which no tag clearly fits.
    tokenizer : tokenizers.Tokenizer
        With truncation and without padding.
    pad_id : int
    max_length : int
        Number of tokens of a question that the model reads.
    """

    path: Path
    tags: list[str]
    rule: DecisionRule
    fields: list[str]
    min_confidence: float
    tokenizer: Any
    pad_id: int
    max_length: int

    @classmethod
    def read(cls, path: str | Path, model_file: str = INT8_MODEL) -> Self:
        """Read a model folder that contains ``model_file``.

        Raises
        ------
        ModelFolderError
            If a file is missing or damaged, or thresholds and tags do not match.
        """
        path = Path(path)
        missing = [name for name in (model_file, TOKENIZER, TAGS, THRESHOLDS) if not (path / name).is_file()]
        if missing:
            raise ModelFolderError(
                f"{path} is no model folder: {', '.join(missing)} missing. "
                "Make one with onnx_export/export.py and onnx_export/quantize.py, or name another with TAGGER_MODEL."
            )
        tags = read_tags(path / TAGS)
        rule, fields = read_rule(path / THRESHOLDS, tags), read_fields(path / THRESHOLDS)
        min_confidence = read_min_confidence(path / THRESHOLDS)
        try:
            tokenizer, pad_id = load_tokenizer(path / TOKENIZER)
        except Exception as error:  # tokenizers raises a bare Exception for every kind of damage
            raise ModelFolderError(f"{path / TOKENIZER}: not a tokenizer ({error})") from error
        max_length = (tokenizer.truncation or {}).get("max_length", DEFAULT_MAX_LENGTH)
        return cls(path, tags, rule, fields, min_confidence, tokenizer, pad_id, max_length)


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises
    ------
    ModelFolderError
        If the file cannot be read, or contains anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelFolderError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path}: a JSON object was expected, found {type(content).__name__}")
    return content


def read_tags(path: Path) -> list[str]:
    """Return the tags of a tag_types_encoded.json in the order of their indices, which must be 0 to n-1."""
    tag_to_index = read_json(path)
    tags = sorted(tag_to_index, key=lambda tag: str(tag_to_index[tag]).zfill(9))
    if not tags or [tag_to_index[tag] for tag in tags] != list(range(len(tags))):
        raise ModelFolderError(f"{path}: expected {{tag: index}} with the indices 0 to n-1, each once")
    return tags


def read_rule(path: Path, tags: Sequence[str]) -> DecisionRule:
    """Return the decision rule of a thresholds.json, or raise :class:`ModelFolderError` if it does not fit ``tags``."""
    content = read_json(path)
    per_tag = content.get("per_tag")
    if not isinstance(per_tag, dict) or set(per_tag) != set(tags):
        raise ModelFolderError(f"{path}: its 'per_tag' thresholds are not those of the model's {len(tags)} tags")
    if not all(isinstance(cut, int | float) and 0 < cut <= 1 for cut in [*per_tag.values(), content.get("global", 1)]):
        raise ModelFolderError(f"{path}: a threshold is no number in (0, 1]")
    match content.get("calibration", NO_CALIBRATION):
        case {"slope": int() | float() as slope, "threshold": int() | float() as threshold}:
            if 0 < slope < np.inf and 0 < threshold < 1:
                return DecisionRule.of(content, tags)
    raise ModelFolderError(f"{path}: 'calibration' needs a 'slope' above 0 and a 'threshold' between 0 and 1")


def read_fields(path: Path) -> list[str]:
    """Return the fields of a question that the model reads: FIELDS if the thresholds.json does not name any."""
    fields = read_json(path).get("fields", list(FIELDS))
    if not isinstance(fields, list) or not fields or not set(fields) <= set(FIELDS):
        raise ModelFolderError(f"{path}: 'fields' is {fields!r}; it must name one or both of {', '.join(FIELDS)}")
    return fields


def read_min_confidence(path: Path) -> float:
    """Return the minimum confidence of a thresholds.json, 0 if it does not name one."""
    confidence = read_json(path).get("min_confidence", 0.0)
    if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise ModelFolderError(f"{path}: 'min_confidence' is {confidence!r}; it must be a number in [0, 1]")
    return confidence
