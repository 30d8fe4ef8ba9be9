"""The parts of training: thresholds, the loss, the optimizer, checkpoints, and what a model was made from."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from safetensors.torch import save_file
from transformers import BertConfig, Trainer, TrainingArguments

from tagging.decision import DecisionRule, sigmoid, suggest
from tagging.encoding import encode
from tagging.settings import FIELDS
from tests.tiny_backbones import save_other
from training import processor, tfidf, tokenized
from training.calibration import expected_calibration_error, line_that_generalizes
from training.checkpoints import newest_checkpoint, remove_half_written
from training.dataset import Part, check_fields
from training.duration import Speed, fit
from training.fields import questions_with_both
from training.losses import LOSSES, divergence
from training.metrics import tagging_metrics
from training.model import QuestionTagger, layer_depths
from training.provenance import commit, describe_backbone
from training.recipes import TrainingSettings
from training.reference import OneCycleTrainer, rates_by_depth
from training.results import plot_log
from training.thresholds import FAVOURED, PER_TAG, TUNINGS, best_f1_threshold, tune_thresholds
from training.tokenized import TokenizedQuestions
from training.trainers import load_backbone_tokenizer, make_optimizer, training_arguments


def test_the_best_threshold_has_the_highest_f1():
    rng = np.random.default_rng(0)
    targets, scores = rng.random(200) < 0.2, rng.random(200).round(2)  # with ties
    threshold, f1 = best_f1_threshold(targets, scores)

    def f1_at(cut):
        chosen = scores >= cut
        return 2 * (chosen & targets).sum() / (chosen.sum() + targets.sum())

    assert f1 == pytest.approx(f1_at(threshold)) == pytest.approx(max(map(f1_at, np.linspace(0, 1, 2001))))
    assert threshold not in scores


def test_targets_without_a_positive_are_rejected():
    with pytest.raises(ValueError, match="no positive target"):
        best_f1_threshold(np.zeros(3, bool), np.ones(3))


def test_thresholds_of_rare_tags_are_near_the_global_one():
    targets = np.zeros((400, 3), bool)
    targets[:200, 0] = targets[0, 1] = True
    scores = np.full((400, 3), 0.1)
    scores[:200, 0], scores[200:, 0] = 0.4, 0.3  # many positives, best cut 0.35
    scores[0, 1] = 0.9  # one positive, best cut 0.5
    thresholds = tune_thresholds(targets, scores, ["frequent", "rare", "unseen"])
    own = {"frequent": 0.35, "rare": 0.5}
    assert thresholds.per_tag["unseen"] == thresholds.global_threshold == pytest.approx(0.35)
    assert thresholds.per_tag["frequent"] == pytest.approx(own["frequent"], abs=0.01)
    assert 0.35 < thresholds.per_tag["rare"] < 0.38


def test_thresholds_for_macro_f1_follow_a_rare_tag_and_those_for_micro_f1_none():
    """Each tag has its best cut at another score: one threshold for all is best for the frequent one alone."""
    rng = np.random.default_rng(0)
    targets = rng.random((600, 2)) < [0.4, 0.02]
    scores = np.clip(np.where(targets, [0.7, 0.3], [0.4, 0.1]) + 0.1 * rng.standard_normal(targets.shape), 0.001, 0.999)
    tags = ["frequent", "rare"]
    f1 = {}
    for name in ("", *FAVOURED):
        tuned = TUNINGS[FAVOURED.get(name, PER_TAG)](targets, scores, tags)
        rule = DecisionRule.of(tuned, tags)
        f1[name] = tagging_metrics(targets, rule.suggest(rule.probabilities(scores)), scores)["f1_macro"]
        assert TUNINGS[tuned.tuning](targets, scores, tags) == tuned  # as quantize.py tunes them again
    assert f1["micro"] < f1[""] < f1["macro"]


def test_tuned_thresholds_beat_one_half_on_underconfident_scores():
    rng = np.random.default_rng(0)
    targets = rng.random((500, 10)) < 0.1
    scores = np.clip(0.05 + 0.25 * targets + 0.05 * rng.standard_normal(targets.shape), 0.001, 0.999)
    tuned = tune_thresholds(targets, scores, [str(tag) for tag in range(10)])
    rule = DecisionRule.of(tuned, [str(tag) for tag in range(10)])
    chosen = rule.suggest(rule.probabilities(scores)), suggest(scores, 0.5)
    f1 = [tagging_metrics(targets, tags, scores)["f1_micro"] for tags in chosen]
    assert f1[0] > f1[1] + 0.1


def test_logits_are_put_through_a_line_only_if_it_lowers_the_loss_of_unseen_questions():
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 2, size=(400, 20))
    targets = rng.random(logits.shape) < sigmoid(logits)
    slope, intercept = line_that_generalizes(targets, 2 * logits + 3)
    assert (slope, intercept) == (pytest.approx(0.5, abs=0.05), pytest.approx(-1.5, abs=0.15))
    few = [line_that_generalizes(targets[rows : rows + 10], logits[rows : rows + 10]) for rows in range(0, 400, 10)]
    assert few.count(None) > len(few) / 2, "calibrated already"


@pytest.mark.parametrize(("described", "read"), [(9, 0), (10, 10), (20, 20), (3000, 1000)])
def test_questions_are_read_by_each_field_where_half_or_more_have_both(described, read):
    """Of twice as many questions as have a description, or half as many more."""
    for others, expected in ((described, read), (described + 1, 0)):
        titles, texts = ["a title"] * (described + others), ["text"] * described + [" "] * others
        part = Part(titles, texts, np.ones((len(titles), 2), dtype=bool), ["a", "b"], titles)
        rows = questions_with_both(part)
        assert len(rows) == len(set(rows)) == expected and (rows < described).all()


def test_displayed_probabilities_are_calibrated_and_agree_with_the_thresholds():
    """Each tag's scores lie by another shift beside the truth, so that each has another best threshold."""
    rng = np.random.default_rng(0)
    truth = rng.normal(-2, 2, size=(4000, 8))
    targets = rng.random(truth.shape) < sigmoid(truth)
    tags = [str(tag) for tag in range(8)]
    raw = sigmoid(1.5 * truth + np.linspace(-1, 1, 8))
    fitted, unseen = slice(0, 2000), slice(2000, 4000)
    tuned = tune_thresholds(targets[fitted], raw[fitted], tags)
    rule = DecisionRule.of(tuned, tags)
    shown = rule.probabilities(raw[unseen])
    before, after = (expected_calibration_error(targets[unseen], scores) for scores in (raw[unseen], shown))
    assert after < 0.02 < before
    cuts = np.array([tuned.per_tag[tag] for tag in tags])
    assert ((shown >= rule.threshold) == (raw[unseen] >= cuts)).all()


