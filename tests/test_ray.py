"""predict.py --ray: a folder of Parquet files on a local cluster, with a worker killed in mid run."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet
import pytest

from tests.tiny_model import build_model_folder

FILES, ROWS = 16, 500
WORDS = ["python", "dataframe", "csv", "layers", "gradient", "everything"]


@pytest.fixture
def folders(tmp_path):
    """A model, and questions as Parquet files and as one CSV in the same order."""
    model = build_model_folder(tmp_path / "model")
    (tmp_path / "shards").mkdir()
    parts = []
    for number in range(FILES):
        titles = [f"{WORDS[(number + row) % len(WORDS)]} {number} {row}" for row in range(ROWS)]
        parts.append(pd.DataFrame({"title": titles, "description": "python", "id": range(ROWS)}))
        parts[-1].to_parquet(tmp_path / "shards" / f"part-{number:02}.parquet")
    pd.concat(parts).to_parquet(tmp_path / "whole.parquet")
    return tmp_path, model


def predict(folder, model, source, target, *more):
    command = [sys.executable, "deployment/predict.py", "--model", model, "--input", folder / source]
    return subprocess.Popen(
        [*command, "--output", folder / target, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def workers_of(process):
    """Return the processes of the cluster's taggers."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            found += [child] if "MapWorker" in child.name() + " ".join(child.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_killed_worker_loses_and_repeats_no_row(folders):
    folder, model = folders
    alone = predict(folder, model, "whole.parquet", "whole_tagged.parquet")
    run = predict(folder, model, "shards", "tagged", "--ray", "local")
    try:
        deadline = time.monotonic() + 120
        while not (killed := workers_of(run)) or not any((folder / "tagged").glob("*.parquet")):
            assert run.poll() is None and time.monotonic() < deadline, run.communicate()
            time.sleep(0.02)
        assert len(list((folder / "tagged").glob("*.parquet"))) < FILES  # still in mid run
        killed[0].kill()
        out, err = run.communicate(timeout=180)
    finally:
        run.kill()
    assert run.returncode == 0, err
    assert f"of {FILES} files tagged" in out
    assert sorted(path.name for path in (folder / "tagged").iterdir()) == [f"part-{n:02}.parquet" for n in range(FILES)]
    assert alone.wait() == 0
    tagged = pd.concat(pd.read_parquet(path) for path in sorted((folder / "tagged").iterdir()))
    pd.testing.assert_frame_equal(tagged, pd.read_parquet(folder / "whole_tagged.parquet"))


def test_tagged_files_are_skipped(folders):
    folder, model = folders
    (folder / "tagged").mkdir()
    for path in (folder / "shards").iterdir():
        (folder / "tagged" / path.name).write_bytes(b"done")
    out, err = predict(folder, model, "shards", "tagged", "--ray", "local").communicate()
    assert out == f"0 questions of 0 files tagged -> {folder / 'tagged'}\n", err


@pytest.fixture
def data_set(tmp_path):
    """A data set as the Hub's cache keeps it, beside links to folders, names of every kind, and what is no shard."""
    source = tmp_path / "cache" / "snapshots" / "1a2b"
    (source / "data").mkdir(parents=True)
    (tmp_path / "cache" / "blobs").mkdir()
    for number, name in enumerate(["data/train-0.parquet", "2020.parquet", "2021.PARQUET", "test.pq"]):
        blob = tmp_path / "cache" / "blobs" / f"{number}e5f"
        pd.DataFrame({"title": ["python"] * (number + 1)}).to_parquet(blob)
        (source / name).symlink_to(os.path.relpath(blob, (source / name).parent))
    (tmp_path / "elsewhere" / "2022").mkdir(parents=True)
    pd.DataFrame({"title": ["csv"]}).to_parquet(tmp_path / "elsewhere" / "2022" / "data.parquet")
    (source / "2022").symlink_to(tmp_path / "elsewhere" / "2022")
    (source / "data" / "up").symlink_to("..")
    (source / "README.md").write_text("no shard")
    (source / "._test.pq").write_bytes(b"a Mac's")
    return source


