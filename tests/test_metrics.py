"""The figures by which models are judged: hand-counted examples, scikit-learn's own, and what must always hold."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from matplotlib import pyplot
from onnx import numpy_helper
from sklearn.metrics import f1_score, ndcg_score

from data.files import write_questions
from data.markdown import markdown_table
from onnx_export import compare
from onnx_export.evaluation.evaluate import differences, evaluate, loss_by_question, most_frequent_tags, no_tags
from onnx_export.evaluation.model_report import worst_errors
from tests.tiny_model import TAGS, build_model_folder
from training import baseline
from training.calibration import (
    NUM_BINS,
    NUM_SHOWN,
    expected_calibration_error,
    fit_platt,
    reliability_bins,
    shown_pairs,
)
from training.dataset import Part
from training.metrics import (
    f1_by_frequency,
    frequency_thirds,
    interval,
    multi_hot,
    ndcg_at,
    precision_at,
    recall_at,
    resample,
    tagging_metrics,
)

TARGETS = multi_hot([["a", "b"], ["c"], ["a", "unknown"]], ["a", "b", "c", "d"])
CHOSEN = multi_hot([["a"], ["c", "d"], ["a"]], ["a", "b", "c", "d"])
PROBABILITIES = np.array([[0.9, 0.4, 0.6, 0.1], [0.2, 0.1, 0.5, 0.7], [0.8, 0.3, 0.2, 0.1]])


def simulated(n=400, num_labels=30, seed=0):
    """Questions with one to five tags, frequent and rare, and scores that know something of them."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, num_labels + 1)
    targets = np.zeros((n, num_labels), dtype=bool)
    for row in targets:
        row[rng.choice(num_labels, rng.integers(1, 6), replace=False, p=share / share.sum())] = True
    probabilities = 1 / (1 + np.exp(-rng.normal(2 * targets - 2, 1.0)))
    return targets, probabilities > 0.4, probabilities


