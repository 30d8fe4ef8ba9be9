"""Errors that are planted into the tags of questions, to measure how many of them a worklist finds. Pure functions.

Half of the chosen questions lose a tag, the others get one in place of another that is about as frequent. A suggestion
that repairs neither may still be right, since the questions have errors of their own: precision is a lower bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARE = 0.05  # of the questions
RANKS = 10  # how far apart, in the order of frequency, a tag and the one in its place may be


@dataclass(frozen=True)
class Planted:
    """Tags with planted errors. All are bool arrays of shape (n, num_labels).

    ``targets`` are the tags then; ``lost`` those that a question lost with nothing in their place; ``replaced`` those
    that it lost for another one; ``wrong`` those that it got.
    """

    targets: np.ndarray
    lost: np.ndarray
    replaced: np.ndarray
    wrong: np.ndarray

    @property
    def changes(self) -> np.ndarray:
        """What should be changed: tags to add and to remove."""
        return self.lost | self.replaced | self.wrong


def plant(targets: np.ndarray, seed: int = 0, share: float = SHARE) -> Planted:
    """Plant errors into ``targets``, a bool array of shape (n, num_labels).

    No question is left without a tag: of those with a single one, it is replaced.
    """
    rng = np.random.default_rng(seed)
    by_rank = np.argsort(-targets.sum(axis=0), kind="stable")
    rank = np.argsort(by_rank)
    planted = Planted(targets.copy(), *(np.zeros_like(targets) for _ in range(3)))
    chosen = rng.permutation(np.flatnonzero(targets.any(axis=1)))[: round(share * len(targets))]
    for number, row in enumerate(chosen):
        own = np.flatnonzero(targets[row])
        tag = rng.choice(own)
        similar = by_rank[max(0, rank[tag] - RANKS) : rank[tag] + RANKS + 1]
        similar = similar[~targets[row, similar]]
        if len(own) > 1 and (number % 2 == 0 or not len(similar)):
            planted.targets[row, tag], planted.lost[row, tag] = False, True
        elif len(similar):
            other = rng.choice(similar)
            planted.targets[row, [tag, other]] = False, True
            planted.replaced[row, tag] = planted.wrong[row, other] = True
    return planted


def hits(rows: Sequence[dict], planted: Planted, tags: Sequence[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the suggestions of a worklist, highest first, and whether each repairs a planted error.

    Parameters
    ----------
    rows : as of :func:`training.moderation.worklist.worklist`
    kind : "add" or "remove"
    """
    column = {tag: index for index, tag in enumerate(tags)}
    found = [
        (change["score"], planted.changes[row["row"], column[change["tag"]]]) for row in rows for change in row[kind]
    ]
    scores, right = np.array([score for score, _ in found], float), np.array([is_hit for _, is_hit in found], bool)
    order = np.argsort(-scores, kind="stable")
    return scores[order], right[order]


def precision_and_recall(right: np.ndarray, num_planted: int, k: int) -> tuple[float, float]:
    """Return precision and recall of the first ``k`` suggestions; a list that is shorter than ``k`` gets no credit.

    Examples
    --------
    >>> precision_and_recall(np.array([True, False, True]), num_planted=4, k=2)
    (0.5, 0.25)
    """
    found = int(right[:k].sum())
    return found / k, found / max(num_planted, 1)


def precision_of_scores(scores: np.ndarray, right: np.ndarray):
    """Return a function from scores to the precision of suggestions with such a score, which never falls with it.

    It is fitted by isotonic regression (Zadrozny and Elkan 2002, "Transforming classifier scores into accurate
    multiclass probability estimates") to suggestions of known outcome; None if there are none.
    """
    from sklearn.isotonic import IsotonicRegression

    if not len(scores):
        return None
    return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, right).predict
