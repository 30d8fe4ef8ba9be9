"""The files of a model folder, and what they must contain.

    onnx/model_quantized.onnx   or onnx/model.onnx: input_ids, attention_mask[, token_type_ids] -> logits (n, labels)
    tokenizer.json              the tokenizer
    tag_types_encoded.json      {tag: index of its logit}
    thresholds.json             {"global": t, "per_tag": {tag: t}, "calibration": {"slope": s, "threshold": t}}, tuned
                                on the validation scores of the served model
    tagger.json                 the settings, see :mod:`tagging.settings`
    rules.toml                  optional: the site's rules for its tags, see :mod:`tagging.rules`
    tiers.json                  optional: which tags are ticked by default, see :mod:`tagging.tiers`
    similar.npz                 optional: the site's questions, by which similar ones are found, and their titles; see
    similar_titles.txt          :mod:`tagging.similar`

``calibration`` is the line of :class:`tagging.decision.DecisionRule`. The ONNX file may also lie beside the others. In
older folders, ``fields`` and ``min_confidence`` are in thresholds.json and ``max_length`` is in tokenizer.json; what
tagger.json says takes precedence.

The folder of a site, which onnx_export/build_site.py makes, stands for the model folder of the release in service:

    releases.json               {"served": "2", ...}, which onnx_export/release.py writes
    releases/2/                 the model folder
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from tagging.decision import Calibration, DecisionRule, Thresholds
from tagging.encoding import encode, load_tokenizer
from tagging.rules import Rules, parse_rules
from tagging.settings import Settings, parse_settings
from tagging.similar import SIMILAR, SIMILAR_TITLES, SimilarQuestions, read_index
from tagging.tiers import TIERS, Tiers, parse_tiers

INT8_MODEL, FP32_MODEL = "model_quantized.onnx", "model.onnx"
TOKENIZER, TAGS, THRESHOLDS, SETTINGS = "tokenizer.json", "tag_types_encoded.json", "thresholds.json", "tagger.json"
RULES = "rules.toml"
PLACES = ("onnx", "")  # of the ONNX file in a model folder
RELEASES = "releases.json"  # in the folder of a site


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
    model_path : Path
        The ONNX file.
    tags : list of str, length num_labels
        In the order of the logits.
    rule : DecisionRule
        From raw to calibrated probabilities and to suggested tags.
    settings : Settings
    rules : Rules
        Of the site; none without a rules.toml.
    tiers : Tiers or None
        None without a tiers.json.
    similar : SimilarQuestions or None
        None without a similar.npz.
    tokenizer : tokenizers.Tokenizer
        With truncation and without padding.
    pad_id : int
    """

    path: Path
    model_path: Path
    tags: list[str]
    rule: DecisionRule
    settings: Settings
    rules: Rules
    tiers: Tiers | None
    similar: SimilarQuestions | None
    tokenizer: Any
    pad_id: int

    @classmethod
    def read(cls, path: str | Path, model_file: str = INT8_MODEL, index: bool = True) -> Self:
        """Read a model folder that contains ``model_file``, or that of the release in service of a site's folder.

        Without ``index``, similar.npz is left unread.

        Raises
        ------
        ModelFolderError
            If a file is missing or damaged, or thresholds and tags do not match.
        """
        path = served_folder(Path(path))
        if (path / "onnx" / THRESHOLDS).is_file():  # of onnx_export/, in the folder of a trained model with its own
            path /= "onnx"
        model_path = find_model_file(path, model_file)
        missing = [name for name in (TOKENIZER, TAGS, THRESHOLDS) if not (path / name).is_file()]
        if not model_path or missing:
            raise ModelFolderError(
                f"{path} is no model folder: {', '.join([*([] if model_path else [model_file]), *missing])} missing. "
                "Make one with onnx_export/export.py and onnx_export/quantize.py, or name another with TAGGER_MODEL."
            )
        tags, settings = read_tags(path / TAGS), read_settings(path)
        rule = DecisionRule.of(read_thresholds(path / THRESHOLDS, tags), tags, settings)
        rules = read_rules(path / RULES, tags)
        tiers = read_tiers(path / TIERS, tags)
        similar = read_similar(path, tags, settings.site) if index else None
        try:
            tokenizer, pad_id = load_tokenizer(path / TOKENIZER, settings.max_length)
        except Exception as error:  # tokenizers raises a bare Exception for every kind of damage
            raise ModelFolderError(f"{path / TOKENIZER}: not a tokenizer ({error})") from error
        return cls(path, model_path, tags, rule, settings, rules, tiers, similar, tokenizer, pad_id)

    def encode(self, titles: Sequence[str], descriptions: Sequence[str]) -> list:
        """Tokenize the fields of questions that the model reads, see :func:`tagging.encoding.encode`."""
        return encode(self.tokenizer, titles, descriptions, self.settings.fields)


