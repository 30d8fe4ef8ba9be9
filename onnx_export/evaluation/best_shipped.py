"""The files of decisions: a compared model's own, and those of the best models that were ever shipped.

models/NAME/onnx/test_decisions.json      what onnx_export/evaluation/decisions.py describes
assets/best_shipped/PART/FIGURE.json      the same of the model with the highest FIGURE of all shipped for one test part
"""

import hashlib
import json
from pathlib import Path

from onnx_export.evaluation.decisions import GATE_FIGURES, as_arrays, part_id
from tagging.files import atomic_path
from tagging.model_folder import find_model_file, read_json, read_settings

BEST_SHIPPED = Path("assets/best_shipped")


def file_hashes(folder: Path, names) -> dict[str, str]:
    """Return {name: SHA-256} of files of a model folder. Raises OSError where one cannot be read."""
    hashes = {}
    for name in names:
        with (find_model_file(folder, name) or folder / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def write_decisions(path: Path, decisions: dict) -> None:
    """Write decisions, compact, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(decisions, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8", newline="\n"
        )


def read_decisions(path: Path) -> dict:
    """Read a file of decisions. Raises ValueError, which names the file, if it is damaged."""
    decisions = read_json(path)
    try:
        as_arrays(decisions)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return decisions


def served_decisions(folder: Path) -> dict:
    """Return what the int8 model in ``folder`` decided.

    Raises
    ------
    ValueError : the file is damaged, of a model that is not int8, or of other files than those in ``folder``
    OSError : a file of the model cannot be read
    """
    decisions = read_decisions(folder / "test_decisions.json")
    if "model_quantized.onnx" not in decisions["sha256"]:
        raise ValueError(
            f"{folder}: compared without an int8 model: run  python onnx_export/quantize.py, then  "
            "python onnx_export/compare.py --force"
        )
    settings = read_settings(folder).deciding
    if (
        file_hashes(folder, decisions["sha256"]) != decisions["sha256"]
        or decisions.get("settings", settings) != settings
    ):
        raise ValueError(
            f"{folder}: its files are not those that were compared: run  python onnx_export/compare.py --force"
        )
    return decisions


def best_shipped(folder: Path, decisions: dict) -> dict[str, dict]:
    """Return {figure: decisions of the model with the highest} of those shipped for the test part of ``decisions``.

    A figure without such a model is left out. Raises ValueError if a file is damaged or of another test part.
    """
    files = {figure: _best_file(folder, decisions, figure) for figure in GATE_FIGURES}
    best = {figure: read_decisions(file) for figure, file in files.items() if file.exists()}
    for figure, shipped in best.items():
        if part_id(shipped) != part_id(decisions):
            raise ValueError(f"{files[figure]}: of another test part than its folder's name says; restore it")
    return best


def raise_bar(folder: Path, decisions: dict) -> list[str]:
    """Keep ``decisions`` for each figure in which no model shipped for the same test part is as good; return those.

    Raises ValueError as in :func:`best_shipped`; nothing is then written.
    """
    best = best_shipped(folder, decisions)
    raised = [
        figure
        for figure in GATE_FIGURES
        if figure not in best or decisions["figures"][figure] > best[figure]["figures"][figure]
    ]
    for figure in raised:
        write_decisions(_best_file(folder, decisions, figure), decisions)
    return raised


def _best_file(folder: Path, decisions: dict, figure: str) -> Path:
    return folder / part_id(decisions) / f"{figure}.json"