def test_metrics_of_a_hand_counted_example():
    figures = tagging_metrics(TARGETS, CHOSEN, PROBABILITIES)
    assert figures["precision_micro"] == pytest.approx(3 / 4)
    assert figures["recall_micro"] == pytest.approx(3 / 4)
    assert figures["f1_macro"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert figures["f1_samples"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert figures["exact_match"] == pytest.approx(1 / 3)
    assert figures["empty_answers"] == 0
    assert figures["precision_at_1"] == pytest.approx(2 / 3)
    assert precision_at(TARGETS, PROBABILITIES, 2) == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert recall_at(TARGETS, PROBABILITIES, 2) == pytest.approx((1 / 2 + 1 + 1) / 3)
    half = 1 / np.log2(3)  # the gain at rank 2
    assert ndcg_at(TARGETS, PROBABILITIES, 2) == pytest.approx((1 / (1 + half) + half + 1) / 3)


def test_perfect_predictions_score_one():
    targets, _, _ = simulated()
    figures = tagging_metrics(targets, targets, targets.astype(float))
    at_ranks = {name for name in figures if name.startswith("precision_at")}  # few questions have three or five tags
    assert {figures[name] for name in figures.keys() - at_ranks - {"empty_answers"}} == {1.0}
    assert set(f1_by_frequency(targets, targets, targets.sum(axis=0)).values()) == {1.0}


def test_no_answer_at_all_scores_zero():
    targets, _, probabilities = simulated()
    figures = tagging_metrics(targets, np.zeros_like(targets), probabilities)
    assert figures["empty_answers"] == 1
    assert figures["f1_micro"] == figures["f1_macro"] == figures["f1_samples"] == figures["exact_match"] == 0


@pytest.mark.parametrize("k", [1, 3, 5, 50])
def test_ndcg_is_scikit_learns(k):
    targets, _, probabilities = simulated()
    assert ndcg_at(targets, probabilities, k) == pytest.approx(ndcg_score(targets, probabilities, k=k))


def test_ranking_figures_ignore_questions_without_tags():
    targets = np.vstack([TARGETS, np.zeros(4, dtype=bool)])
    probabilities = np.vstack([PROBABILITIES, np.ones(4)])
    for figure in (recall_at, ndcg_at):
        assert figure(targets, probabilities, 2) == pytest.approx(figure(TARGETS, PROBABILITIES, 2))


def test_thirds_follow_the_numbers_of_training_questions():
    thirds = frequency_thirds(np.array([5, 90, 1, 40, 7, 2, 60]))
    assert {name: tags.tolist() for name, tags in thirds.items()} == {
        "head": [1, 6, 3],
        "middle": [4, 0],
        "tail": [5, 2],
    }
    figures = f1_by_frequency(TARGETS, CHOSEN, np.array([9, 1, 8, 2]))  # tags by frequency: a, c | d | b
    assert figures == {"f1_head": 1.0, "f1_middle": 0.0, "f1_tail": 0.0}
    assert f1_by_frequency(TARGETS[:, :2], CHOSEN[:, :2], np.array([9, 1])) == {"f1_head": 1.0, "f1_middle": 0.0}


def test_resamples_are_the_figures_of_questions_drawn_again():
    targets, chosen, probabilities = simulated(n=50)
    resampled = resample(targets, chosen, probabilities, num_resamples=7, seed=3)
    counts = np.random.default_rng(3).multinomial(50, np.full(50, 1 / 50), size=7)
    for index, drawn in enumerate(np.repeat(np.arange(50), row) for row in counts):
        figures = tagging_metrics(targets[drawn], chosen[drawn], probabilities[drawn])
        assert {name: figures[name] for name in resampled} == pytest.approx(
            {name: values[index] for name, values in resampled.items()}, rel=1e-5
        )


def test_resamples_do_not_depend_on_how_many_are_drawn_at_once():
    data = simulated(n=50)
    few, many = resample(*data, num_resamples=30), resample(*data, num_resamples=230)
    assert many["f1_micro"].shape == (230,)
    np.testing.assert_array_equal(few["f1_micro"], many["f1_micro"][:30])


def test_intervals_contain_the_estimate_and_the_value_on_new_questions():
    targets, chosen, probabilities = simulated(n=500)
    more = tagging_metrics(*simulated(n=20_000, seed=1))
    figures = tagging_metrics(targets, chosen, probabilities)
    for name, resampled in resample(targets, chosen, probabilities).items():
        low, high = interval(figures[name], resampled)
        assert low < figures[name] < high < low + 0.15
        assert low < more[name] < high
        assert resampled.std() == pytest.approx((high - low) / 3.92, rel=0.01)


def test_the_interval_of_a_difference_is_that_of_the_same_questions():
    targets, chosen, probabilities = simulated()
    nearly = chosen.copy()
    nearly[:20] = False
    one, other = (resample(targets, answer, probabilities)["f1_micro"] for answer in (chosen, nearly))
    low, high = interval((one - other).mean(), one - other, lowest=-1.0)
    assert low > 0
    assert high - low < (np.subtract(*interval(0.5, one)[::-1])) / 2
    assert interval(0.0, one - one, lowest=-1.0) == (0.0, 0.0)


def test_intervals_are_clipped_to_the_range_of_the_figure():
    assert interval(0.99, np.array([0.9, 1.0])) == (pytest.approx(0.99 - 1.96 * 0.1 / np.sqrt(2)), 1.0)
    assert interval(0.01, np.array([0.0, 0.1]))[0] == 0.0


def test_macro_f1_of_resamples_lies_below_the_samples():
    """Why the interval is no pair of percentiles."""
    targets, chosen, probabilities = simulated(n=60)
    resampled = resample(targets, chosen, probabilities)["f1_macro"]
    estimate = f1_score(targets, chosen, average="macro", zero_division=0)
    assert resampled.mean() < estimate - 0.02


def test_calibration_error_of_a_hand_counted_example():
    targets = np.array([[True, False, False, False], [True, True, True, False]])
    probabilities = np.array([[0.4, 0.4, 0.4, 0.4], [0.8, 0.8, 0.8, 1.0]])
    # (0, 0.5]: mean 0.4, one of four came true; (0.5, 1]: mean 0.85, three of four
    assert expected_calibration_error(targets, probabilities, 2) == pytest.approx((4 * 0.15 + 4 * 0.1) / 8)
    mean_probability, share_true, counts = reliability_bins(targets, probabilities, 2)
    assert (mean_probability.tolist(), share_true.tolist(), counts.tolist()) == (
        [pytest.approx(0.4), pytest.approx(0.85)],
        [0.25, 0.75],
        [4, 4],
    )


def test_calibration_error_is_small_if_calibrated_and_large_if_overconfident():
    rng = np.random.default_rng(0)
    probabilities = rng.random(100_000)
    targets = rng.random(100_000) < probabilities
    assert expected_calibration_error(targets, probabilities) < 0.01
    overconfident = np.where(probabilities > 0.5, 1.0, 0.0)
    assert expected_calibration_error(targets, overconfident) == pytest.approx(0.25, abs=0.01)
    assert expected_calibration_error(targets, targets.astype(float)) == 0


def test_every_prediction_falls_into_one_bin():
    edges = np.linspace(0, 1, NUM_BINS + 1)
    mean_probability, _, counts = reliability_bins(np.zeros(NUM_BINS + 1, bool), edges)
    assert counts.tolist() == [2] + [1] * (NUM_BINS - 1)  # bins are closed on the right, the first on both sides
    assert reliability_bins([True], [0.5], 3)[2].tolist() == [0, 1, 0]
    assert np.isnan(reliability_bins([True], [0.5], 3)[0][[0, 2]]).all()
    assert (np.diff(mean_probability) > 0).all()


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [([], [], "not empty"), ([True], [0.1, 0.2], "alike"), ([True], [1.1], "not in"), ([True], [np.nan], "not in")],
)
def test_invalid_predictions_have_no_calibration_error(targets, probabilities, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(targets, probabilities)


def test_shown_pairs_are_each_questions_most_probable():
    targets, _, probabilities = simulated()
    shown_targets, shown = shown_pairs(targets, probabilities)
    assert shown.shape == shown_targets.shape == (len(targets), NUM_SHOWN)
    np.testing.assert_array_equal(shown, np.sort(probabilities, axis=1)[:, : -NUM_SHOWN - 1 : -1])
    assert (shown_targets[0] == [targets[0][probabilities[0] == value][0] for value in shown[0]]).all()
    assert shown_pairs(TARGETS, PROBABILITIES)[1].shape == (3, 4)


def test_platt_scaling_corrects_overconfidence_of_displayed_tags():
    rng = np.random.default_rng(3)
    true_logits = rng.normal(-1, 1.5, (4000, 2 * NUM_SHOWN))
    targets = rng.random(true_logits.shape) < 1 / (1 + np.exp(-true_logits))
    slope, intercept = fit_platt(targets, 2 * true_logits + 1)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(-0.5, abs=0.04)


@pytest.mark.parametrize("targets", [np.zeros((3, 4), dtype=bool), np.ones((3, 4), dtype=bool), PROBABILITIES < 0.5])
def test_platt_scaling_is_the_identity_where_nothing_can_be_fitted(targets):
    assert fit_platt(targets, PROBABILITIES) == (1.0, 0.0)


def test_a_pipe_in_a_cell_is_escaped():
    table = markdown_table(["name", "", "n"], [["a|b", "", 1]], num_text=2)
    assert table.splitlines() == ["| name | | n |", "|---|---|---:|", r"| a\|b |  | 1 |"]


def part(targets):
    n, num_labels = targets.shape
    titles = [f"question {row}" for row in range(n)]
    return Part(titles, [""] * n, targets, [f"tag-{index}" for index in range(num_labels)], titles)


def test_the_empty_answer_has_only_its_hamming_accuracy():
    targets, _, _ = simulated()
    figures = no_tags(part(targets), part(targets)).figures
    assert figures["hamming_accuracy"] == pytest.approx(1 - targets.mean())
    assert figures["empty_answers"] == 1
    assert figures["f1_micro"] == figures["f1_head"] == figures["f1_micro_high"] == 0
    assert not [name for name in figures if "_at_" in name or "calibration" in name]


def test_the_most_frequent_tags_are_those_of_training():
    train = part(multi_hot([["c", "a"], ["c", "a"], ["c"], ["b"]], ["a", "b", "c", "d"]))  # 1.5 tags each, rounded: 2
    test = part(multi_hot([["d", "c"], ["b"]], ["a", "b", "c", "d"]))
    evaluation = most_frequent_tags(train, test)
    assert evaluation.model == "the 2 most frequent tags"
    assert evaluation.chosen.tolist() == [[True, False, True, False]] * 2
    assert evaluation.probabilities[0].tolist() == [0.5, 0.25, 0.75, 0]
    assert evaluation.figures["precision_at_1"] == 0.5
    assert "hamming_accuracy" not in evaluation.figures


def test_differences_are_those_of_the_figures():
    targets, chosen, probabilities = simulated()
    worse = chosen.copy()
    worse[:40] = ~worse[:40]
    questions = part(targets)
    good, bad = (evaluate("m", "int8", questions, questions, probabilities, answer) for answer in (chosen, worse))
    found = differences(bad, good, "fp32")
    assert found["same_tags_as_fp32"] == 0.9
    for figure in ("f1_micro", "f1_macro"):
        difference = found[f"{figure}_minus_fp32"]
        assert difference == pytest.approx(bad.figures[figure] - good.figures[figure])
        assert found[f"{figure}_minus_fp32_low"] < difference < found[f"{figure}_minus_fp32_high"] < 0


def test_the_worst_errors_are_the_most_confident_mistakes():
    targets = np.array([[True, False], [True, False], [False, True]])
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.01]])
    losses = loss_by_question(targets, probabilities)
    assert losses[:2] == pytest.approx([-2 * np.log(0.9), 2 * np.log(2)])
    assert losses[2] == pytest.approx(-np.log(1e-12) - np.log(0.01))
    questions = Part(["good", "fair", "[bad] <b>\n*x*"], [""] * 3, targets, ["a", "c#"], ["u0", "u1", "u2"])
    evaluation = evaluate("m", "int8", questions, questions, probabilities, probabilities > 0.4)
    text = worst_errors(evaluation, questions)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        r"## 1. [\[bad\] \<b\> \*x\*](<u2>)", "## 2. [fair](<u1>)", "## 3. [good](<u0>)"
    ]  # fmt: skip
    assert "- tags: `c#` 0.010\n- suggested: `a` 1.000\n- loss: 32.2" in text
    assert "- tags: **`a`** 0.500\n- suggested: **`a`** 0.500, `c#` 0.500\n" in text


