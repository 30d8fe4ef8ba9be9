"""From scraped pages to a compared int8 model: the real stages on the sample site, one tiny model per architecture."""

import gzip
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import psutil
import pytest
import requests
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback

from data.files import read_questions, write_json, write_questions
from data.sample_site.server import SampleSite
from onnx_export import compare, export, quality_gate, quantize, ship
from scraper.pages import parse_question
from tagging.decision import sigmoid, suggest
from tagging.tagger import Tagger
from tests.tiny_backbones import save_backbone, save_other
from training import ablate, baseline, duration, filter_tags, finetune, fitting, recipes, trainers
from training.calibration import expected_calibration_error
from training.checkpoints import newest_checkpoint
from training.dataset import read_part
from training.frozen import use_vectors
from training.metrics import tagging_metrics
from training.model import load_trained, pytorch_scorer
from training.thresholds import best_f1_threshold
from training.trainers import make_trainer

ARCHITECTURES = ["distilroberta-base", "roberta-base", "bert-base-uncased"]
QUICK = ["--epochs", "2", "--batch-size", "8", "--learning-rate", "0.01", "--max-length", "64"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Questions of the sample site, read off its pages, filtered and split."""
    folder = tmp_path_factory.mktemp("data")
    with SampleSite(n=200) as site, requests.Session() as session:
        pages = [site.url + question.path for question in site.questions]
        answers = [session.get(page, params={"noredirect": 1}) for page in pages]  # duplicates lead to their originals
        rows = [parse_question(answer.text, answer.url.partition("?")[0]) for answer in answers if answer.ok]
    questions = pd.DataFrame(rows)
    write_questions(
        folder / "ques_details.csv", questions.assign(creation_date=pd.to_datetime(questions["creation_date"]))
    )
    filter_tags.main(["--data-dir", str(folder), "--min-frequency", "0.03"])
    return folder


@pytest.fixture(scope="module")
def backbones(data_dir, tmp_path_factory):
    texts = read_questions(data_dir / "ques_filtered.csv")["description"].tolist()
    folder = tmp_path_factory.mktemp("backbones")
    return {name: save_backbone(name, texts, folder) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def models_dir(data_dir, backbones, tmp_path_factory):
    """Every architecture and the baseline, trained, exported and quantized."""
    folder = tmp_path_factory.mktemp("models")
    where = ["--data-dir", str(data_dir), "--models-dir", str(folder)]
    baseline.main(where)
    for backbone in backbones.values():
        finetune.main(["--model", str(backbone), *where, *QUICK])
        export.main(["--model", str(backbone), *where])
        quantize.main(["--model", str(backbone), *where, "--allow-drop"])
    return folder


def where(data_dir, models_dir):
    return ["--data-dir", str(data_dir), "--models-dir", str(models_dir)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_writes_a_complete_model_folder(models_dir, name):
    folder = models_dir / name
    run = json.loads((folder / "run.json").read_text())
    tags = json.loads((folder / "tag_types_encoded.json").read_text())
    thresholds = json.loads((folder / "thresholds.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    assert run["arguments"]["seed"] == 42
    assert len(run["data_sha256"]) == 64
    assert len(run["backbone"]["sha256"]) == 64
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o666 & ~mask}
    assert {int(index): tag for index, tag in config["id2label"].items()} == {v: k for k, v in tags.items()}
    assert set(thresholds["per_tag"]) == set(tags)
    assert set(thresholds) == {"global", "per_tag", "calibration", "tuning"}
    settings = json.loads((folder / "tagger.json").read_text())
    assert (settings["fields"], settings["max_length"]) == (["title", "description"], run["arguments"]["max_length"])
    assert settings["site"].startswith("http://127.0.0.1:") and 0 < settings["min_confidence"] < 1
    assert pd.read_csv(folder / "training_log.csv")["epoch"].tolist() == [1.0, 2.0]
    assert (folder / "training_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.rglob("*.bin"))
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("model_file", ["model.onnx", "model_quantized.onnx"])
def test_exported_models_tag_any_text(models_dir, name, model_file):
    tagger = Tagger(models_dir / name / "onnx", model_file)
    tagged = tagger.tag_batch(["How do I plot?", "", "word " * 5000], ["", "🙂 \x00 <b>", "text " * 5000])
    assert all(1 <= len(tags) <= 5 for tags in tagged)
    one_by_one = tagger.probabilities(["a b", "c"], ["d " * 60, "e"])
    padded = tagger.probabilities(["a b", "c"], ["d " * 60, "e"], batch_size=2)
    assert np.abs(one_by_one - padded).max() < 1e-5


def test_quantized_matrices_are_multiplied_in_int8(models_dir):
    for name in ARCHITECTURES:
        folder = models_dir / name / "onnx"
        assert any(
            node.op_type == "MatMulIntegerToFloat" for node in onnx.load(folder / "model_quantized.onnx").graph.node
        )
        assert (folder / "model_quantized.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


def test_comparison_shows_every_model_and_the_reference_apart(data_dir, models_dir, tmp_path, capsys):
    compare.main([*where(data_dir, models_dir), "--reports-dir", str(tmp_path)])
    table = pd.read_csv(tmp_path / "comparison.csv", keep_default_na=False, na_values=[""])
    without_model, models = table[:2], table[2:].set_index(["model", "precision"])
    assert without_model["model"].str.contains("no tags|most frequent").all()
    rows = [(name, precision) for name in sorted(ARCHITECTURES) for precision in ("fp32", "int8")]
    assert list(models.index) == [("tfidf-baseline", "fp32"), *rows]
    costs = ["size_mb", "latency_p50_ms", "latency_p95_ms", "questions_per_second"]
    shares = models.drop(columns=[*costs, "hamming_accuracy", *models.filter(like="_minus_")])
    assert (shares.isna() | (shares.ge(0) & shares.le(1))).all(axis=None)
    assert (models[costs] > 0).all(axis=None)
    baseline = models.loc[("tfidf-baseline", "fp32")]
    assert baseline["f1_micro"] > 0.3  # the baseline learns; of the random encoders nobody expects that
    assert baseline["f1_micro"] > without_model["f1_micro"].max()
    assert (models["empty_answers"] == 0).all()

    text = (tmp_path / "comparison.md").read_text()
    measured, published = text.split("## The reference's published figures")
    assert "tfidf-baseline" in measured
    assert "0.308" in published
    (inputs,) = [part for part in measured.split("## ") if part.startswith("Title, description, and both")]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in inputs.splitlines() if "[" in line]
    expected = [(name, read) for name in sorted(ARCHITECTURES) for read in ("title", "description", "both")]
    assert rows == expected
    for name in ARCHITECTURES:
        metrics = json.loads((models_dir / name / "onnx" / "metrics.json").read_text())
        assert metrics["inputs"]["both"]["f1_micro"] == metrics["int8"]["f1_micro"]  # every question has both
        assert len({figures["calibration_error_shown"] for figures in metrics["inputs"].values()}) == 3
    assert text in capsys.readouterr().out
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.iterdir())) == 6
    for folder in [models_dir / "tfidf-baseline", *(models_dir / name / "onnx" for name in ARCHITECTURES)]:
        assert all((folder / name).stat().st_size for name in ("metrics.json", "per_tag.tsv", "test_decisions.json"))


def test_a_compared_model_is_shipped_with_its_card(data_dir, models_dir, tmp_path):
    compare.main([*where(data_dir, models_dir), "--reports-dir", str(tmp_path / "reports"), "--force"])
    shipped = tmp_path / "deployment" / "model"
    command = ["--model", "bert-base-uncased", *where(data_dir, models_dir), "--output", str(shipped)]
    command += ["--best", str(tmp_path / "best")]
    ship.main(command)
    assert Tagger(shipped).tag("How do I plot?", "")
    card = (shipped / "README.md").read_text()
    metrics = json.loads((shipped / "metrics.json").read_text())
    assert f"| micro F1 | {metrics['fp32']['f1_micro']:.3f} [" in card
    assert "test questions with a description, read by title, by description, and by both:" in card
    assert "google-bert/bert-base-uncased" in card and "licence Apache-2.0" in card and "CC BY-SA" in card
    questions = read_questions(data_dir / "ques_filtered.csv")
    assert f"{len(questions)} questions of 127.0.0.1" in card
    assert "equal and nearly equal questions lie on one side" in card
    assert "\n    python training/filter_tags.py --data-dir data/reproduced --question-list " in card
    run = json.loads((models_dir / "bert-base-uncased" / "run.json").read_text())
    given = {name: value for name, value in run["arguments"].items() if name != "model" and value not in (None, False)}
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given.items())
    assert f"\n    python training/finetune.py --model bert-base-uncased {options} --data-dir data/reproduced " in card
    record = json.loads((shipped / "run.json").read_text())
    assert record["filtering"]["arguments"] == {"min_frequency": 0.03, "split": "random", "seed": 42}
    assert all(f"--{name} " in options for name in ("patience", "weight-decay", "warmup-ratio", "max-steps"))
    assert run["backbone"]["sha256"] in card and f"torch {run['versions']['torch']}" in card
    files = [file for file in shipped.rglob("*.*") if file.suffix not in (".onnx", ".gz")]
    written = "".join(file.read_text() for file in files)
    written += gzip.decompress((shipped / "questions.csv.gz").read_bytes()).decode()
    assert not any(title in written for title in questions["title"])

    with pytest.raises(SystemExit, match="give --force to replace"):
        ship.main(command)
    quality_gate.main([*command[:2], "--models-dir", str(models_dir), "--best", str(tmp_path / "best")])
    (shipped / "notes.txt").touch()
    with pytest.raises(SystemExit, match=r"holds more than a shipped model \(notes.txt\)"):
        ship.main([*command, "--force"])
    other_data = tmp_path / "other"
    shutil.copytree(data_dir, other_data)
    (other_data / "split.csv").write_text("".join((data_dir / "split.csv").read_text().splitlines(True)[::-1][:-1]))
    (other_data / "split.csv").write_text("url,split\n" + (other_data / "split.csv").read_text())
    with pytest.raises(SystemExit, match="not trained and compared"):
        ship.main([*command[:2], *where(other_data, models_dir), "--output", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_ablation_changes_one_step_at_a_time_and_resumes(data_dir, backbones, tmp_path, capsys, monkeypatch):
    options = ["--batch-size", "8", "--learning-rate", "0.01", "--max-length", "64", "--epochs", "1"]
    command = ["--model", str(backbones["bert-base-uncased"]), "--data-dir", str(data_dir), *options]
    changed = [name for name, (_, _, change) in ablate.VARIANTS.items() if change]
    changed += ["title left out", "encoder frozen"]
    ablate.main([*command, "--reports-dir", str(tmp_path), "--variants", *changed])
    scores = {path.stem: np.load(path) for path in (tmp_path / "ablation").glob("*.npy")}
    assert len(scores) == len(changed) + 1
    recipe = scores.pop("the-recipe")
    assert all((logits != recipe).any() and np.isfinite(logits).all() for logits in scores.values())
    text = (tmp_path / "ablation.md").read_text()
    assert all(f"| {name} |" in text for name in (ablate.RECIPE, *changed, "threshold 0.5"))
    assert text.partition("\n\n<!--")[0] in capsys.readouterr().out

    trained = []
    monkeypatch.setattr(ablate, "train_variant", lambda name, *_: trained.append(name) or recipe)
    (tmp_path / "ablation" / "focal-loss.npy").unlink()
    ablate.main([*command, "--reports-dir", str(tmp_path), "--variants", *changed])
    assert trained == ["focal loss"]
    with pytest.raises(SystemExit, match="other options or data"):
        ablate.main([*command, "--reports-dir", str(tmp_path), "--seed", "1"])


def test_results_are_not_overwritten_without_force(data_dir, models_dir, tmp_path):
    backbone = ["--model", "bert-base-uncased"]
    for stage in (finetune, export, quantize):
        with pytest.raises(SystemExit, match="give --force to replace"):
            stage.main([*backbone, *where(data_dir, models_dir)])
    with pytest.raises(SystemExit, match="give --force to replace"):
        filter_tags.main(["--data-dir", str(data_dir)])
    with pytest.raises(SystemExit, match="give --force to replace"):
        baseline.main(where(data_dir, models_dir))
    (tmp_path / "comparison.md").touch()
    with pytest.raises(SystemExit, match="give --force to replace"):
        compare.main([*where(data_dir, models_dir), "--reports-dir", str(tmp_path)])


@pytest.fixture(scope="module")
def references_dir(data_dir, backbones, models_dir, tmp_path_factory):
    """A model by our recipe and by both of the reference's, trained, exported and quantized."""
    folder = tmp_path_factory.mktemp("references")
    shutil.copytree(models_dir / "bert-base-uncased", folder / "bert-base-uncased")
    for recipe in ("reference", "reference-tuned"):
        options = ["--model", str(backbones["bert-base-uncased"]), "--recipe", recipe]
        finetune.main([*options, *where(data_dir, folder), *QUICK])
        command = ["--model", f"bert-base-uncased-{recipe}", *where(data_dir, folder)]
        export.main(command)
        quantize.main([*command, "--allow-drop"])
    return folder


def test_the_reference_reads_descriptions_only_at_a_fixed_threshold(references_dir):
    tagger = Tagger(references_dir / "bert-base-uncased-reference" / "onnx")
    assert set(tagger.rule.thresholds) == {tagger.rule.threshold} == {0.5}
    one, other, another = tagger.probabilities(["first title", "second title", ""], ["some text", "some text", "more"])
    assert (one == other).all()
    assert (one != another).any()


def test_the_tuned_reference_reads_titles_too_at_one_threshold_tuned_for_int8(data_dir, references_dir):
    tagger = Tagger(references_dir / "bert-base-uncased-reference-tuned" / "onnx")
    (threshold,) = {*tagger.rule.thresholds, tagger.rule.threshold}
    validation = read_part(data_dir, "validation")
    scores = tagger.raw_probabilities(validation.titles, validation.descriptions)
    assert threshold != 0.5
    assert threshold == pytest.approx(best_f1_threshold(validation.targets, scores)[0], abs=1e-6)
    one, other = tagger.probabilities(["first title", "second title"], ["some text", "some text"])
    assert (one != other).any()


def test_the_comparison_shows_the_recipes_side_by_side(data_dir, references_dir, tmp_path):
    compare.main([*where(data_dir, references_dir), "--reports-dir", str(tmp_path), "--force"])
    rows = pd.read_csv(tmp_path / "comparison.csv")["model"].dropna().tolist()
    names = ["bert-base-uncased", "bert-base-uncased-reference", "bert-base-uncased-reference-tuned"]
    assert [row for row in rows if row in names] == [name for name in names for _ in ("fp32", "int8")]


def test_every_stage_rejects_questions_without_descriptions_for_the_reference(
    data_dir, references_dir, backbones, tmp_path
):
    titles_only = read_questions(data_dir / "ques_filtered.csv").assign(description="\u200b \n")
    for name in ("split.csv", "tag_types_encoded.json"):
        shutil.copyfile(data_dir / name, tmp_path / name)
    write_questions(tmp_path / "ques_filtered.csv", titles_only)
    places = where(tmp_path, references_dir)
    backbone, reference = ["--model", str(backbones["bert-base-uncased"])], ["--model", "bert-base-uncased-reference"]
    variant = ["--variants", "title left out", "--data-dir", str(tmp_path), "--reports-dir", str(tmp_path / "reports")]
    for stage, options in (
        (finetune, [*backbone, *where(tmp_path, tmp_path / "models"), "--recipe", "reference"]),
        (export, [*reference, *places, "--force"]),
        (quantize, [*reference, *places, "--force"]),
        (compare, [*places, "--reports-dir", str(tmp_path / "reports"), "--force"]),
        (ablate, [*backbone, *variant]),
    ):
        with pytest.raises(SystemExit, match=r"reads description alone, blank in 100% of \d+ questions"):
            stage.main(options)
    assert not (tmp_path / "models").exists() and not (tmp_path / "reports").exists()


def test_variants_without_input_are_left_out_of_the_ablation(data_dir, capsys):
    titles_only = replace(read_part(data_dir, "train"), descriptions=[""] * len(read_part(data_dir, "train")))
    asked = ablate.asked(ablate.parse_args([]), titles_only, titles_only)
    assert set(ablate.VARIANTS) - set(asked) == {"title left out", "the reference"}
    assert "left out: the variant 'the reference' reads description alone" in capsys.readouterr().out


def test_the_encoder_is_frozen_in_the_first_phase_and_nothing_stops_it_early(data_dir, backbones, tmp_path):
    command = ["--model", str(backbones["roberta-base"]), "--recipe", "reference", *QUICK, "--patience", "1"]
    settings = finetune.settings_of(finetune.parse_args([*command, "--epochs", "1", "--head-learning-rate", "0.1"]))
    parts = read_part(data_dir, "train"), read_part(data_dir, "validation")
    frozen = make_trainer(settings, 42, tmp_path / "frozen", backbones["roberta-base"], *parts, "frozen", 0.1)
    before = {name: weights.clone() for name, weights in frozen.model.state_dict().items()}
    frozen.train()
    after = frozen.model.state_dict()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed == {name for name in before if name.startswith("classifier.")}
    assert not any(isinstance(callback, EarlyStoppingCallback) for callback in frozen.callback_handler.callbacks)

    whole = make_trainer(settings, 42, tmp_path / "whole", backbones["roberta-base"], *parts)
    assert all(weights.requires_grad for weights in whole.model.parameters())
    rates = {group["lr"] for group in whole.optimizer.param_groups}
    assert (min(rates), max(rates)) == (pytest.approx(0.001), pytest.approx(0.01))
    assert len(rates) == 4  # embeddings and three layers


def test_a_sweep_keeps_the_better_learning_rate_of_each_phase(data_dir, backbones, tmp_path, monkeypatch):
    command = ["--model", str(backbones["bert-base-uncased"]), "--recipe", "reference-tuned", *QUICK, "--sweep"]
    monkeypatch.setattr(recipes, "RATES", {"frozen": (0.03, 1e-9), "whole": (1e-9, 0.03)})
    finetune.main([*command, *where(data_dir, tmp_path)])
    folder = tmp_path / "bert-base-uncased-reference-tuned"
    run, log = json.loads((folder / "run.json").read_text()), pd.read_csv(folder / "training_log.csv")
    scores = run["sweep"]["42"]
    assert scores["frozen"]["0.03"] > scores["frozen"]["1e-09"]
    assert run["f1_micro_validation"] == pytest.approx(max(scores["whole"].values()))
    assert log["epoch"].tolist() == [1, 2, 3, 4]
    assert log["f1_micro"][:2].max() == pytest.approx(scores["frozen"]["0.03"])
    with pytest.raises(SystemExit):
        finetune.parse_args(["--sweep"])


@pytest.fixture
def easy_data_dir(tmp_path):
    """Questions of many lengths whose tag is one of their words, some hundred for each of four tags."""
    rng = np.random.default_rng(0)
    words = {"plot": "matplotlib", "tensor": "pytorch", "frame": "pandas", "query": "sql"}
    rows = []
    for number in range(400):
        word = rng.choice(list(words))
        filler = rng.choice(["how", "do", "the", "with", "some", "data"], rng.integers(1, 40)).tolist()
        rows.append([word, " ".join([*filler, word, "case", str(number)]), [words[word]], f"https://site/{number}"])
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_details.csv", questions)
    filter_tags.main(["--data-dir", str(tmp_path)])
    return tmp_path


@pytest.fixture
def easy_backbone(easy_data_dir):
    texts = read_questions(easy_data_dir / "ques_filtered.csv")["description"].tolist()
    return save_backbone("bert-base-uncased", texts, easy_data_dir)


def test_the_tagger_gives_what_was_learned(easy_data_dir, easy_backbone):
    command = ["--model", str(easy_backbone), *where(easy_data_dir, easy_data_dir / "models")]
    finetune.main([*command, *QUICK, "--epochs", "8", "--learning-rate", "0.003"])
    export.main(command)
    quantize.main(command)
    validation = read_part(easy_data_dir, "validation")
    for model_file in ("model.onnx", "model_quantized.onnx"):
        tagger = Tagger(easy_data_dir / "models" / "bert-base-uncased" / "onnx", model_file)
        probabilities = tagger.probabilities(validation.titles, validation.descriptions)
        chosen = suggest(probabilities, tagger.rule.threshold)
        assert tagging_metrics(validation.targets, chosen, probabilities)["f1_micro"] > 0.9


def test_a_frozen_encoder_stays_as_it_is_and_its_head_learns(easy_data_dir, easy_backbone, capsys):
    """The encoder is a random one, whose vectors hold the words all the same."""
    command = ["--model", str(easy_backbone), *where(easy_data_dir, easy_data_dir / "models")]
    finetune.main([*command, "--freeze-encoder", "--max-length", "64", "--batch-size", "32"])
    folder = easy_data_dir / "models" / "bert-base-uncased-frozen-encoder"
    backbone, trained = load_file(easy_backbone / "model.safetensors"), load_file(folder / "model.safetensors")
    encoder = {name for name in trained if name.startswith("encoder.")}
    assert set(trained) - encoder == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(trained[name], backbone[name.removeprefix("encoder.")]) for name in encoder)
    assert "computing the vectors of 320 questions" in capsys.readouterr().out

    run = json.loads((folder / "run.json").read_text())
    assert run["arguments"]["recipe"] == "frozen-encoder"
    export.main(["--model", folder.name, *command[2:]])  # compares PyTorch and ONNX on the validation questions
    quantize.main(["--model", folder.name, *command[2:], "--allow-drop"])
    validation = read_part(easy_data_dir, "validation")
    guess = np.tile(read_part(easy_data_dir, "train").targets.mean(axis=0), (len(validation), 1))
    prior = tagging_metrics(validation.targets, suggest(guess, guess.max()), guess)["f1_micro"]
    for model_file in ("model.onnx", "model_quantized.onnx"):
        tagger = Tagger(folder / "onnx", model_file)
        probabilities = tagger.probabilities(validation.titles, validation.descriptions)
        chosen = tagger.rule.suggest(tagger.rule.probabilities(probabilities))
        assert tagging_metrics(validation.targets, chosen, probabilities)["f1_micro"] > prior + 0.2