@pytest.fixture
def model():
    """A random tagger of three tags."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config.num_labels = 3
    return QuestionTagger(config)


def test_the_consistency_term_is_added_in_training_only(model):
    inputs = {"input_ids": torch.randint(30, (4, 6)), "attention_mask": torch.ones(4, 6, dtype=torch.long)}
    labels = torch.eye(3)[[0, 1, 2, 0]]

    def loss(consistency: float) -> float:
        torch.manual_seed(1)  # the same dropout
        model.consistency = consistency
        return model(**inputs, labels=labels).loss.item()

    none, some, twice = loss(1e-9), loss(1.0), loss(2.0)
    assert some > none
    assert twice - none == pytest.approx(2 * (some - none), rel=1e-3)
    model.eval()
    assert loss(0.0) == loss(1.0)


def test_the_divergence_is_the_symmetric_kullback_leibler_divergence():
    first, second = torch.tensor([[0.3, -2.0]]), torch.tensor([[1.5, 0.0]])
    p, q = (torch.distributions.Bernoulli(logits=logits) for logits in (first, second))
    expected = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    assert divergence(first, second).item() == pytest.approx(expected.mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_lower_for_the_better_answer_and_is_used_by_the_model(name, model):
    labels = torch.eye(3)[[0, 1, 2, 0]]
    answer = 3 * (2 * labels - 1)
    right, unsure, wrong = (LOSSES[name](logits, labels) for logits in (answer, 0 * answer, -answer))
    assert right.shape == (4,) and (right >= 0).all() and (right < unsure).all() and (unsure < wrong).all()
    model.loss_name = name
    model.eval()
    logits = model(torch.ones(4, 6, dtype=torch.long), torch.ones(4, 6, dtype=torch.long), labels=labels)
    assert logits.loss == LOSSES[name](logits.logits, labels).mean()


def test_weights_decay_but_biases_and_normalizations_do_not(model, tmp_path):
    trainer = Trainer(model, TrainingArguments(str(tmp_path), weight_decay=0.3, report_to="none", use_cpu=True))
    transformers_own = trainer.create_optimizer()
    rates = {name: 1e-3 if name.startswith("classifier") else 1e-4 for name, _ in model.named_parameters()}
    ours = make_optimizer(trainer, rates, weight_decay=0.3)

    def decay(optimizer):
        names = {id(weights): name for name, weights in model.named_parameters()}
        groups = optimizer.param_groups
        return {names[id(weights)]: group["weight_decay"] for group in groups for weights in group["params"]}

    assert decay(ours) == decay(transformers_own)
    assert decay(ours)["classifier.weight"] == 0.3
    assert decay(ours)["classifier.bias"] == decay(ours)["encoder.embeddings.LayerNorm.weight"] == 0
    learning_rates = {id(weights): group["lr"] for group in ours.param_groups for weights in group["params"]}
    assert {name: learning_rates[id(weights)] for name, weights in model.named_parameters()} == rates


def test_layers_are_counted_from_the_input(model):
    depths = layer_depths(model)
    assert depths["encoder.embeddings.word_embeddings.weight"] == depths["encoder.embeddings.LayerNorm.bias"] == 0
    assert depths["encoder.encoder.layer.0.output.dense.weight"] == depths["classifier.weight"] == 1


@pytest.mark.parametrize("updates", [1, 4, 5, 100])
def test_a_one_cycle_schedule_rises_and_falls(updates, model, tmp_path):
    trainer = OneCycleTrainer(model, TrainingArguments(str(tmp_path), report_to="none", use_cpu=True))
    trainer.optimizer = make_optimizer(trainer, rates_by_depth(model, 1e-2), weight_decay=0)
    schedule = trainer.create_scheduler(updates)
    rates = []
    for _ in range(updates):
        rates.append(max(schedule.get_last_lr()))
        trainer.optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-2 / 25)
    if updates == 100:
        assert max(rates) == rates[24] == pytest.approx(1e-2)
        assert rates[-1] < 1e-4
    assert min(schedule.get_last_lr()) == pytest.approx(max(schedule.get_last_lr()) / 10)


@pytest.mark.parametrize(
    ("flags", "fp32", "bf16", "expected"),
    [
        ({"avx2"}, 2.0, 1.0, False),
        ({"avx512_bf16"}, 1.0, 1.5, False),
        ({"avx512_bf16"}, 1.1, 1.0, False),
        ({"avx512_bf16"}, 1.5, 1.0, True),
        ({"avx512_bf16", "amx_bf16"}, 2.0, 1.0, True),
    ],
)
def test_training_on_a_cpu_is_in_bf16_only_where_it_is_faster(flags, fp32, bf16, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "cpu_flags", lambda: flags)
    monkeypatch.setattr(processor, "seconds_per_product", lambda: (fp32, bf16))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = training_arguments(TrainingSettings(), 0, tmp_path)
    assert (arguments.bf16, arguments.fp16) == (expected, False)
    recorded = "fp32" if expected else "bf16"
    assert training_arguments(TrainingSettings(), 0, tmp_path, recorded).bf16 != expected


def part(titles, descriptions):
    return Part(titles, descriptions, np.ones((len(titles), 1), dtype=bool), ["tag"], titles)


@pytest.mark.parametrize("blank", ["", " \n\t", "\u00a0", "\u200b\ufeff", "\x00"])
def test_a_part_with_many_blank_fields_is_rejected(blank):
    questions = part(["a title"] * 100, [blank] * 10 + ["text"] * 90)
    with pytest.raises(ValueError, match="the model reads description alone, blank in 10% of 100 questions"):
        check_fields(questions, ["description"], "the model")
    check_fields(questions, ["title", "description"], "the model")
    check_fields(questions, ["title"], "the model")
    check_fields(part(["a title"] * 100, [blank] * 2 + ["text"] * 98), ["description"], "the model")


@pytest.mark.parametrize(("consistency", "trained_on"), [(0.5, "{} + 0.5 · divergence"), (0, "{}")])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_curve_names_the_loss_that_was_trained(loss, consistency, trained_on):
    log = pd.DataFrame({"seed": 42, "epoch": [1, 2], "train_loss": [2, 1], "validation_loss": [3, 2], "f1_micro": 0.5})
    axes = plot_log(log, loss, consistency, "a model").axes[0]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown[:2] == [f"training: {trained_on.format(loss)}", f"validation: {loss}"]
    assert axes.get_ylabel() == "loss"
    assert pyplot.get_fignums() == []  # open figures stay in memory


@pytest.fixture
def checkpoint(tmp_path):
    """checkpoint-9, with all that transformers' Trainer leaves in one."""
    folder = tmp_path / "checkpoint-9"
    folder.mkdir()
    save_file({"weights": torch.ones(9)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"step": torch.ones(9)}, folder / name)
    state(folder, 9)
    return folder