def served_folder(folder: Path) -> Path:
    """Return the model folder of the release in service if ``folder`` is that of a site, else ``folder`` itself.

    Raises
    ------
    ModelFolderError
        If releases.json is damaged, or no release is in service.
    """
    if not (folder / RELEASES).is_file():
        return folder
    served = read_json(folder / RELEASES).get("served")
    if not isinstance(served, str):
        raise ModelFolderError(
            f"{folder}: no release is in service: run  python onnx_export/release.py {folder.name} promote"
        )
    return folder / "releases" / served


def find_model_file(folder: Path, name: str = INT8_MODEL) -> Path | None:
    """Return the path of an ONNX file of a model folder, None if it is missing."""
    return next((file for place in PLACES if (file := folder / place / name).is_file()), None)


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


def read_thresholds(path: Path, tags: Sequence[str]) -> Thresholds:
    """Read a thresholds.json.

    Without "calibration", the slope is 1 and the threshold is the global one, or 0.5 if that is missing, too.

    Raises
    ------
    ModelFolderError
        If the file is damaged or does not match ``tags``.
    """
    content = read_json(path)
    per_tag, global_threshold = content.get("per_tag"), content.get("global", Calibration().threshold)
    if not isinstance(per_tag, dict) or set(per_tag) != set(tags):
        raise ModelFolderError(f"{path}: its 'per_tag' thresholds are not those of the model's {len(tags)} tags")
    if not all(isinstance(cut, int | float) and 0 < cut <= 1 for cut in [*per_tag.values(), global_threshold]):
        raise ModelFolderError(f"{path}: a threshold is no number in (0, 1]")
    match content.get("calibration", Calibration(threshold=global_threshold)._asdict()):
        case {"slope": int() | float() as slope, "threshold": int() | float() as threshold}:
            if 0 < slope < np.inf and (0 < threshold < 1 or "calibration" not in content):
                return Thresholds(
                    global_threshold, per_tag, Calibration(slope, threshold), str(content.get("tuning", ""))
                )
    raise ModelFolderError(f"{path}: 'calibration' needs a 'slope' above 0 and a 'threshold' between 0 and 1")


def read_rules(path: Path, tags: Sequence[str]) -> Rules:
    """Read a rules.toml, no rules if there is no such file; see :func:`tagging.rules.parse_rules`.

    Raises
    ------
    ModelFolderError
        If it cannot be read; the message gives the file and the line.
    """
    if not path.is_file():
        return Rules()
    content = path.read_bytes()
    try:
        return parse_rules(content.decode("utf-8-sig"), tags)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ModelFolderError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    except ValueError as error:
        raise ModelFolderError(f"{path}, {error}") from error


def read_tiers(path: Path, tags: Sequence[str]) -> Tiers | None:
    """Read a tiers.json, None if there is no such file.

    Raises
    ------
    ModelFolderError
        If it is damaged.
    """
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return parse_tiers(content, tags)
    except ValueError as error:
        raise ModelFolderError(f"{path}: {error}") from error


def read_similar(folder: Path, tags: Sequence[str], site: str) -> SimilarQuestions | None:
    """Read the index of a model folder with its titles, None if it has none.

    Raises
    ------
    ModelFolderError
        If a file is damaged, or the two do not belong together.
    """
    if not (folder / SIMILAR).is_file():
        return None
    file = folder / SIMILAR_TITLES
    try:
        index = read_index(folder / SIMILAR, len(tags))
        titles = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
    except UnicodeDecodeError as error:
        raise ModelFolderError(f"{file}: not UTF-8 ({error})") from error
    except (OSError, ValueError) as error:
        raise ModelFolderError(str(error)) from error
    if titles and len(titles) != len(index.ids):
        raise ModelFolderError(f"{file} has {len(titles)} titles, but {SIMILAR} has {len(index.ids)} questions")
    return SimilarQuestions(index, titles, tags, site)


def read_settings(folder: Path) -> Settings:
    """Read the settings of a model folder, or of the folder of a trained model.

    Raises
    ------
    ModelFolderError
        If a file is damaged or a value is not as expected.
    """
    own = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    older = _older_settings(folder, own)
    for name, content in ((THRESHOLDS, older), (SETTINGS, own)):
        try:
            parse_settings(content)
        except ValueError as error:
            raise ModelFolderError(f"{folder / name}: {error}") from error
    return parse_settings(older | own)


def _older_settings(folder: Path, own: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that older model folders have in other files, without those in ``own``."""
    settings = {}
    if {"fields", "min_confidence"} - set(own):
        thresholds = read_json(folder / THRESHOLDS)
        settings = {
            key: thresholds[key] for key in ("fields", "min_confidence") if key in thresholds and key not in own
        }
    if "max_length" not in own:
        match read_json(folder / TOKENIZER):
            case {"truncation": {"max_length": max_length}}:
                settings["max_length"] = max_length
    return settings