def test_a_title_alone_is_as_well_calibrated_as_a_whole_question(easy_data_dir, easy_backbone):
    """A frozen encoder's head learns from whole questions; the vector of a single word lies far from theirs."""
    command = ["--model", str(easy_backbone), *where(easy_data_dir, easy_data_dir / "models")]
    finetune.main([*command, "--freeze-encoder", "--max-length", "64", "--batch-size", "32"])
    folder = easy_data_dir / "models" / "bert-base-uncased-frozen-encoder"
    record = json.loads((folder / "run.json").read_text())["calibration"]
    settings = json.loads((folder / "tagger.json").read_text())
    alone = record["title_alone"]
    assert settings["alone"]["title"] == [alone["slope"], alone["intercept"]]
    assert alone["error_after"] < alone["error_before"] / 2

    test = read_part(easy_data_dir, "test")
    errors = []
    for lines in (settings["alone"], {}):
        write_json(folder / "tagger.json", settings | {"alone": lines})
        probabilities = sigmoid(np.array([pytorch_scorer(folder)(title, "") for title in test.titles]))
        errors.append(expected_calibration_error(test.targets, probabilities))
    assert errors[0] < errors[1] / 2


def test_a_network_answers_to_the_vectors_of_questions_as_to_the_questions(easy_data_dir, easy_backbone, tmp_path):
    parts = read_part(easy_data_dir, "train"), read_part(easy_data_dir, "validation")
    settings = finetune.settings_of(finetune.parse_args(["--model", str(easy_backbone), "--freeze-encoder"]))
    trainer = make_trainer(settings, 42, tmp_path, easy_backbone, *parts, recipes.FROZEN)
    trainer.args.group_by_length = False
    of_questions = trainer.predict(trainer.eval_dataset).predictions
    use_vectors(trainer)
    assert np.abs(trainer.predict(trainer.eval_dataset).predictions - of_questions).max() < 1e-4


