"""What a model was made from: settings, data, backbone, versions and code."""

import hashlib
import os
import re
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from tagging.model_folder import read_json
from training.dataset import EXTRA, EXTRA_RECORD, data_hash
from training.recipes import TrainingSettings

ROOT = Path(__file__).parents[1]


def describe_run(settings: TrainingSettings, data_dir: Path, backbone: Path) -> dict:
    """Return what determines the result of a training. run.json records it."""
    return {
        "arguments": asdict(settings),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),  # the batch size counts per process
        "data_sha256": data_hash(data_dir),
        **({"extra_questions": extra_record(data_dir)} if settings.extra_questions else {}),
        "backbone": describe_backbone(backbone),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        **({"commit": code} if (code := commit()) else {}),
    }


def extra_record(data_dir: Path) -> dict:
    """Return the sources of extra_questions.csv, and the hash of the file."""
    return {"sha256": file_hash(data_dir / EXTRA), "sources": read_json(data_dir / EXTRA_RECORD)["sources"]}


def describe_teacher(folder: Path) -> dict:
    """Return how a teacher was trained, and the SHA-256 of its weights."""
    run = read_json(folder / "run.json")
    known = ("arguments", "data_sha256", "minutes", "f1_micro_validation", "backbone", "extra_questions")
    return {
        "name": folder.resolve().name,
        "sha256": file_hash(folder / "model.safetensors"),
        **{key: run[key] for key in known if key in run},
    }


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_backbone(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights in ``folder``, and their revision if it lies in the cache of the Hub."""
    described = {"sha256": file_hash(folder / "model.safetensors")}
    if folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name):
        described["revision"] = folder.name
    return described


def commit(root: Path = ROOT) -> str | None:
    """Return the commit of the code in ``root``, with "-dirty" if tracked files differ; None if git does not know."""
    if _git(root, "ls-files", "--error-unmatch", "training/provenance.py") is None:  # a copy in another's repository
        return None
    return _git(root, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
    except OSError:  # no git
        return None
    return done.stdout.strip() if done.returncode == 0 else None
