"""Tags that are ticked by default: how they are tuned, what they keep of the promise, and where they appear."""

import json

import numpy as np
import pytest

from onnx_export import tiers as tiers_stage
from onnx_export.evaluation.comparison_report import markdown
from onnx_export.evaluation.evaluate import evaluate, ticked_figures
from onnx_export.evaluation.model_card import describe_ticked
from tagging.model_folder import ModelFolderError
from tagging.tagger import Tagger
from tagging.tiers import TIERS, Tiers
from tests.tiny_model import build_model_folder, write_json
from training.dataset import Part
from training.thresholds import tune_thresholds
from training.tiers import promise_kept, tick_by_folds, tune_ticked
from webapp.app import create_app


def questions(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities of 5 tags: calibrated, but the last tag is right in half as many cases."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.4, 1.5, size=(n, 5))
    return rng.uniform(size=(n, 5)) < probabilities * [1, 1, 1, 1, 0.5], probabilities


@pytest.mark.parametrize("promise", [0.6, 0.75, 0.9])
def test_each_tag_keeps_the_promise_on_new_questions(promise):
    thresholds = tune_ticked(*questions(20_000), promise)
    targets, probabilities = questions(50_000, seed=1)
    ticked = probabilities >= thresholds
    right, given = (targets & ticked).sum(axis=0), ticked.sum(axis=0)
    assert (right[:4] / given[:4] > promise - 0.02).all()
    assert (right[:4] / given[:4] < promise + 0.03).all()  # and no lower threshold would do
    assert given[4] < given[:4].min() / 10  # a tag that is right in half as many cases needs more


def test_a_tag_with_few_questions_of_its_own_goes_by_the_reliability_of_all():
    targets, probabilities = questions(20_000)
    targets[:, 0] = False
    probabilities[:, 0] = 0.0
    probabilities[:3, 0], targets[:3, 0] = [0.9, 0.7, 0.6], True  # three of three are right, by chance
    own = tune_ticked(targets, probabilities, 0.95)[0]
    assert own > 0.85
    targets[:3, 0] = False
    assert tune_ticked(targets, probabilities, 0.95)[0] == np.inf


def test_a_tag_that_never_reaches_the_promise_is_never_ticked():
    targets, probabilities = questions(20_000)
    targets[:, 4] &= probabilities[:, 4] < 0.8
    assert tune_ticked(targets, probabilities, 0.9)[4] == np.inf
    assert (tune_ticked(np.zeros_like(targets), probabilities, 0.5) == np.inf).all()


def test_what_is_kept_is_counted():
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], dtype=bool)
    ticked = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], dtype=bool)
    kept = promise_kept(targets, ticked)
    assert (kept["precision"], kept["recall"], kept["questions"]) == (2 / 3, 0.5, 0.5)
    assert 0 <= kept["precision_low"] < 2 / 3 < kept["precision_high"] <= 1
    assert promise_kept(targets, np.zeros_like(ticked))["precision"] == 0


def test_a_fold_is_not_ticked_by_what_was_tuned_on_it():
    """Scores of noise: on the questions that they were tuned on, a few would seem to keep any promise."""
    rng = np.random.default_rng(0)
    targets, raw = rng.uniform(size=(400, 8)) < 0.3, rng.uniform(size=(400, 8))
    ticked = tick_by_folds(targets, raw, list("abcdefgh"), tune_thresholds, 0.9)
    assert not ticked.any() or (targets & ticked).sum() / ticked.sum() < 0.6


# ---- in what is served ----


@pytest.fixture
def folder(tmp_path):
    """Of the tiny model: gradient gives deep-learning 0.97 and optimization 0.45; csv gives pandas 0.60."""
    folder = build_model_folder(tmp_path / "model")
    write_json(folder / TIERS, {"precision": 0.8, "ticked": {"deep-learning": 0.9, "pandas": 0.7}, "shown": 0.1})
    return folder


def test_an_answer_gives_the_tier_of_each_tag_and_hides_the_improbable(folder):
    answer = Tagger(folder).answer("gradient csv", "")
    tiers = {row["tag"]: row["tier"] for row in [*answer["suggested"], *answer["others"]]}
    assert tiers == {"deep-learning": "ticked", "pandas": "shown", "optimization": "shown"}
    assert len(answer["suggested"]) == 2
    (folder / TIERS).unlink()
    whole = Tagger(folder).answer("gradient csv", "")
    assert all("tier" not in row for row in [*whole["suggested"], *whole["others"]])
    assert len(whole["others"]) == 5