def test_vectors_of_a_frozen_encoder_have_one_length_but_in_older_folders(easy_data_dir, easy_backbone, tmp_path):
    parts = read_part(easy_data_dir, "train"), read_part(easy_data_dir, "validation")
    settings = finetune.settings_of(finetune.parse_args(["--model", str(easy_backbone), "--freeze-encoder"]))
    trainer = make_trainer(settings, 42, tmp_path / "checkpoints", easy_backbone, *parts, recipes.FROZEN)
    trainer.save_model(str(tmp_path / "model"))
    inputs = trainer.processing_class(["python", "python pandas " * 20], padding=True, return_tensors="pt")

    def mean_squares() -> np.ndarray:
        with torch.inference_mode():
            return load_trained(tmp_path / "model").embed(**inputs).square().mean(dim=1).numpy()

    assert mean_squares() == pytest.approx(1, abs=1e-4)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    del config["pooling"]
    write_json(tmp_path / "model" / "config.json", config)
    assert abs(mean_squares() - 1).min() > 1e-4


def test_a_training_says_how_long_it_takes(data_dir, backbones, tmp_path, capsys):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK, "--runs", "2"]
    finetune.main(command)
    assert re.search(
        r"^about 1 minute for 2 epochs x 2 runs on \d+ cores?, or less with early stopping; --minutes N fits the "
        r"training into a budget, --freeze-encoder trains only the head in about 1 minute$",
        capsys.readouterr().out,
        re.MULTILINE,
    )


