"""The figures by which models are judged: hand-counted examples, scikit-learn's own, and what must always hold."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, ndcg_score

from training.calibration import NUM_BINS, SHOWN, expected_calibration_error, reliability_bins, shown_pairs
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


def test_figures_at_a_rank_leave_out_questions_without_tags():
    targets = np.vstack([TARGETS, np.zeros(4, dtype=bool)])
    probabilities = np.vstack([PROBABILITIES, np.ones(4)])
    for figure in (recall_at, ndcg_at):
        assert figure(targets, probabilities, 2) == pytest.approx(figure(TARGETS, PROBABILITIES, 2))


def test_thirds_go_by_the_questions_of_training():
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


def test_intervals_hold_the_estimate_and_what_other_questions_give():
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


def test_intervals_end_where_the_figure_does():
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


def test_calibrated_probabilities_have_next_to_no_error_and_overconfident_ones_much():
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
def test_no_calibration_error_of_what_are_no_predictions(targets, probabilities, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(targets, probabilities)


def test_shown_pairs_are_each_questions_most_probable():
    targets, _, probabilities = simulated()
    shown_targets, shown = shown_pairs(targets, probabilities)
    assert shown.shape == shown_targets.shape == (len(targets), SHOWN)
    np.testing.assert_array_equal(shown, np.sort(probabilities, axis=1)[:, : -SHOWN - 1 : -1])
    assert (shown_targets[0] == [targets[0][probabilities[0] == value][0] for value in shown[0]]).all()
    assert shown_pairs(TARGETS, PROBABILITIES)[1].shape == (3, 4)
