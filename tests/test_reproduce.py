"""A shipped model made again by one command, from its list of questions and its record."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.files import read_questions, write_questions
from data.sample_site.server import SampleSite
from onnx_export import compare, export, quantize, reproduce, ship
from onnx_export.evaluation.reproduction import about, stages
from scraper import stack_exchange_api
from tests.test_question_list import by_question, calls_by_id
from tests.tiny_backbones import save_backbone
from training import distill, extra_questions, filter_tags, finetune

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


@pytest.fixture(scope="module")
def distilled(site, made):
    """The same of a model that was distilled from another one; a fourth of its questions are extra ones."""
    root = made.parent / "distilled"
    questions = read_questions(made / "data/ques_details.csv")
    extra = questions.index % 4 == 0
    for place, rows in (("data/ques_details.csv", ~extra), ("extra.csv", extra)):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        write_questions(root / place, questions[rows])
    data = ["--data-dir", str(root / "data")]
    where = [*data, "--models-dir", str(root / "models")]
    filter_tags.main([*data, "--min-frequency", "0.05"])
    extra_questions.main([*data, "--input", str(root / "extra.csv"), "--name", "more", "--weight", "0.5"])
    backbone = str(made / "backbones" / NAME)
    finetune.main(["--model", backbone, *where, *TRAINING])
    teacher = ["--teacher", str(root / "models" / NAME), "--teacher-fields", "title"]
    distill.main(["--student", backbone, *teacher, *where, *TRAINING, "--extra-questions"])
    model = ["--model", f"{NAME}-distilled", *where]
    export.main(model)
    quantize.main([*model, "--allow-drop"])
    compare.main([*where, "--reports-dir", str(root / "reports")])
    ship.main([*model, "--output", str(root / "model"), "--best", str(root / "best")])
    return root


def test_a_distilled_model_is_made_again_with_its_teacher_and_its_extra_questions(
    made, distilled, site, tmp_path, in_this_process
):
    words = command(made, site, tmp_path, "--model", str(distilled / "model"))
    reproduce.main([*words, "--teacher-backbone", str(made / "backbones" / NAME)])
    ours, theirs = (read_questions(root / "data/extra_questions.csv") for root in (tmp_path, distilled))
    assert sorted(map(str, ours[["title", "description", "tags"]].to_numpy().tolist())) == sorted(
        map(str, theirs[["title", "description", "tags"]].to_numpy().tolist())
    )
    recorded, reproduced = (
        json.loads(path.read_text())["int8"]
        for path in (distilled / "model/metrics.json", tmp_path / "models" / f"{NAME}-distilled" / "onnx/metrics.json")
    )
    assert reproduced["f1_micro"] == pytest.approx(recorded["f1_micro"], abs=1e-6)  # of the same machine

    card = (distilled / "model/README.md").read_text()
    listed = json.loads((distilled / "model/run.json").read_text())["question_list"]
    assert f"- {listed['parts']['extra']} questions of {site.url} (more)" in card
    assert "what a teacher answers to the title (weight 0.5;" in card and str(made / "backbones") not in card
    assert f"training/distill.py --student {NAME} --teacher models/reproduced/{NAME} --teacher-fields title" in card


def test_the_questions_of_each_site_are_fetched_from_it(distilled):
    record = json.loads((distilled / "model/run.json").read_text())
    listed = record["question_list"]
    listed["sites"] = {"https://ai.example": 7, listed["site"]: listed["questions"]}
    record["extra_questions"]["sources"]["ai"] = {"site": "https://ai.example", "weight": 0.25}
    words = [stage.words for stage in stages(record, distilled / "model")]
    for stage in stages(record, distilled / "model"):
        module_of(stage).parse_args(stage.words[1:])
    fetched = [word[word.index("--output") + 1] for word in words if word[0] == "scraper/stack_exchange_api.py"]
    added = [word[word.index("--input") + 1] for word in words if word[0] == "training/extra_questions.py"]
    assert fetched == ["data/reproduced/ques_details.csv", "data/reproduced/ai.example.csv"]
    assert sorted(added) == sorted(fetched)


def test_extra_questions_that_were_not_trained_on_are_not_shipped(distilled, tmp_path):
    data = shutil.copytree(distilled / "data", tmp_path / "data")
    extra_questions.main(["--data-dir", str(data), "--input", str(distilled / "extra.csv"), "--name", "more",
                          "--weight", "2", "--force"])  # fmt: skip
    (data / "extra_questions.csv").write_text((data / "extra_questions.csv").read_text().replace("how", "why"))
    words = ["--model", f"{NAME}-distilled", "--data-dir", str(data), "--models-dir", str(distilled / "models")]
    with pytest.raises(SystemExit, match=r"extra_questions\.csv is not the file that it was trained on: restore it"):
        ship.main([*words, "--output", str(tmp_path / "model"), "--best", str(tmp_path / "best")])
    assert not (tmp_path / "model").exists()


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