@pytest.fixture
def slow(monkeypatch):
    """Steps so slow that an epoch takes 10 minutes."""
    monkeypatch.setattr(duration, "measure", lambda *_: duration.Speed(600, 60, 120, 20, "2 cores"))


def test_a_training_is_fitted_into_its_time(data_dir, backbones, tmp_path, capsys, slow):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK, "--epochs", "3"]
    finetune.main([*command, "--runs", "2", "--minutes", "25"])
    text = (
        "--minutes 25: about 21 minutes for 2 epochs x 1 run on 2 cores; without it, about 61 minutes for 3 epochs x 2"
    )
    assert text in capsys.readouterr().out
    run = json.loads((tmp_path / "bert-base-uncased" / "run.json").read_text())
    assert (run["arguments"]["epochs"], run["arguments"]["runs"], run["budget_minutes"]) == (2, 1, 25)
    log = pd.read_csv(tmp_path / "bert-base-uncased" / "training_log.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert (
        log["learning_rate"].iloc[-1] < log["learning_rate"].iloc[0] / 5
    )  # it falls to its end in the epochs that fit


def test_a_time_too_short_for_any_training_is_rejected(data_dir, backbones, tmp_path, slow):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK]
    with pytest.raises(SystemExit, match=r"--minutes 1: .* takes at least 2 minutes; --freeze-encoder trains only .*"):
        finetune.main([*command, "--minutes", "1"])
    assert not (tmp_path / "bert-base-uncased").exists()


