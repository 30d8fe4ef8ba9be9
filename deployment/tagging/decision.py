"""From the probabilities of a model to the tags that are suggested. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tagging.settings import DEFAULTS, Settings


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


def calibrate_logits(
    logits: np.ndarray, titles: Sequence[str], descriptions: Sequence[str], settings: Settings
) -> np.ndarray:
    """Return the logits of questions, shape (n, num_labels), calibrated by ``settings.alone``.

    The model's own probabilities are right for questions that have all fields which it reads; a question with one
    field alone gives it less to read than what it was calibrated on.
    """
    lines = np.array(list(map(settings.calibration_line, titles, descriptions)), dtype=logits.dtype).reshape(-1, 2)
    return logits * lines[:, :1] + lines[:, 1:]


class Calibration(NamedTuple):
    """The line of :class:`DecisionRule`. The default leaves the raw probability at a tag's threshold at 0.5."""

    slope: float = 1.0
    threshold: float = 0.5


@dataclass(frozen=True)
class Thresholds:
    """The content of thresholds.json, tuned on the validation scores of a model.

    Attributes
    ----------
    global_threshold : float in (0, 1]
        The best single threshold of the raw probabilities.
    per_tag : dict of str to float in (0, 1]
        The threshold of each tag.
    calibration : Calibration
    tuning : str
        How they were tuned, a key of training.thresholds.TUNINGS; "" if unknown.
    """

    global_threshold: float
    per_tag: Mapping[str, float]
    calibration: Calibration
    tuning: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the content of thresholds.json."""
        return {
            "global": self.global_threshold,
            "per_tag": dict(self.per_tag),
            "calibration": self.calibration._asdict(),
            **({"tuning": self.tuning} if self.tuning else {}),
        }


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
    max_tags : int
        Maximum number of suggested tags.
    min_confidence : float in [0, 1]
        Raw probability of the most probable tag below which no tag clearly fits.
    """

    thresholds: np.ndarray
    slope: float
    threshold: float
    max_tags: int
    min_confidence: float

    @classmethod
    def of(cls, thresholds: Thresholds, tags: Sequence[str], settings: Settings = DEFAULTS) -> "DecisionRule":
        """Return the rule for ``tags``, in the order of the model's labels."""
        return cls(
            np.array([thresholds.per_tag[tag] for tag in tags], dtype=float),
            *thresholds.calibration,
            settings.max_tags,
            settings.min_confidence,
        )

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities of raw ones, a float array of the same shape (n, num_labels)."""
        return sigmoid(self.slope * (log_odds(raw) - log_odds(self.thresholds)) + log_odds(self.threshold))

    def suggest(self, probabilities: np.ndarray) -> np.ndarray:
        """Select the suggested tags by calibrated probabilities, see :func:`suggest`."""
        return suggest(probabilities, self.threshold, self.max_tags)

    def fits(self, raw: np.ndarray) -> np.ndarray:
        """Return whether some tag clearly fits, by raw probabilities of shape (n, num_labels): bool array (n,)."""
        return raw.max(axis=1) >= self.min_confidence


def suggest(probabilities: np.ndarray, threshold: float, max_tags: int = DEFAULTS.max_tags) -> np.ndarray:
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
