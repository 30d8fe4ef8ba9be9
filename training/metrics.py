"""Figures for multi-label tagging. Pure functions of arrays of shape (n, num_labels)."""

import numpy as np


def multi_hot(tag_lists, tags) -> np.ndarray:
    """Return a bool array of shape (n, num_labels): which of ``tags`` each question carries. Other tags are ignored."""
    column = {tag: index for index, tag in enumerate(tags)}
    targets = np.zeros((len(tag_lists), len(column)), dtype=bool)
    for row, question_tags in enumerate(tag_lists):
        for tag in question_tags:
            if tag in column:
                targets[row, column[tag]] = True
    return targets


def precision_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Return the share of the ``k`` most probable tags that are right, averaged over questions."""
    return float(_hits_at(targets, probabilities, k).mean() / k)


def recall_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Return the share of a question's tags among its ``k`` most probable ones, averaged over questions with tags."""
    tagged = targets.any(axis=1)
    return float((_hits_at(targets, probabilities, k)[tagged] / targets[tagged].sum(axis=1)).mean())


def _hits_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(targets, top, axis=1).sum(axis=1)


def tagging_metrics(targets: np.ndarray, chosen: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the figures that the comparison shows, each in [0, 1].

    Micro figures count every (question, tag) decision alike; macro figures are the mean over all tags, a tag without
    a question or a suggestion counting 0, as scikit-learn's ``zero_division=0``. Hamming accuracy is left out on
    purpose: over hundreds of sparse tags an empty answer scores 0.99.

    Parameters
    ----------
    targets, chosen : bool arrays of shape (n, num_labels): the questions' tags, and the suggested ones
    probabilities : float array of shape (n, num_labels), for the figures at a rank
    """
    from sklearn.metrics import precision_recall_fscore_support

    figures = {}
    for average in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(targets, chosen, average=average, zero_division=0)
        figures |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
    figures["exact_match"] = (targets == chosen).all(axis=1).mean()
    figures |= {f"precision_at_{k}": precision_at(targets, probabilities, k) for k in (1, 3, 5)}
    figures["recall_at_5"] = recall_at(targets, probabilities, 5)
    return {name: float(value) for name, value in figures.items()}