def test_a_resumed_training_keeps_its_plan(data_dir, backbones, tmp_path, capsys, slow, monkeypatch):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK, "--epochs", "4"]
    save = trainers.write_json

    def killed(path, content):
        save(path, content)
        if path.name == "history.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainers, "write_json", killed)
        finetune.main([*command, "--minutes", "25"])
    with pytest.raises(SystemExit, match="other options, data or versions"):
        finetune.main([*command, "--minutes", "35", "--resume"])
    monkeypatch.setattr(duration, "measure", lambda *_: pytest.fail("it was planned again"))
    finetune.main([*command, "--minutes", "25", "--resume"])
    assert pd.read_csv(tmp_path / "bert-base-uncased" / "training_log.csv")["epoch"].tolist() == [1, 2]


def test_max_length_is_limited_by_the_encoders_positions(easy_data_dir, capsys):
    texts = read_questions(easy_data_dir / "ques_filtered.csv")["description"].tolist()
    backbone = save_other("squeezebert", texts, easy_data_dir, max_position_embeddings=24)
    command = ["--model", str(backbone), *where(easy_data_dir, easy_data_dir / "models")]
    finetune.main([*command, "--max-steps", "3"])
    assert "reads at most 24 tokens, fewer than --max-length 256" in capsys.readouterr().out
    run = json.loads((easy_data_dir / "models" / "squeezebert" / "run.json").read_text())
    assert run["arguments"]["max_length"] == 24
    export.main(command)
    quantize.main([*command, "--allow-drop"])
    assert Tagger(easy_data_dir / "models" / "squeezebert" / "onnx").tag("word " * 100, "word " * 100)