@pytest.fixture(scope="module")
def tiny_comparison(tmp_path_factory):
    """A model whose answers follow from single words, in "fp32" blind for python, and a baseline, compared."""
    tmp_path = tmp_path_factory.mktemp("tiny")
    folder = build_model_folder(tmp_path / "models" / "tiny" / "onnx")
    model = onnx.load(folder / "model_quantized.onnx")
    evidence = next(tensor for tensor in model.graph.initializer if tensor.name == "evidence")
    blind = numpy_helper.to_array(evidence) - np.eye(len(TAGS), dtype=np.float32)[0] * 4.1
    evidence.CopyFrom(numpy_helper.from_array(blind, "evidence"))
    onnx.save(model, folder / "model.onnx")
    questions = {
        "python": ("test", ["python"]),
        "dataframe": ("test", ["python", "pandas"]),
        "gradient": ("test", ["optimization"]),
        "gradient python": ("train", ["deep-learning", "python"]),
        "python csv": ("train", ["python"]),
        "python layers": ("validation", ["python"]),
    }
    rows = [[title, "", tags, f"https://site/{number}"] for number, (title, (_, tags)) in enumerate(questions.items())]
    table = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_filtered.csv", table)
    table.assign(split=[split for split, _ in questions.values()]).to_csv(tmp_path / "split.csv", index=False)
    (tmp_path / "tag_types_encoded.json").write_text(json.dumps({tag: index for index, tag in enumerate(TAGS)}))
    command = ["--data-dir", str(tmp_path), "--models-dir", str(tmp_path / "models")]
    baseline.main(command)
    command += ["--reports-dir", str(tmp_path / "reports")]
    compare.main(command)
    return tmp_path, command