def state(folder, step, best=None):
    (folder / "trainer_state.json").write_text(f'{{"global_step": {step}, "best_model_checkpoint": {best or "null"}}}')


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
DAMAGES = [f"{name} {fault}" for name in FILES for fault in ("cut", "empty", "missing")] + ["all missing"]
DAMAGES.remove("rng_state.pth missing")  # transformers goes on without, and says so


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_incomplete_checkpoint_is_removed_and_the_newest_complete_one_used(damage, checkpoint):
    half = Path(shutil.copytree(checkpoint, checkpoint.with_name("checkpoint-10")))
    state(half, 10)
    assert newest_checkpoint(checkpoint.parent) == half
    name, fault = damage.split()
    for path in half.glob("*" if name == "all" else name):
        whole = path.read_bytes()
        path.unlink() if fault == "missing" else path.write_bytes(whole[: len(whole) // 2] if fault == "cut" else b"")
    assert newest_checkpoint(checkpoint.parent) == checkpoint
    assert remove_half_written(checkpoint.parent) == ["checkpoint-10"]
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_checkpoint_without_its_best_checkpoint_is_not_used(checkpoint):
    newer = Path(shutil.copytree(checkpoint, checkpoint.with_name("checkpoint-10")))
    state(newer, 10, best='"somewhere/checkpoint-8"')
    assert newest_checkpoint(checkpoint.parent) == checkpoint
    state(newer, 10, best='"somewhere/checkpoint-9"')
    assert newest_checkpoint(checkpoint.parent) == newer
    shutil.rmtree(checkpoint)
    assert newest_checkpoint(checkpoint.parent) is None


def test_the_recorded_commit_is_that_of_the_code_and_marks_changes(tmp_path):
    def git(*command):
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", "-C", tmp_path, *author, *command], check=True, capture_output=True, text=True
        ).stdout

    code = tmp_path / "training" / "provenance.py"
    code.parent.mkdir()
    code.write_text("one")
    assert commit(tmp_path) is None
    git("init")
    assert commit(tmp_path) is None
    git("add", ".")
    git("commit", "-m", "one")
    assert commit(tmp_path) == git("rev-parse", "HEAD").strip()
    (tmp_path / "data.csv").touch()
    assert commit(tmp_path) == git("rev-parse", "HEAD").strip()
    code.write_text("two")
    assert commit(tmp_path) == git("rev-parse", "HEAD").strip() + "-dirty"
    copy = tmp_path / "copy" / "training" / "provenance.py"  # a copy in another's repository
    copy.parent.mkdir(parents=True)
    copy.touch()
    assert commit(tmp_path / "copy") is None


def test_a_backbone_is_described_by_its_hash_and_its_revision(tmp_path):
    folder = tmp_path / "models--a--b" / "snapshots" / ("0123abcd" * 5)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert describe_backbone(folder) == {"sha256": sha256, "revision": "0123abcd" * 5}
    assert describe_backbone(Path(shutil.copytree(folder, tmp_path / "local"))) == {"sha256": sha256}


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(1000, (10, 3)), (301, (10, 3)), (250, (10, 2)), (150, (10, 1)), (45, (4, 1)), (8, (0.7, 1)), (2, (0.1, 1))],
)
def test_fewer_runs_come_before_fewer_epochs_and_those_before_a_part_of_one(minutes, expected):
    speed = Speed(epoch=600, validation=60, vectors=60, steps=10, place="2 cores")
    assert fit(TrainingSettings(runs=3), speed, minutes) == pytest.approx(expected)


