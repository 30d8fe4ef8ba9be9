"""Thresholds from which on the suggested tags keep a promised precision, tuned on validation scores. Pure functions."""

from collections.abc import Callable, Sequence

import numpy as np

from tagging.decision import DecisionRule, Thresholds
from training.metrics import RESAMPLES, interval
from training.thresholds import choose_by_folds

# A tag's own suggestions and the reliability of all tags have equal weight at so many suggestions. Chosen on the
# validation part of the data in README.md among 5, 20, 40 and 100: the least that kept promises of 0.7, 0.8 and 0.9.
PRIOR_SUGGESTIONS = 20.0


def tune_ticked(targets: np.ndarray, probabilities: np.ndarray, precision: float) -> np.ndarray:
    """Return the least threshold of each tag at which the share of right suggestions reaches ``precision``.

    The share of a tag is estimated from its own validation questions above the threshold, and from what their
    probabilities are worth over all tags, by isotonic regression (Zadrozny and Elkan 2002, "Transforming classifier
    scores into accurate multiclass probability estimates"). The latter has the weight of PRIOR_SUGGESTIONS questions:
    most tags have too few of their own.

    Parameters
    ----------
    targets, probabilities : bool and float array of shape (n, num_labels), calibrated probabilities
    precision : in (0, 1)

    Returns
    -------
    float array of shape (num_labels,), infinity where no threshold reaches it
    """
    from sklearn.isotonic import IsotonicRegression

    regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    reliability = regression.fit(probabilities.ravel(), targets.ravel()).predict(probabilities.ravel())
    order = np.argsort(-probabilities, axis=0, kind="stable")
    scores, hits, expected = (
        np.take_along_axis(values, order, axis=0)
        for values in (probabilities, targets, reliability.reshape(targets.shape))
    )
    counts = np.arange(1, len(targets) + 1)[:, np.newaxis]
    prior = np.cumsum(expected, axis=0) / counts
    estimates = (np.cumsum(hits, axis=0) + PRIOR_SUGGESTIONS * prior) / (counts + PRIOR_SUGGESTIONS)
    reached = estimates >= precision
    last = len(targets) - 1 - np.argmax(reached[::-1], axis=0)
    return np.where(reached.any(axis=0), np.take_along_axis(scores, last[np.newaxis], axis=0)[0], np.inf)


def tick_by_folds(
    targets: np.ndarray,
    raw: np.ndarray,
    tags: Sequence[str],
    tune: Callable[[np.ndarray, np.ndarray, Sequence[str]], Thresholds],
    precision: float,
) -> np.ndarray:
    """Tick tags in each half of the questions with thresholds of both kinds tuned on the other.

    Parameters
    ----------
    targets, raw : bool and float array of shape (n, num_labels)
    tune : a value of training.thresholds.TUNINGS

    Returns
    -------
    bool array of shape (n, num_labels)
    """

    def tick(seen: np.ndarray, seen_raw: np.ndarray, unseen_raw: np.ndarray) -> np.ndarray:
        rule = DecisionRule.of(tune(seen, seen_raw, tags), tags)
        thresholds = tune_ticked(seen, rule.probabilities(seen_raw), precision)
        probabilities = rule.probabilities(unseen_raw)
        return rule.suggest(probabilities) & (probabilities >= thresholds)

    return choose_by_folds(targets, raw, tick)


def promise_kept(targets: np.ndarray, ticked: np.ndarray) -> dict[str, float]:
    """Return what the ticked tags of questions are worth.

    Returns
    -------
    precision (with precision_low and precision_high, the 95 % bootstrap interval over questions), recall, and the share
    of ``questions`` with a ticked tag; a precision of nothing is 0
    """
    right, given = (targets & ticked).sum(axis=1), ticked.sum(axis=1)
    precision = float(right.sum() / max(given.sum(), 1))
    rng, n = np.random.default_rng(0), len(targets)
    drawn = (rng.integers(n, size=n) for _ in range(RESAMPLES))
    resampled = np.array([right[rows].sum() / max(given[rows].sum(), 1) for rows in drawn])
    low, high = interval(precision, resampled)
    return {
        "precision": precision,
        "precision_low": low,
        "precision_high": high,
        "recall": float(right.sum() / max(targets.sum(), 1)),
        "questions": float((given > 0).mean()),
    }