def test_training_resumes_after_a_kill(data_dir, backbones, tmp_path, capsys):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK]
    command += ["--epochs", "4", "--patience", "4", "--runs", "2"]
    folder = tmp_path / "bert-base-uncased"
    # as in a script that is started again until it ends well
    always = [sys.executable, "training/finetune.py", *command, "--resume"]
    shown = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    shown["OMP_DISPLAY_ENV"] = "VERBOSE"
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(always, stdout=subprocess.DEVNULL, stderr=stderr, env=shown)
    while not newest_checkpoint(folder / "checkpoints/seed-43"):
        assert process.poll() is None, "training ended before its first checkpoint was seen"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "run.json").exists()
    if sys.platform == "linux":  # its threads that wait soon leave the cores to other programs
        assert "GOMP_SPINCOUNT = '10000'" in (tmp_path / "stderr").read_text()

    with pytest.raises(SystemExit, match=r"give --resume to continue, or --force to start over$"):
        finetune.main(command)
    with pytest.raises(SystemExit, match="other options, data or versions"):
        finetune.main([*command, "--resume", "--seed", "1"])
    history = folder / "checkpoints/seed-42/history.json"  # marked, to see that a finished run is not trained again
    history.write_text(json.dumps([entry | {"eval_loss": 99} for entry in json.loads(history.read_text())]))
    cut = [folder / "checkpoints/seed-43/checkpoint-999", *folder.glob("checkpoints/seed-43/checkpoint-*")]
    shutil.copytree(cut[1], cut[0])  # as of a kill while a checkpoint was written
    (cut[0] / "trainer_state.json").unlink()
    finetune.main([*command, "--resume"])
    assert "checkpoint-999 incomplete, removed; resuming from checkpoint-" in capsys.readouterr().out
    log = pd.read_csv(folder / "training_log.csv")
    assert log["epoch"].tolist() == [1, 2, 3, 4] * 2
    assert log["seed"].tolist() == [42] * 4 + [43] * 4
    assert (log["validation_loss"] == 99).tolist() == [True] * 4 + [False] * 4


