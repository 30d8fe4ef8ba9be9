"""predict.py --ray: a folder of Parquet files on a local cluster, with a worker killed in mid run."""

import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest

from tests.tiny_model import build_model_folder

FILES, ROWS = 16, 1000
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


def test_what_is_tagged_is_not_tagged_again(folders):
    folder, model = folders
    (folder / "tagged").mkdir()
    for path in (folder / "shards").iterdir():
        (folder / "tagged" / path.name).write_bytes(b"done")
    out, err = predict(folder, model, "shards", "tagged", "--ray", "local").communicate()
    assert out == f"0 questions of 0 files tagged -> {folder / 'tagged'}\n", err


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [("notes.txt", "text", "no .parquet file in this folder"), ("a.parquet", "no parquet", "a.parquet")],
)
def test_a_folder_that_holds_no_questions_gets_one_line(folders, name, content, complaint):
    folder, model = folders
    (folder / "other").mkdir()
    (folder / "other" / name).write_text(content)
    run = predict(folder, model, "other", "tagged", "--ray", "local")
    _, err = run.communicate()
    assert run.returncode == 1
    assert complaint in err and err.count("\n") == 1
