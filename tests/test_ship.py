"""Shipping a model deletes nothing of the user's; the gate holds a model against the best that was ever shipped."""

import gzip
import json
import os
import shutil

import pandas as pd
import pytest
import yaml

from data.files import write_json, write_questions
from onnx_export import compare, quality_gate, ship
from onnx_export.evaluation.decisions import GATE_FIGURES
from tagging.tagger import Tagger
from tagging.tiers import TIERS
from tests.card_example import run_card_example
from tests.tiny_model import MAX_LENGTH, TAGS, add_index, build_model_folder
from training import finetune
from training.dataset import data_hash
from training.metrics import multi_hot, tagging_metrics

QUESTIONS = [("python", ["python"]), ("dataframe", ["pandas", "python"]), ("csv", ["pandas"]), ("layers", ["c++"])]
NAME = "all-minilm-l6-v2"


def write_data(folder, train: int = 8, test: int = 60):
    """Write filtered questions of the tiny model's tags, split so that the last ``test`` are the test part."""
    total = train + 2 + test
    rows = [[*QUESTIONS[row % 4], f"https://site.example/q/{10_000 + row - total}"] for row in range(total)]
    questions = pd.DataFrame(rows, columns=["title", "tags", "url"]).assign(description="")
    folder.mkdir(exist_ok=True)
    write_questions(folder / "ques_filtered.csv", questions)
    write_json(folder / "tag_types_encoded.json", {tag: index for index, tag in enumerate(TAGS)})
    parts = ["train"] * train + ["validation"] * 2 + ["test"] * test
    questions[["url"]].assign(split=parts).to_csv(folder / "split.csv", index=False)