@pytest.fixture
def shards(monkeypatch):
    """deployment/shards.py, which imports its neighbours as the Space does."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "deployment")
    return importlib.import_module("shards")


def test_every_shard_is_found(data_set, shards):
    found, left_out = shards.find_shards(data_set)
    assert [str(shard) for shard in found] == [
        "2020.parquet",
        "2021.PARQUET",
        "2022/data.parquet",
        "data/train-0.parquet",
        "test.pq",
    ]
    assert left_out == ["._test.pq", "README.md", "data/up/"]


def test_outputs_are_named_as_their_inputs_and_a_damaged_file_stops_no_other(data_set, tmp_path):
    model = build_model_folder(tmp_path / "model")
    path = data_set / "z.parquet"
    pd.DataFrame({"title": ["python"] * 3000}).to_parquet(path, row_group_size=1500)
    damaged = bytearray(path.read_bytes())
    start = pyarrow.parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    damaged[start : start + 20] = b"\xff" * 20
    path.write_bytes(damaged)
    out, err = predict(tmp_path, model, data_set, "tagged", "--ray", "local").communicate()
    assert f"5 of 6 files tagged; {path}: not readable as Parquet (" in err and "Traceback" not in err and not out
    assert f"ignored in {data_set}: ._test.pq, README.md, data/up/; only files" in err
    found = sorted(str(path.relative_to(tmp_path / "tagged")) for path in (tmp_path / "tagged").rglob("*.*"))
    assert found == ["2020.parquet", "2021.PARQUET", "2022/data.parquet", "data/train-0.parquet", "test.pq"]
    assert pd.read_parquet(tmp_path / "tagged/2022/data.parquet")["tags"][0].tolist() == ["pandas"]
    assert len(pd.read_parquet(tmp_path / "tagged/test.pq")) == 4


def test_outputs_that_would_overwrite_something_are_rejected(data_set, shards, tmp_path):
    found, _ = shards.find_shards(data_set)
    shards.check_targets(found, data_set, tmp_path / "tagged")
    for target, complaint in ((data_set, "lies within --input"), (data_set / "tagged", "lies within --input")):
        with pytest.raises(ValueError, match=complaint):
            shards.check_targets(found, data_set, target)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file: with --ray it must be a folder"):
        shards.check_targets(found, data_set, tmp_path / "file")
    with pytest.raises(ValueError, match=r"the outputs of Test\.pq and test\.pq would be one file"):
        shards.check_targets([Path("Test.pq"), Path("test.pq")], data_set, tmp_path / "tagged")
    (tmp_path / "tagged").mkdir()
    (tmp_path / "tagged" / "test.pq").symlink_to(data_set / "test.pq")
    with pytest.raises(ValueError, match="is the input itself"):
        shards.check_targets(found, data_set, tmp_path / "tagged")


def test_force_tags_again(data_set, shards, tmp_path, capsys):
    (tmp_path / "tagged").mkdir()
    (tmp_path / "tagged" / "test.pq").write_bytes(b"done")
    assert len(shards.shards_to_tag(data_set, tmp_path / "tagged", force=False)) == 4
    assert "1 files are in" in capsys.readouterr().err
    assert len(shards.shards_to_tag(data_set, tmp_path / "tagged", force=True)) == 5


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("notes.txt", "text", "no .parquet or .pq file in this folder; found notes.txt"),
        ("a.parquet", "no parquet", "a.parquet"),
    ],
)
def test_a_folder_without_questions_gets_one_line(folders, name, content, complaint):
    folder, model = folders
    (folder / "other").mkdir()
    (folder / "other" / name).write_text(content)
    run = predict(folder, model, "other", "tagged", "--ray", "local")
    _, err = run.communicate()
    assert run.returncode == 1
    assert complaint in err and err.count("\n") == 1