def test_a_training_longer_than_its_time_is_rejected_with_the_shortest_time():
    speed = Speed(epoch=6000, validation=60, vectors=120, steps=10, place="2 cores")
    with pytest.raises(
        ValueError, match="at least 11 minutes; --freeze-encoder trains only the head in about 2 minutes"
    ):
        fit(TrainingSettings(), speed, 10.9)
    assert fit(TrainingSettings(), speed, 11) == (0.1, 1)


def some_questions(titles: list[str], descriptions: list[str]) -> Part:
    targets = np.arange(2 * len(titles)).reshape(-1, 2) % 3 == 0
    return Part(titles, descriptions, targets, ["a", "b"], [f"u{row}" for row in range(len(titles))])


@pytest.mark.parametrize(("largest", "bytes_per_id"), [(2**16, 2), (4, 4)])
def test_a_question_keeps_its_tokens_in_whatever_chunk_it_is_tokenized(largest, bytes_per_id, tmp_path, monkeypatch):
    titles = ["python", "", "why is my loss nan", "pandas join", "csv"]
    part = some_questions(titles, ["read csv", "layers", "", "by date", " "])
    tokenizer = load_backbone_tokenizer(save_other("bert", titles, tmp_path), 16)
    monkeypatch.setattr(tokenized, "CHUNK", 2)
    monkeypatch.setattr(tokenized, "TWO_BYTES", largest)
    questions = TokenizedQuestions(tokenizer, part, FIELDS, alone=FIELDS)
    assert len(questions) == len(list(questions)) == 5
    assert questions.tokens.ids.itemsize == bytes_per_id
    for title, description, targets, question in zip(titles, part.descriptions, part.targets, questions, strict=True):
        read = {"both": (title, description), "title": (title, ""), "description": ("", description)}
        pair, *alone = (
            encode(tokenizer.backend_tokenizer, [one], [other])[0] if one.strip() or other.strip() else None
            for one, other in read.values()
        )
        assert question["input_ids"].tolist() == pair.ids and question["token_type_ids"].tolist() == pair.type_ids
        assert question["attention_mask"].tolist() == pair.attention_mask
        assert question["labels"].tolist() == targets.tolist()
        both = bool(title.strip() and description.strip())
        assert {"title", "description"} & set(question) == ({"title", "description"} if both else set())
        if both:
            assert [question[field]["input_ids"].tolist() for field in FIELDS] == [encoding.ids for encoding in alone]
    with pytest.raises(IndexError):
        questions[5]


def test_the_baseline_is_fitted_on_a_limited_number_of_questions(monkeypatch, capsys):
    part = some_questions([f"word{row}" for row in range(30)], [""] * 30)
    monkeypatch.setattr(tfidf, "MAX_QUESTIONS", 12)
    assert len(tfidf.fit(part)["terms"]) == 12
    assert "baseline: fitted on 12 of 30 questions, drawn at random" in capsys.readouterr().out
    monkeypatch.setattr(tfidf, "MAX_QUESTIONS", 30)
    assert len(tfidf.fit(part)["terms"]) == 30