ALWAYS = set(ship.SHIPPED) - set(ship.OPTIONAL)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with data/ and models/, one tiny model in it, compared in fp32 and int8."""
    root = tmp_path_factory.mktemp("compared")
    write_data(root / "data")
    folder = build_model_folder(root / "models" / NAME / "onnx")
    shutil.copyfile(folder / "model_quantized.onnx", folder / "model.onnx")
    options = vars(finetune.parse_args(["--model", NAME]))
    run = {"arguments": options, "data_sha256": data_hash(root / "data"), "minutes": 1.0}
    folder.with_name("run.json").write_text(json.dumps(run, default=str))
    files = {
        "config.json": {"model_type": "bert", "architectures": ["QuestionTagger"]},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "model_max_length": 512},
        "special_tokens_map.json": {"pad_token": "[PAD]"},
    }
    for name, content in files.items():
        write_json(root / "models" / NAME / name, content)
    compare.main([*places(root), "--reports-dir", str(root / "reports")])
    return root


@pytest.fixture
def root(compared, tmp_path):
    """A copy of it, for a test to alter."""
    return shutil.copytree(compared, tmp_path / "root")


def places(root) -> list[str]:
    return ["--data-dir", str(root / "data"), "--models-dir", str(root / "models")]


def send(root, output, *more) -> None:
    ship.main(["--model", NAME, *places(root), "--output", str(output), "--best", str(root / "best"), *more])


def gate(root) -> None:
    quality_gate.main(["--model", NAME, "--models-dir", str(root / "models"), "--best", str(root / "best")])


def stopped(call, *arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code
    return stop.value.code


def files_of(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents(folder) -> dict:
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
@pytest.mark.parametrize(
    "held",
    [
        ["app.py", ".git/config"],
        ["model/model_quantized.onnx", "tagger.py"],
        ["model_quantized.onnx", "thresholds.json", "notes.txt"],
        ["model_quantized.onnx", "README.md/mine.txt"],
        ["onnx/model_quantized.onnx", "onnx/model.onnx"],
        ["onnx/mine/empty.txt"],
        [".new/mine.txt"],
        [".hidden"],
    ],
    ids=" ".join,
)
def test_a_folder_with_other_files_is_left_unchanged(root, tmp_path, held, force):
    output = tmp_path / "output"
    for name in held:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("mine")
    before = contents(output)
    assert "holds more than a shipped model" in stopped(send, root, output, *force)
    assert contents(output) == before
    assert not (root / "best").exists()


def test_a_file_in_place_of_the_folder_is_reported(root, tmp_path):
    (tmp_path / "output").write_text("mine")
    assert "is a file: name a folder" in stopped(send, root, tmp_path / "output", "--force")
    assert "Not a directory" in stopped(send, root, tmp_path / "output" / "model")
    assert (tmp_path / "output").read_text() == "mine"


def test_a_shipped_models_files_are_overwritten_only_with_force(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "output"
    output.symlink_to("elsewhere")  # as to a larger disk
    send(root, output)
    assert files_of(output) == ALWAYS
    (output / "README.md").write_text("mine")
    assert "README.md already there: give --force" in stopped(send, root, output)
    assert (output / "README.md").read_text() == "mine"
    folder = output.stat()
    (output / ".new").mkdir()
    (output / ".new" / "metrics.json").write_text("{")  # what a killed run leaves
    send(root, output, "--force")
    assert output.is_symlink() and os.path.samestat(output.stat(), folder)
    assert files_of(output) == ALWAYS
    assert (output / "README.md").read_text().startswith("---")
    assert Tagger(output).tag("python", "")


def test_tiers_and_index_go_with_the_model_and_titles_only_if_asked_for(root, tmp_path):
    folder, output = root / "models" / NAME / "onnx", tmp_path / "output"
    assert "similar_titles.txt not found" in stopped(send, root, output, "--titles")
    write_json(folder / TIERS, {"precision": 0.8, "ticked": {}, "shown": 0.05})
    add_index(folder, ["python", "csv"], show_titles=True)
    send(root, output)
    assert files_of(output) == ALWAYS | {"tiers.json", "similar.npz"}
    assert Tagger(output).answer("python", "")["similar"][0]["title"] == ""
    send(root, output, "--titles", "--force")
    assert Tagger(output).answer("python", "")["similar"][0]["title"] == "python"
    for name in ship.OPTIONAL:
        (folder / name).unlink()
    send(root, output, "--force")
    assert files_of(output) == ALWAYS


def test_a_model_in_the_older_layout_is_replaced_and_leaves_no_file(root, tmp_path):
    output = build_model_folder(tmp_path / "output")
    (output / "tagger.json").unlink()
    assert "model_quantized.onnx" in stopped(send, root, output)
    assert (output / "model_quantized.onnx").is_file()
    send(root, output, "--force")
    assert files_of(output) == ALWAYS


def test_a_shipped_model_is_a_repository_of_the_hub_whose_card_works(root, tmp_path):
    send(root, tmp_path / "output", "--title", "Kitchen tags")
    config, tokenizer, settings = (
        json.loads((tmp_path / "output" / name).read_text())
        for name in ("config.json", "tokenizer_config.json", "tagger.json")
    )
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {str(index): tag for index, tag in enumerate(TAGS)}
    assert config["label2id"] == {tag: index for index, tag in enumerate(TAGS)}
    assert tokenizer["model_max_length"] == settings["max_length"] == MAX_LENGTH
    assert (settings["title"], settings["site"]) == ("Kitchen tags", "https://site.example")
    header = yaml.safe_load((tmp_path / "output" / "README.md").read_text().split("---\n")[1])
    assert header["library_name"] == "transformers.js" and header["language"] == "en"
    assert header["base_model_relation"] == "quantized" and header["datasets"] == ["site.example"]
    expected = Tagger(tmp_path / "output").answer("How do I start?", "")["suggested"]
    shown = run_card_example(tmp_path / "output")
    assert shown == {row["tag"]: pytest.approx(row["probability"], abs=1e-3) for row in expected}
    write_json(tmp_path / "output" / "tagger.json", settings | {"alone": {"title": [0.5, -1.0]}})
    calibrated = Tagger(tmp_path / "output").answer("How do I start?", "")["suggested"]
    assert abs(calibrated[0]["probability"] - expected[0]["probability"]) > 0.01
    shown = run_card_example(tmp_path / "output")
    assert shown == {row["tag"]: pytest.approx(row["probability"], abs=1e-3) for row in calibrated}


def test_questions_without_ids_are_not_listed_and_an_older_list_is_removed(root, tmp_path):
    output = tmp_path / "output"
    send(root, output)
    assert b"dataframe" not in gzip.decompress((output / "questions.csv.gz").read_bytes())
    for name in ("ques_filtered.csv", "split.csv"):
        file = root / "data" / name
        file.write_text(file.read_text().replace("/q/", "/topic/"))
    run = json.loads((root / "models" / NAME / "run.json").read_text())
    (root / "models" / NAME / "run.json").write_text(json.dumps(run | {"data_sha256": data_hash(root / "data")}))
    compare.main([*places(root), "--reports-dir", str(root / "reports"), "--force"])
    send(root, output, "--force")
    assert files_of(output) == ALWAYS - {"questions.csv.gz"}
    card, record = (output / "README.md").read_text(), json.loads((output / "run.json").read_text())
    assert "question_list" not in record and "questions.csv.gz" not in card and "make reproduce" not in card
    assert "python training/filter_tags.py" in card


def test_a_better_model_of_the_same_site_keeps_the_page_and_one_of_another_site_does_not(root, tmp_path):
    output, examples = tmp_path / "output", tmp_path / "examples.json"
    bread = {"label": "Flat bread", "title": 'Why is my "bread" flat?', "description": ""}
    write_json(examples, [bread])
    send(root, output, "--title", "Kitchen tags", "--language", "es", "--examples", str(examples))
    first = json.loads((output / "tagger.json").read_text())
    write_json(output / "tagger.json", first | {"max_title": 99, "max_tags": 1, "colour": "red"})
    send(root, output, "--force")
    again = json.loads((output / "tagger.json").read_text())
    assert again == first | {"max_title": 99, "colour": "red"}, "max_tags is what the model was compared with"
    assert again["examples"] == [bread] and len(again["version"]) == 12
    card = (output / "README.md").read_text()
    assert "no language but Spanish" in card and "language: es" in card
    assert run_card_example(output)
    write_json(output / "tagger.json", first | {"site": "https://other.example"})
    send(root, output, "--force")
    other = json.loads((output / "tagger.json").read_text())
    assert (other["title"], other["language"], other["examples"]) == ("Question tagger", "en", [])


@pytest.mark.parametrize(
    "content, complaint",
    [("{", "cannot be read as JSON"), ('{"title": "x"}', "'examples' is {'title': 'x'}, expected a list of objects")],
)
def test_examples_that_cannot_be_read_are_reported_and_nothing_is_shipped(root, tmp_path, content, complaint):
    (tmp_path / "examples.json").write_text(content)
    line = stopped(send, root, tmp_path / "output", "--examples", str(tmp_path / "examples.json"))
    assert complaint in line
    assert not (tmp_path / "output").exists()


def test_the_old_model_stays_until_the_new_one_is_complete(root, tmp_path, monkeypatch):
    send(root, tmp_path / "output")
    before = contents(tmp_path / "output")

    def full(source, target):
        if target.name == "per_tag.tsv":
            target.write_text("half")
            raise OSError("No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", full)
    assert "No space left on device" in stopped(send, root, tmp_path / "output", "--force")
    assert contents(tmp_path / "output") == before


@pytest.mark.parametrize("file", ["model_quantized.onnx", "thresholds.json"])
def test_files_that_were_not_compared_are_neither_shipped_nor_judged(root, tmp_path, file):
    send(root, tmp_path / "output")
    changed = root / "models" / NAME / "onnx" / file
    # A line break more in JSON, an empty doc_string in ONNX: both can still be read.
    changed.write_bytes(changed.read_bytes() + (b"\n" if file.endswith(".json") else b"\x32\x00"))
    for call in (lambda: send(root, tmp_path / "none"), lambda: gate(root)):
        assert "its files are not those that were compared: run  python onnx_export/compare.py --force" in stopped(call)
    assert not (tmp_path / "none").exists()


def spoil(root, tag: str, share: float) -> None:
    """Take ``tag`` from the suggestions of a share of the test questions, as if the model had not given it."""
    path = root / "models" / NAME / "onnx" / "test_decisions.json"
    decisions = json.loads(path.read_text())
    rows = list(decisions["questions"].values())
    for row in rows[: round(share * len(rows))]:
        row[1] = [index for index in row[1] if decisions["tags"][index] != tag]
    targets, chosen = (multi_hot([row[side] for row in rows], range(len(TAGS))) for side in (0, 1))
    measured = tagging_metrics(targets, chosen, chosen.astype(float))
    decisions["figures"] = {figure: measured[figure] for figure in GATE_FIGURES}
    path.write_text(json.dumps(decisions))


def record(root) -> dict[str, tuple[float, float]]:
    """Return {file: its micro and macro F1} of the models on record."""
    files = {path.name: json.loads(path.read_text()) for path in (root / "best").rglob("*.json")}
    return {name: tuple(content["figures"][figure] for figure in GATE_FIGURES) for name, content in files.items()}


def test_the_gate_compares_a_model_to_the_best_ever_shipped_not_to_the_last(root, tmp_path, capsys):
    send(root, tmp_path / "first")
    best = record(root)
    assert set(best) == {"f1_micro.json", "f1_macro.json"}
    gate(root)
    assert "no worse than the best shipped" in capsys.readouterr().out
    spoil(root, "python", 0.02)
    gate(root)  # one question less is within chance
    send(root, tmp_path / "second")
    assert record(root) == best
    for _ in range(2):
        spoil(root, "python", 0.5)
        send(root, tmp_path / "first", "--force")
        assert record(root) == best
        capsys.readouterr()
        assert "worse than the best model that was shipped, by more than chance" in stopped(gate, root)
    said = capsys.readouterr().out
    assert "f1_micro" in said and "[-0." in said


def test_a_small_loss_is_detected_by_the_paired_interval(root, tmp_path):
    send(root, tmp_path / "output")
    metrics = json.loads((tmp_path / "output" / "metrics.json").read_text())["int8"]
    spoil(root, "pandas", 0.15)
    decisions = json.loads((root / "models" / NAME / "onnx" / "test_decisions.json").read_text())
    assert decisions["figures"]["f1_micro"] > metrics["f1_micro_low"] + 0.05
    assert "worse than the best model" in stopped(gate, root)


def test_a_figures_best_model_stays_where_another_is_better_in_the_other_figure(root, tmp_path):
    file = root / "models" / NAME / "onnx" / "test_decisions.json"
    whole = file.read_text()
    spoil(root, "pandas", 1)
    without_pandas = file.read_text()
    send(root, tmp_path / "one")
    (lower,) = set(record(root).values())
    file.write_text(whole)
    send(root, tmp_path / "two")
    (higher,) = set(record(root).values())
    assert higher > lower
    file.write_text(without_pandas)
    send(root, tmp_path / "three")
    assert set(record(root).values()) == {higher}


def test_models_of_other_training_questions_are_paired_but_not_those_of_other_test_questions(root, tmp_path):
    send(root, tmp_path / "output")

    def compare_again(**sizes) -> None:
        write_data(root / "data", **sizes)
        compare.main([*places(root), "--reports-dir", str(root / "reports"), "--force"])

    compare_again(train=20)
    gate(root)
    compare_again(test=56)
    assert "keeps no model that was shipped for the test questions and tags" in stopped(gate, root)
    compare_again()
    gate(root)
    questions = (root / "data" / "ques_filtered.csv").read_text()
    (root / "data" / "ques_filtered.csv").write_text(questions.replace('[""c++""]', '[""optimization""]'))
    compare.main([*places(root), "--reports-dir", str(root / "reports"), "--force"])
    assert "keeps no model" in stopped(gate, root)


def test_the_gate_reports_what_it_cannot_judge_in_one_line(root, tmp_path):
    folder = root / "models" / NAME / "onnx"
    assert "ship one first, with  python onnx_export/ship.py" in stopped(gate, root)
    send(root, tmp_path / "output")
    (best,) = (root / "best").rglob("f1_micro.json")
    for damaged in (best, folder / "test_decisions.json"):
        whole = damaged.read_text()
        wrong = json.loads(whole)
        wrong["questions"][min(wrong["questions"])][1] = [10**6]
        for content in ("", "[]", "{}", whole[:-9], json.dumps(wrong), whole.replace('"f1_micro":', '"f1_micro":1')):
            damaged.write_text(content)
            assert str(damaged) in stopped(gate, root)
            assert str(damaged) in stopped(send, root, tmp_path / "output", "--force")
        damaged.write_text(whole)
    shutil.rmtree(root / "reports")
    (folder / "model_quantized.onnx").rename(tmp_path / "model_quantized.onnx")
    compare.main([*places(root), "--reports-dir", str(root / "reports"), "--force"])
    assert "compared without an int8 model: run  python onnx_export/quantize.py" in stopped(gate, root)
    (folder / "test_decisions.json").unlink()
    assert "test_decisions.json not found: run  python onnx_export/compare.py --force  first" in stopped(gate, root)
