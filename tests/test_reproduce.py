"""A shipped model made again by one command, from its list of questions and its record."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.files import read_questions
from data.sample_site.server import SampleSite
from onnx_export import compare, export, quantize, reproduce, ship
from onnx_export.evaluation.reproduction import about, stages
from scraper import stack_exchange_api
from tests.test_question_list import by_question, calls_by_id
from tests.tiny_backbones import save_backbone
from training import filter_tags, finetune

NAME = "bert-base-uncased"
TRAINING = ["--epochs", "2", "--batch-size", "8", "--learning-rate", "0.01", "--max-length", "32", "--consistency", "0"]


@pytest.fixture(scope="module")
def site():
    with SampleSite(n=120) as site:
        yield site


@pytest.fixture(scope="module")
def made(site, tmp_path_factory):
    """A folder with data/, models/ and the shipped model/ of the sample site; its backbone lies in backbones/."""
    root = tmp_path_factory.mktemp("made")
    where = ["--data-dir", str(root / "data"), "--models-dir", str(root / "models")]
    output = ["--output", str(root / "data/ques_details.csv")]
    stack_exchange_api.main(["--site", site.url, "--api", f"{site.url}/2.3", "--delay", "0", *output])
    filter_tags.main(["--data-dir", str(root / "data"), "--min-frequency", "0.05"])
    texts = read_questions(root / "data/ques_filtered.csv")["description"].tolist()
    model = ["--model", str(save_backbone(NAME, texts, root / "backbones")), *where]
    finetune.main([*model, *TRAINING])
    export.main(model)
    quantize.main([*model, "--allow-drop"])
    compare.main([*where, "--reports-dir", str(root / "reports")])
    ship.main([*model, "--output", str(root / "model"), "--best", str(root / "best")])
    return root


def command(made, site, folder, *more) -> list[str]:
    places = [word for name in ("data", "models", "reports") for word in (f"--{name}-dir", str(folder / name))]
    network = ["--api", f"{site.url}/2.3", "--delay", "0"]
    return ["--model", str(made / "model"), "--backbone", str(made / "backbones" / NAME), *network, *places, *more]


def stopped(*arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        reproduce.main(list(map(str, arguments)))
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code
    return stop.value.code


@pytest.fixture
def in_this_process(monkeypatch):
    """Stages run in this process, where torch is loaded already; other tests start them as processes."""

    def run_stage(stage, processes, extra):
        assert processes == 1
        module_of(stage).main([*stage.words[1:], *extra])

    monkeypatch.setattr(reproduce, "run_stage", run_stage)


def module_of(stage):
    return importlib.import_module(stage.words[0].removesuffix(".py").replace("/", "."))


def test_one_command_makes_the_model_again_and_the_same_command_repeats_nothing(
    made, site, tmp_path, in_this_process, capsys
):
    reproduce.main(command(made, site, tmp_path))
    output = capsys.readouterr().out
    listed = json.loads((made / "model/run.json").read_text())["question_list"]["questions"]
    assert "1. scraper/stack_exchange_api.py: a minute or less; calls: 1," in output
    assert output.index("6. onnx_export/compare.py: a minute") < output.index("questions listed, 0 of them here")
    assert f"0 of the {listed} listed are gone" in output and "0 have other tags today" in output
    assert by_question(tmp_path / "data") == by_question(made / "data")
    recorded, reproduced = (
        json.loads(path.read_text())["int8"]
        for path in (made / "model/metrics.json", tmp_path / "models" / NAME / "onnx/metrics.json")
    )
    assert reproduced["f1_micro"] == pytest.approx(recorded["f1_micro"], abs=1e-6)  # of the same machine
    report = (tmp_path / "reports/reproduction.md").read_text()
    (row,) = [line for line in report.splitlines() if line.startswith("| micro F1 |")]
    assert row.count(f"{recorded['f1_micro']:.3f} [") == 2 and row in output

    asked = len(calls_by_id(site))
    trained = (tmp_path / "models" / NAME / "model.safetensors").stat()
    reproduce.main(command(made, site, tmp_path))
    output = capsys.readouterr().out
    assert output.count("done before") == 5 and row in output
    assert len(calls_by_id(site)) == asked
    assert (tmp_path / "models" / NAME / "model.safetensors").stat() == trained


def test_a_stage_that_fails_ends_the_command(made, site, tmp_path):
    words = [sys.executable, "onnx_export/reproduce.py", *command(made, site, tmp_path, "--api", f"{site.url}/none")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "scraper/stack_exchange_api.py ended with status 1: its last lines say why" in done.stderr
    assert "--- scraper/stack_exchange_api.py --site" in done.stdout and "--- training" not in done.stdout


@pytest.mark.parametrize("name", ["data", "models", "reports"])
def test_a_folder_with_anything_else_is_left_unchanged(made, site, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    line = stopped(*command(made, site, tmp_path))
    assert f"{tmp_path / name} holds something else than this reproduction: name another --{name}-dir" in line
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == [f"{name}/mine.txt"]


def test_a_folder_that_is_no_record_of_a_model_is_reported(made, site, tmp_path):
    model = shutil.copytree(made / "model", tmp_path / "model")

    def line() -> str:
        return stopped(*command(made, site, tmp_path, "--model", model))

    (model / "questions.csv.gz").write_bytes(b"other")
    assert "questions.csv.gz is not the one that run.json records" in line()
    (model / "questions.csv.gz").unlink()
    assert "questions.csv.gz not found: ship.py writes it" in line()
    shutil.copyfile(made / "model/questions.csv.gz", model / "questions.csv.gz")
    (model / "run.json").write_text("{}")
    assert "run.json lacks name, arguments, minutes, allow_drop, question_list" in line()
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_the_card_names_the_command_the_list_and_its_stages(made, site):
    card = (made / "model/README.md").read_text()
    record = json.loads((made / "model/run.json").read_text())
    assert f"make reproduce CONTACT=you@example.org MODEL_FOLDER={made / 'model'}" in card
    assert (
        record["question_list"]["sha256"] in card and f"lists {record['question_list']['questions']} questions" in card
    )
    assert record["arguments"]["model"] == NAME and str(made / "backbones") not in card
    for stage in stages(record, made / "model"):
        assert " ".join(stage.words[:2]) in card
        module_of(stage).parse_args(stage.words[1:])


def test_more_calls_than_a_day_allows_are_announced(made):
    record = json.loads((made / "model/run.json").read_text())
    record["question_list"]["questions"] = 60_001
    record["minutes"] = 32
    fetch, _, training, *_ = (stage.expected for stage in stages(record, Path("model")))
    assert fetch == "about 20 minutes; calls: 601, of which the API answers 300 a day without a key, so 3 days"
    assert training == f"{about(32)} where the model was made"


def test_make_passes_the_folder_the_api_and_the_contact():
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    variables = ["MODEL_FOLDER=mine", "API=http://127.0.0.1:1/2.3", "CONTACT=me@example.org"]
    words = ["make", "--dry-run", "reproduce", *variables]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, env=outer).stdout
    expected = "onnx_export/reproduce.py --model mine --api http://127.0.0.1:1/2.3 --contact me@example.org"
    assert expected in shown