def test_nothing_is_ticked_where_no_tag_clearly_fits(folder):
    write_json(folder / "tagger.json", {"fields": ["description"]})
    assert {row["tier"] for row in Tagger(folder).answer("gradient", "")["suggested"]} == {"shown"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "a JSON object was expected"),
        ("{}", "expected 'precision', 'ticked'"),
        ('{"precision": 0.8, "ticked": {"python": "high"}, "shown": 0}', "with numbers from 0 to 1"),
        ('{"precision": 0.8, "ticked": {"python": 2}, "shown": 0}', "with numbers from 0 to 1"),
        ('{"precision": 0.8, "ticked": {"rust": 0.5}, "shown": 0}', "the model does not know: rust"),
        ('{"precision": 0.8, "ticked": {}, "shown": NaN}', "with numbers from 0 to 1"),
    ],
)
def test_damaged_tiers_get_one_line(folder, content, complaint):
    (folder / TIERS).write_text(content)
    with pytest.raises(ModelFolderError, match=complaint) as stop:
        Tagger(folder)
    assert TIERS in str(stop.value) and "\n" not in str(stop.value)


def test_the_form_ticks_what_is_in_that_tier(folder):
    """Without JavaScript: the boxes are hidden, and the field holds the ticked tags."""
    form = create_app({"TAGGER_SPACE": "http://127.0.0.1:9", "TAGGER_MODEL": str(folder)}).test_client()
    page = form.post("/", data={"title": "gradient csv", "description": ""}).get_data(as_text=True)
    assert 'id="all-tags" readonly value="deep-learning"' in page
    assert 'aria-label="Use deep-learning" value="deep-learning" checked hidden>' in page
    assert 'aria-label="Use pandas" value="pandas" hidden>' in page
    answer = form.post("/api/tags", json={"title": "gradient csv", "description": ""}).get_json()
    assert [row["tier"] for row in answer["suggested"]] == ["ticked", "shown"]


# ---- in the reports ----


def test_promised_and_kept_stand_in_the_comparison_and_on_the_card():
    targets, probabilities = questions(500)
    part = Part([""] * 500, [""] * 500, targets, list("abcde"), [])
    evaluation = evaluate("model", "int8", part, part, probabilities, probabilities > 0.3)
    assert "Precision of the ticked tags" not in markdown([evaluation.row], 500, {"head": [1]})
    assert describe_ticked(evaluation.figures) == ""
    evaluation.figures.update(ticked_figures(evaluation, part, Tiers(0.8, {"a": 0.6, "b": 0.9}, 0.0)))
    ticked = (probabilities >= [0.6, 0.9, 2, 2, 2]) & (probabilities > 0.3)
    precision = (targets & ticked).sum() / ticked.sum()
    report = markdown([evaluation.row], 500, {"head": [1]})
    assert f"| model | int8 | 0.800 | {precision:.3f} [" in report
    card = describe_ticked(evaluation.figures)
    assert f"0.8 are promised to be right, as on validation. On the test questions {precision:.3f} [" in card


def test_the_stage_writes_what_it_promises(tmp_path, monkeypatch, capsys):
    """On a model whose validation scores are given."""
    folder = build_model_folder(tmp_path / "models" / "tiny" / "onnx")
    targets, probabilities = questions(2000)
    tags = Tagger(folder).tags
    wide = np.zeros((2000, len(tags)))
    wide[:, :5] = probabilities
    part = Part(["python"] * 2000, [""] * 2000, np.pad(targets, ((0, 0), (0, len(tags) - 5))), tags, [])
    monkeypatch.setattr(tiers_stage, "read_part", lambda *_: part)
    monkeypatch.setattr(Tagger, "raw_probabilities", lambda *_: wide)
    command = ["--model", "tiny", "--models-dir", str(tmp_path / "models"), "--reports-dir", str(tmp_path)]
    tiers_stage.main([*command, "--precision", "0.7"])
    written = json.loads((folder / TIERS).read_text())
    assert (written["precision"], written["shown"]) == (0.7, 0.05)
    assert set(tags[:4]) <= set(written["ticked"]) <= set(tags[:5])
    assert "(promised 0.7)" in capsys.readouterr().out
    assert (tmp_path / "tiers.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "tiers.md").read_text()
    assert "| **0.7** |" in report and "| 0.95 |" in report
    with pytest.raises(SystemExit, match="give --force to replace"):
        tiers_stage.main(command)
    with pytest.raises(SystemExit):
        tiers_stage.main([*command, "--force", "--precision", "1"])
    assert "is not a number from 0.01 to 0.99" in capsys.readouterr().err
