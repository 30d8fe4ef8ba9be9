"""Checkpoints of an interrupted training: which of them are whole, so that it can go on from the newest."""

import json
import shutil
import zipfile
from pathlib import Path

from data.files import remove_results

NEEDED = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint-N in ``folder`` whose best checkpoint so far is there, too; None without."""
    whole = {path: state for path, state in _states(folder).items() if state}
    names = {path.name for path in whole}
    usable = [
        path
        for path, state in whole.items()
        if not state["best_model_checkpoint"] or Path(state["best_model_checkpoint"]).name in names
    ]
    return max(usable, key=lambda path: whole[path]["global_step"], default=None)


def is_interrupted(checkpoints: Path) -> bool:
    """Return whether there is an interrupted training to resume. Its folders exist before it starts."""
    return any(path.is_file() for path in checkpoints.glob("seed-*/**/*"))


def remove_half_written(folder: Path) -> list[str]:
    """Remove the checkpoints in ``folder`` that are not whole, and return their names."""
    half = [path for path, state in _states(folder).items() if not state]
    for path in half:
        shutil.rmtree(path)
    return [path.name for path in half]


def remove_checkpoints(folder: Path) -> None:
    """Remove what finetune.py keeps in ``folder`` while it trains, and the folder, if nothing else is in it."""
    for path in folder.glob("seed-*"):
        shutil.rmtree(path)
    remove_results(folder, ["run.json"])


def _states(folder: Path) -> dict[Path, dict]:
    """Return {checkpoint: its trainer_state.json}, an empty one for a checkpoint that is not whole."""
    return {path: _state(path) if _is_whole(path) else {} for path in sorted(folder.glob("checkpoint-*"))}


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether every file is there to its end. PyTorch's are zip archives, whose directory comes last."""
    from safetensors import SafetensorError, safe_open

    if not all((checkpoint / name).is_file() for name in NEEDED) or not _state(checkpoint):
        return False
    archives = [path for pattern in ("*.pt", "*.pth", "*.bin") for path in checkpoint.glob(pattern)]
    try:
        with safe_open(checkpoint / "model.safetensors", "np"):  # checks its header against its length
            return all(map(zipfile.is_zipfile, archives))
    except (SafetensorError, OSError):
        return False


def _state(checkpoint: Path) -> dict:
    try:
        return json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
