"""What a model was made from: the weights of its backbone, and the code."""

import hashlib
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