def test_a_resumed_training_keeps_the_precision_that_run_json_records(data_dir, backbones, tmp_path, monkeypatch):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK]
    checkpoints = tmp_path / "bert-base-uncased" / "checkpoints"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(fitting, "choose_precision", lambda: "bf16")
        patched.setattr(fitting, "save_result", killed)
        finetune.main(command)

    saved = []
    with monkeypatch.context() as patched:
        for module in (fitting, trainers):
            patched.setattr(module, "choose_precision", lambda: "fp32")
        patched.setattr(fitting, "save_result", lambda *results: saved.extend(results))
        finetune.main([*command, "--resume"])
    trainer, _, _, _, run, *_ = saved
    assert (run["precision"], trainer.args.bf16) == ("bf16", True)

    started = checkpoints / "run.json"
    started.write_text(started.read_text().replace('"bf16"', '"fp16"'))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="a training in fp16, which this machine does not support"):
        finetune.main([*command, "--resume"])


def test_a_kill_while_a_model_is_replaced_leaves_no_record_of_the_old_one(data_dir, backbones, tmp_path, monkeypatch):
    command = ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path), *QUICK]
    folder = tmp_path / "bert-base-uncased"
    finetune.main(command)
    old = (folder / "model.safetensors").read_bytes()
    replace = Path.replace

    def killed(path, target):
        if path.name == "run.json" and target == folder / "run.json":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", killed)
        finetune.main([*command, "--force", "--seed", "7"])
    assert (folder / "model.safetensors").read_bytes() != old
    assert not (folder / "run.json").exists()
    finetune.main([*command, "--resume", "--seed", "7"])
    assert json.loads((folder / "run.json").read_text())["arguments"]["seed"] == 7
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize(("stage", "whole"), [(filter_tags, "split.csv"), (baseline, "tfidf-baseline/model.npz")])
def test_a_kill_while_results_are_overwritten_leaves_none_that_look_complete(stage, whole, easy_data_dir, monkeypatch):
    command = ["--data-dir", str(easy_data_dir), "--force"]
    if stage is baseline:
        command = [*where(easy_data_dir, easy_data_dir), "--force"]
        baseline.main(command)
    assert (easy_data_dir / whole).is_file()

    def killed(path, content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stage, "write_json", killed)
        stage.main(command)
    assert not (easy_data_dir / whole).exists()


