"""What a model was made from: settings, data, backbone, versions and code."""

import hashlib
import os
import re
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from training.dataset import data_hash
from training.recipes import Settings

ROOT = Path(__file__).parents[1]


def describe_run(settings: Settings, data_dir: Path, backbone: Path) -> dict:
    """Return what determines the result of a training. run.json records it."""
    return {
        "arguments": asdict(settings),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),  # the batch size counts per process
        "data_sha256": data_hash(data_dir),
        "backbone": describe_backbone(backbone),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        **({"commit": code} if (code := commit()) else {}),
    }


def describe_backbone(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights in ``folder``, and their revision if it lies in the cache of the Hub."""
    with (folder / "model.safetensors").open("rb") as file:
        described = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
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
