"""Which tags of an answer are ticked by default: tiers.json of a model folder, which onnx_export/tiers.py writes.

precision   what is promised of the ticked tags: the share of them that is right
ticked      {tag: calibrated probability from which on a suggested tag is ticked}; a tag that is missing never is
shown       calibrated probability from which on a tag that is not suggested is shown; below, it is hidden
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TIERS = "tiers.json"
TICKED, SHOWN = "ticked", "shown"  # the values of "tier" in an answer


@dataclass(frozen=True)
class Tiers:
    """The content of a tiers.json."""

    precision: float
    ticked: Mapping[str, float]
    shown: float

    def thresholds(self, tags: Sequence[str]) -> np.ndarray:
        """Return the probabilities from which on ``tags`` are ticked, a float array; infinity for those that never are.

        Examples
        --------
        >>> Tiers(0.8, {"r": 0.6}, 0.05).thresholds(["python", "r"]).tolist()
        [inf, 0.6]
        """
        return np.array([self.ticked.get(tag, np.inf) for tag in tags])


def parse_tiers(content: Mapping[str, Any], tags: Sequence[str]) -> Tiers:
    """Return the content of a tiers.json, whose tags must be among ``tags``.

    Raises
    ------
    ValueError
        A value is not as described in the docstring of this module.
    """
    match content:
        case {"precision": int() | float() as precision, "ticked": dict() as ticked, "shown": int() | float() as shown}:
            probabilities = [precision, shown, *ticked.values()]
            if all(isinstance(value, int | float) and 0 <= value <= 1 for value in probabilities):
                if unknown := ", ".join(sorted(set(ticked) - set(tags))[:3]):
                    raise ValueError(f"'ticked' has tags that the model does not know: {unknown}")
                return Tiers(precision, ticked, shown)
    raise ValueError("expected 'precision', 'ticked' ({tag: probability}) and 'shown', with numbers from 0 to 1")