def test_runs_are_averaged(data_dir, backbones, tmp_path):
    weights = {}
    for name, options in {"both": ["--runs", "2"], "first": [], "second": ["--seed", "43"]}.items():
        finetune.main(
            ["--model", str(backbones["bert-base-uncased"]), *where(data_dir, tmp_path / name), *QUICK, *options]
        )
        weights[name] = load_file(tmp_path / name / "bert-base-uncased" / "model.safetensors")
    trained = "encoder.encoder.layer.0.output.dense.weight"
    both, first, second = (weights[name][trained] for name in ("both", "first", "second"))
    assert (first - second).abs().max() > 1e-3
    assert (both - (first + second) / 2).abs().max() < 1e-5


def test_two_processes_train_the_model_that_one_trains_and_resume_when_they_are_lost(easy_data_dir, easy_backbone):
    long = ["--epochs", "8", "--learning-rate", "0.003", "--max-length", "64"]
    folders = [easy_data_dir / "one", easy_data_dir / "two"]
    one, two = (["--model", str(easy_backbone), *where(easy_data_dir, folder), *long] for folder in folders)
    finetune.main([*one, "--batch-size", "8"])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "training/finetune.py"]
    lost = subprocess.Popen(
        [*torchrun, *two, "--batch-size", "4"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    saved = folders[1] / "bert-base-uncased" / "checkpoints" / "seed-42"
    while not list(saved.glob("checkpoint-*/trainer_state.json")):
        assert lost.poll() is None
        time.sleep(0.02)
    for process in [*psutil.Process(lost.pid).children(recursive=True), lost]:
        process.kill()
    done = subprocess.run([*torchrun, *two, "--batch-size", "4", "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written:") == 1
    runs = [json.loads((folder / "bert-base-uncased/run.json").read_text()) for folder in folders]
    reached = [run["f1_micro_validation"] for run in runs]
    assert min(reached) > 0.9
    assert abs(reached[0] - reached[1]) <= 0.01


def test_the_notebooks_run_from_top_to_bottom(data_dir, models_dir, tmp_path):
    compare.main([*where(data_dir, models_dir), "--reports-dir", str(tmp_path), "--force"])
    places = {"DATA_DIR": str(data_dir), "MODELS_DIR": str(models_dir), "MODEL": "roberta-base"}
    command = [sys.executable, "-m", "pytest", "--quiet", "--nbmake", "notebooks", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | places)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