def test_a_comparison_of_tiny_models_can_be_counted_by_hand(tiny_comparison):
    folder, command = tiny_comparison
    beside = folder / "models" / "tiny" / "onnx"
    metrics = json.loads((beside / "metrics.json").read_text())
    # Three test questions with four tags. int8: python | pandas, python | deep-learning and for its -0.2 no more
    assert metrics["int8"]["precision_micro"] == metrics["int8"]["recall_micro"] == pytest.approx(3 / 4)
    assert metrics["int8"]["f1_macro"] == pytest.approx(2 / len(TAGS))
    assert metrics["int8"]["exact_match"] == metrics["int8"]["precision_at_1"] == pytest.approx(2 / 3)
    # Just below its threshold python is still the nearest tag of the first question, and lost in the second.
    assert metrics["fp32"]["recall_micro"] == pytest.approx(2 / 4)
    assert metrics["int8"]["same_tags_as_fp32"] == pytest.approx(2 / 3)
    assert metrics["int8"]["f1_micro_minus_fp32"] == pytest.approx(3 / 4 - 2 * 2 / (3 + 4))
    assert metrics["test_questions"] == 3

    tags = pd.read_csv(beside / "per_tag.tsv", sep="\t").set_index("tag")
    assert tags.index[0] == "python"
    assert tags.loc["python"].tolist() == [2, 2, 2, 0, 0, 1, 1, 1, 0.5]
    assert tags.loc["deep-learning"].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0.5]
    assert tags.loc["optimization", "false_negatives"] == 1
    worst = (beside / "worst_errors.md").read_text()
    assert "## 1. [gradient](<https://site/2>)\n\n- tags: `optimization` 0.450\n- suggested: `deep-learning`" in worst
    assert (folder / "models" / "tfidf-baseline" / "worst_errors.md").is_file()

    rows = {(row["model"], row["precision"]): row for row in
            json.loads((folder / "reports" / "comparison.json").read_text())["rows"]}  # fmt: skip
    assert list(rows)[:3] == [("no tags at all", ""), ("the 2 most frequent tags", ""), ("tfidf-baseline", "fp32")]
    assert rows["no tags at all", ""]["hamming_accuracy"] == pytest.approx(1 - 4 / 21)
    assert rows["tiny", "int8"]["f1_micro_minus_baseline"] == pytest.approx(
        rows["tiny", "int8"]["f1_micro"] - rows["tfidf-baseline", "fp32"]["f1_micro"]
    )
    with pytest.raises(SystemExit, match=r"metrics\.json.* already there: give --force"):
        compare.main([*command, "--reports-dir", str(folder / "elsewhere")])


def test_the_comparison_leaves_no_figure_open(tiny_comparison):
    assert pyplot.get_fignums() == []


def test_the_report_omits_figures_that_do_not_apply(tiny_comparison):
    text = (tiny_comparison[0] / "reports" / "comparison.md").read_text()
    hamming = [line for line in text.splitlines() if "0.810" in line]
    assert [line.split("|")[1].strip() for line in hamming] == ["no tags at all"]
    assert "| tiny | int8 | 0.750 [" in text
    difference = text.split("## Difference to the same model in fp32")[1].split("##")[0]
    assert "| tiny | int8 | +0.179 [" in difference
    assert "| fp32 |" not in difference
    assert "head: 3 tags with 0 to 2 training questions" in text
