"""How well probabilities are calibrated. Pure functions.

Every (question, tag) pair is a yes-or-no prediction of its own. Among those given the probability 0.3, three of ten
should be right.
"""

import numpy as np

from tagging.decision import sigmoid
from training.metrics import most_probable

NUM_BINS = 15  # as Guo et al. 2017
NUM_SHOWN = 10  # tags of a question: up to five suggested ones and five runners-up are what a user sees


def reliability_bins(
    targets: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort predictions into ``num_bins`` bins of equal width, closed on the right, the first one on both sides.

    Parameters
    ----------
    targets : bool array of any shape, whether each prediction is right
    probabilities : float array of the same shape, in [0, 1]

    Returns
    -------
    mean probability, share of right predictions, and number of predictions: arrays of shape (num_bins,); nan in the
    first two where a bin is empty

    Raises
    ------
    ValueError : there is no prediction, the shapes differ, or a probability is not in [0, 1]
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, dtype=float)
    if targets.shape != probabilities.shape or not targets.size:
        raise ValueError(f"targets {targets.shape} and probabilities {probabilities.shape} must be alike and not empty")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability is not in [0, 1]")
    targets, probabilities = targets.ravel(), probabilities.ravel()
    bins = np.clip(np.ceil(probabilities * num_bins).astype(int) - 1, 0, None)
    counts = np.bincount(bins, minlength=num_bins)
    filled = np.where(counts > 0, counts, np.nan)
    mean_probability = np.bincount(bins, weights=probabilities, minlength=num_bins) / filled
    share_true = np.bincount(bins, weights=targets, minlength=num_bins) / filled
    return mean_probability, share_true, counts


def expected_calibration_error(targets: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Return the mean over predictions of the gap between mean probability and share of right predictions in their bin.

    In [0, 1], 0 best. Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"; Guo et al.
    2017, "On calibration of modern neural networks", eq. 3. Arguments and errors as in :func:`reliability_bins`.
    """
    mean_probability, share_true, counts = reliability_bins(targets, probabilities, num_bins)
    return float(np.nansum(counts * np.abs(mean_probability - share_true)) / counts.sum())


def shown_pairs(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep each question's NUM_SHOWN most probable tags: two arrays of shape (n, min(NUM_SHOWN, num_labels)).

    Over all pairs the error is flattered by the mass of tags near 0 that nobody sees.
    """
    ranked = most_probable(probabilities, NUM_SHOWN)
    return np.take_along_axis(targets, ranked, axis=1), np.take_along_axis(probabilities, ranked, axis=1)


def shown_error(targets: np.ndarray, logits: np.ndarray) -> float:
    """Return :func:`expected_calibration_error` over each question's NUM_SHOWN most probable tags. Shapes as below."""
    shown, scores = shown_pairs(targets, logits)
    return expected_calibration_error(shown, sigmoid(scores))


def cross_entropy(targets: np.ndarray, logits: np.ndarray) -> float:
    """Return the cross-entropy of each question's NUM_SHOWN most probable tags, in nats, summed. Shapes as below."""
    outcomes, shown = shown_pairs(targets, logits)
    return float(np.logaddexp(0.0, np.where(outcomes, -shown, shown)).sum())


def line_that_generalizes(targets: np.ndarray, logits: np.ndarray) -> tuple[float, float] | None:
    """Return :func:`fit_platt` of the questions, or None if the logits are as good without it.

    They are if the line of each half does not lower the cross-entropy of the other half.
    """
    changed = 0.0
    for half in range(2):
        slope, intercept = fit_platt(targets[half::2], logits[half::2])
        unseen, scores = targets[1 - half :: 2], logits[1 - half :: 2]
        changed += cross_entropy(unseen, slope * scores + intercept) - cross_entropy(unseen, scores)
    return fit_platt(targets, logits) if changed < 0 else None


def fit_platt(targets: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Return (slope, intercept) that make sigmoid(slope * logits + intercept) calibrated for the tags shown.

    Logistic regression of the outcome on the logit, over each question's NUM_SHOWN most probable tags (Platt 1999,
    "Probabilistic outputs for support vector machines"). One line for all tags keeps their order, and two numbers
    cannot overfit where a curve for each of hundreds of rare tags would.

    Parameters
    ----------
    targets : bool array of shape (n, num_labels)
    logits : float array of the same shape
    """
    from sklearn.linear_model import LogisticRegression

    outcomes, shown = shown_pairs(targets, logits)
    if outcomes.all() or not outcomes.any():
        return 1.0, 0.0
    line = LogisticRegression(C=np.inf).fit(shown.reshape(-1, 1), outcomes.ravel())
    slope = float(line.coef_[0, 0])
    return (slope, float(line.intercept_[0])) if slope > 0 else (1.0, 0.0)
