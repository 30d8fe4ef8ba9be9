"""Thresholds above which a tag is suggested, tuned on validation scores. Pure functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tagging.decision import Calibration, DecisionRule, Thresholds, log_odds, sigmoid
from training.calibration import fit_platt

# A tag's own best threshold and the global one have equal weight when the tag has this many validation questions.
# With fewer questions, the best threshold is mostly due to chance (Yang 2001, "A study of thresholding strategies for
# text categorization", on overfitting of per-category thresholds for rare categories). benchmarks/thresholds.py draws
# micro against macro F1 over the strength: what one gains, the other loses.
PRIOR_STRENGTH = 40.0
MACRO_STRENGTH = 10.0  # for macro F1, of which a weaker one gains little
MIN_THRESHOLD = 1e-6  # the smallest positive number with the six digits of thresholds.json
DOUBTED_SHARE = 0.1  # of the validation questions, for which no tag clearly fits
# The values of "tuning" in thresholds.json, by which quantize.py tunes the thresholds of the int8 model again.
PER_TAG, ONE, ONE_HALF = "one per tag", "one for all tags", "one half"
FOR_MACRO = "one per tag, for macro F1"
FAVOURED = {"micro": ONE, "macro": FOR_MACRO}  # by the average of F1 that --favour names


def best_f1_threshold(targets: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Return the threshold that maximizes F1, and that F1; scores at or above the threshold are positive.

    Both arguments are flattened: a matrix gives the best global threshold for micro F1, a column that of one tag. The
    threshold is halfway between the two neighbouring scores, so that it does not depend on their last digits.

    Raises
    ------
    ValueError : no target is True
    """
    targets, probabilities = np.ravel(targets), np.ravel(probabilities).astype(float)
    if not targets.any():
        raise ValueError("no positive target: there is no F1 to maximize")
    order = np.argsort(-probabilities, kind="stable")
    scores, hits = probabilities[order], np.cumsum(targets[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + targets.sum())
    below = np.append(scores[1:], 0.0)
    f1[scores == below] = -1.0  # no threshold separates equal scores
    best = int(np.argmax(f1))
    return float((scores[best] + below[best]) / 2), float(f1[best])


def tune_thresholds(
    targets: np.ndarray, probabilities: np.ndarray, tags: Sequence[str], strength: float = PRIOR_STRENGTH
) -> Thresholds:
    """Tune a global threshold, and one per tag, shrunk towards the global one the more, the rarer the tag.

    A tag's threshold is the mean, in log odds, of its own best threshold and the global one, weighted by its number of
    positive validation questions against ``strength``. The global one has the best micro F1. The weaker it is, the more
    the thresholds favour macro F1, in which a rare tag counts as much as a frequent one.

    Parameters
    ----------
    targets : bool array of shape (n, num_labels)
    probabilities : float array of shape (n, num_labels)
    strength : number of questions

    Returns
    -------
    Thresholds, with the line of :class:`tagging.decision.DecisionRule`
    """
    global_threshold = max(best_f1_threshold(targets, probabilities)[0], MIN_THRESHOLD)
    per_tag = {}
    for index, tag in enumerate(tags):
        positives = int(targets[:, index].sum())
        threshold = global_threshold
        if positives:
            own = max(best_f1_threshold(targets[:, index], probabilities[:, index])[0], MIN_THRESHOLD)
            weight = positives / (positives + strength)
            threshold = float(sigmoid(weight * log_odds(own) + (1 - weight) * log_odds(global_threshold)))
        per_tag[tag] = round(threshold, 6)
    calibration = fit_line(targets, probabilities, global_threshold, np.array(list(per_tag.values())))
    return Thresholds(round(global_threshold, 6), per_tag, calibration, PER_TAG)


def tune_for_macro(targets: np.ndarray, probabilities: np.ndarray, tags: Sequence[str]) -> Thresholds:
    """Return the thresholds of :func:`tune_thresholds` that favour macro F1."""
    return replace(tune_thresholds(targets, probabilities, tags, MACRO_STRENGTH), tuning=FOR_MACRO)


def min_confidence(probabilities: np.ndarray) -> float:
    """Return the raw probability of the most probable tag below which no tag clearly fits.

    Parameters
    ----------
    probabilities : float array of shape (n, num_labels), of the validation questions
    """
    return round(float(np.quantile(probabilities.max(axis=1), DOUBTED_SHARE)), 6)


def fit_line(
    targets: np.ndarray, probabilities: np.ndarray, global_threshold: float, thresholds: np.ndarray
) -> Calibration:
    """Return slope and threshold of the line that calibrates the shown probabilities.

    Parameters
    ----------
    targets, probabilities : bool and float array of shape (n, num_labels)
    global_threshold : the threshold if no line can be fitted
    thresholds : float array of shape (num_labels,), the tags' own
    """
    shifted = log_odds(probabilities) - log_odds(thresholds) + log_odds(global_threshold)
    slope, intercept = fit_platt(targets, shifted)
    threshold = float(sigmoid(slope * log_odds(global_threshold) + intercept))
    return Calibration(round(slope, 6), round(min(max(threshold, MIN_THRESHOLD), 1 - MIN_THRESHOLD), 6))


def one_threshold(targets: np.ndarray, probabilities: np.ndarray, tags: Sequence[str]) -> Thresholds:
    """Return the global threshold of :func:`tune_thresholds` as that of every tag."""
    threshold = round(max(best_f1_threshold(targets, probabilities)[0], MIN_THRESHOLD), 6)
    calibration = Calibration(threshold=min(threshold, 1 - MIN_THRESHOLD))
    return Thresholds(threshold, dict.fromkeys(tags, threshold), calibration, ONE)


def one_half(targets: np.ndarray, probabilities: np.ndarray, tags: Sequence[str]) -> Thresholds:
    """Return 0.5 as the threshold of every tag, whatever the scores."""
    return Thresholds(0.5, dict.fromkeys(tags, 0.5), Calibration(), ONE_HALF)


TUNINGS: dict[str, Callable[[np.ndarray, np.ndarray, Sequence[str]], Thresholds]] = {
    PER_TAG: tune_thresholds,
    FOR_MACRO: tune_for_macro,
    ONE: one_threshold,
    ONE_HALF: one_half,
}


def suggest_by_folds(
    targets: np.ndarray,
    probabilities: np.ndarray,
    tags: Sequence[str],
    tune: Callable = tune_thresholds,
    folds: int = 2,
) -> np.ndarray:
    """Suggest tags in each fold of the questions with thresholds tuned on the others.

    Parameters
    ----------
    targets, probabilities : bool and float array of shape (n, num_labels)
    tune : a value of TUNINGS

    Returns
    -------
    bool array of shape (n, num_labels)
    """

    def suggest(seen: np.ndarray, seen_probabilities: np.ndarray, unseen_probabilities: np.ndarray) -> np.ndarray:
        rule = DecisionRule.of(tune(seen, seen_probabilities, tags), tags)
        return rule.suggest(rule.probabilities(unseen_probabilities))

    return choose_by_folds(targets, probabilities, suggest, folds)


def choose_by_folds(targets: np.ndarray, probabilities: np.ndarray, choose: Callable, folds: int = 2) -> np.ndarray:
    """Choose tags in each fold of the questions by what the others tell.

    Parameters
    ----------
    targets, probabilities : bool and float array of shape (n, num_labels)
    choose : function of the targets and probabilities of the others, and the probabilities of the fold, that returns
        a bool array for the fold

    Returns
    -------
    bool array of shape (n, num_labels)
    """
    fold = np.random.default_rng(0).permutation(len(targets)) % folds
    chosen = np.zeros_like(targets)
    for number in range(folds):
        scored = fold == number
        chosen[scored] = choose(targets[~scored], probabilities[~scored], probabilities[scored])
    return chosen
