"""From the probabilities of a model to the tags that are suggested. Pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MAX_TAGS = 5  # a Stack Exchange question has one to five tags
NO_CALIBRATION = {"slope": 1.0, "threshold": 0.5}  # of a thresholds.json without "calibration"


def sigmoid(logits: np.ndarray | np.floating) -> np.ndarray:
    """Return the probabilities of logits of any shape, without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.exp(-np.logaddexp(0.0, -logits))


def log_odds(probabilities: np.ndarray | float) -> np.ndarray:
    """Return the logits of probabilities of any shape; probabilities are clipped to [1e-9, 1 - 1e-9].

    Examples
    --------
    >>> log_odds(np.array([0.5, 0.75])).round(3).tolist()
    [0.0, 1.099]
    """
    probabilities = np.clip(np.asarray(probabilities, dtype=float), 1e-9, 1 - 1e-9)
    return np.log(probabilities / (1 - probabilities))


class DecisionRule(NamedTuple):
    """Maps the raw probabilities of a model to calibrated ones, for which a single threshold serves every tag.

    Each tag has its own threshold for the raw probability. Ranked by raw probability, a suggested tag could therefore
    come after a tag that is not suggested. The calibrated probability depends on the distance of a tag's log odds to
    those of its threshold, through one straight line for all tags, fitted on validation questions (Platt 1999). Its
    ranking is the ranking of the suggestions.

    Attributes
    ----------
    thresholds : float array of shape (num_labels,), each in (0, 1]
        Thresholds of the raw probabilities.
    slope : float, positive
        Slope of the line.
    threshold : float in (0, 1)
        The calibrated probability from which a tag is suggested.
    """

    thresholds: np.ndarray
    slope: float
    threshold: float

    @classmethod
    def of(cls, content: dict, tags: Sequence[str]) -> "DecisionRule":
        """Return the rule that the content of a thresholds.json describes; without "calibration" the slope is 1."""
        thresholds = np.array([content["per_tag"][tag] for tag in tags], dtype=float)
        line = content.get("calibration", NO_CALIBRATION | {"threshold": content.get("global", 0.5)})
        return cls(thresholds, line["slope"], line["threshold"])

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities of raw ones, a float array of the same shape (n, num_labels)."""
        return sigmoid(self.slope * (log_odds(raw) - log_odds(self.thresholds)) + log_odds(self.threshold))


def suggest(probabilities: np.ndarray, threshold: float, max_tags: int = MAX_TAGS) -> np.ndarray:
    """Select the suggested tags of each question: at least one, at most ``max_tags``.

    The most probable tags are selected while they reach the threshold. If none reaches it, the most probable one is.

    Parameters
    ----------
    probabilities : float array of shape (n, num_labels)
        Calibrated probabilities, for which one threshold serves every tag.
    threshold : float
    max_tags : int

    Returns
    -------
    bool array of shape (n, num_labels)
        One to ``max_tags`` True values per row.

    Examples
    --------
    >>> suggest(np.array([[0.9, 0.4, 0.1], [0.1, 0.2, 0.0]]), threshold=0.3).tolist()
    [[True, True, False], [False, True, False]]
    """
    best_first = np.argsort(-probabilities, axis=1, kind="stable")[:, :max_tags]
    chosen = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(chosen, best_first, np.take_along_axis(probabilities, best_first, axis=1) >= threshold, axis=1)
    chosen[np.arange(len(chosen)), best_first[:, 0]] = True
    return chosen
