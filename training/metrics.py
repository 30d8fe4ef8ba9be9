"""Figures for multi-label tagging. Pure functions of arrays of shape (n, num_labels)."""

import numpy as np

# The figures that every report starts with: heading -> name.
MAIN_FIGURES = {"micro F1": "f1_micro", "macro F1": "f1_macro", "P@1": "precision_at_1", "R@5": "recall_at_5"}
RESAMPLES = 1000
RESAMPLES_AT_ONCE = 100  # bounds the memory: as many rows of n counts


def multi_hot(tag_lists, tags) -> np.ndarray:
    """Return a bool array of shape (n, num_labels): which of ``tags`` each question carries. Other tags are ignored."""
    column = {tag: index for index, tag in enumerate(tags)}
    targets = np.zeros((len(tag_lists), len(column)), dtype=bool)
    for row, question_tags in enumerate(tag_lists):
        for tag in question_tags:
            if tag in column:
                targets[row, column[tag]] = True
    return targets


def most_probable(probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return each row's ``k`` most probable tags, best first: int array of shape (n, min(k, num_labels)).

    Examples
    --------
    >>> most_probable(np.array([[0.1, 0.7, 0.2]]), k=2).tolist()
    [[1, 2]]
    """
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]


def precision_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Return the share of the ``k`` most probable tags that are right, averaged over questions.

    Examples
    --------
    >>> precision_at(np.array([[False, True, True]]), np.array([[0.3, 0.9, 0.2]]), k=2)
    0.5
    """
    return float(_hits_by_rank(targets, probabilities, k).sum(axis=1).mean() / k)


def recall_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Return the share of a question's tags among its ``k`` most probable ones, averaged over questions with tags."""
    tagged = targets.any(axis=1)
    return float(_recalls_at(targets, probabilities, k)[tagged].mean())


def ndcg_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Return the normalized discounted cumulative gain at ``k``, averaged over questions with tags.

    A right tag at rank r gains 1 / log2(r + 1); 1.0 is a ranking with every right tag first (Järvelin and Kekäläinen
    2002, "Cumulated gain-based evaluation of IR techniques").
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    num_tags = targets.sum(axis=1)
    hits = _hits_by_rank(targets, probabilities, k)[num_tags > 0]
    ideal = np.cumsum(discounts)[np.minimum(num_tags[num_tags > 0], k) - 1]
    return float((hits @ discounts[: hits.shape[1]] / ideal).mean())


def _hits_by_rank(targets: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    return np.take_along_axis(targets, most_probable(probabilities, k), axis=1)


def _recalls_at(targets: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    return _hits_by_rank(targets, probabilities, k).sum(axis=1) / np.maximum(targets.sum(axis=1), 1)


# Figures of the ranking: name -> function of targets, probabilities and k, and k. They do not depend on the threshold.
RANKING_FIGURES = {f"precision_at_{k}": (precision_at, k) for k in (1, 3, 5)} | {
    "recall_at_5": (recall_at, 5),
    "ndcg_at_5": (ndcg_at, 5),
}


def tagging_metrics(targets: np.ndarray, chosen: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the figures that the comparison shows, each in [0, 1].

    Micro figures count every (question, tag) decision alike; macro figures are the mean over all tags, a tag without
    a question or a suggestion counting 0, as scikit-learn's ``zero_division=0``; ``f1_samples`` is the mean over the
    questions of each one's F1. Hamming accuracy is left out on purpose: over hundreds of sparse tags an empty answer
    scores 0.99.

    Parameters
    ----------
    targets, chosen : bool arrays of shape (n, num_labels): the questions' tags, and the suggested ones
    probabilities : float array of shape (n, num_labels), for RANKING_FIGURES
    """
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    figures = {}
    for average in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(targets, chosen, average=average, zero_division=0)
        figures |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
    figures["f1_samples"] = f1_score(targets, chosen, average="samples", zero_division=0)
    figures["exact_match"] = (targets == chosen).all(axis=1).mean()
    figures["empty_answers"] = (~chosen.any(axis=1)).mean()
    figures |= {name: measure(targets, probabilities, k) for name, (measure, k) in RANKING_FIGURES.items()}
    return {name: float(value) for name, value in figures.items()}


def f1_by_frequency(targets: np.ndarray, chosen: np.ndarray, train_counts: np.ndarray) -> dict[str, float]:
    """Return the macro F1 of the head, the middle and the tail: thirds of the tags by their training questions.

    The tags are sorted by ``train_counts``, shape (num_labels,), the most frequent first, and cut into thirds of equal
    size, the first ones a tag larger where three does not divide them. A third without a tag is left out.
    """
    from sklearn.metrics import f1_score

    f1 = f1_score(targets, chosen, average=None, zero_division=0)
    return {f"f1_{name}": float(f1[tags].mean()) for name, tags in frequency_thirds(train_counts).items()}


def frequency_thirds(train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the indices of the head's, the middle's and the tail's tags; see :func:`f1_by_frequency`."""
    thirds = np.array_split(np.argsort(-train_counts, kind="stable"), 3)
    return {name: tags for name, tags in zip(("head", "middle", "tail"), thirds, strict=True) if len(tags)}


def resample(
    targets: np.ndarray, chosen: np.ndarray, probabilities: np.ndarray, num_resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return MAIN_FIGURES on ``num_resamples`` bootstrap resamples.

    Each resample draws n of the n questions with replacement. Equal n and ``seed`` give equal draws, so that the
    figures of two models are paired and may be subtracted.

    Returns
    -------
    {figure: float array of shape (num_resamples,)}
    """
    n = len(targets)
    rng = np.random.default_rng(seed)
    hits = (targets & chosen).astype(np.float32)
    named = targets.astype(np.float32) + chosen  # F1 = 2 hits / (tags + suggestions)
    first, recalls = _hits_by_rank(targets, probabilities, 1)[:, 0], _recalls_at(targets, probabilities, 5)
    by_question = np.stack([first, recalls, targets.any(axis=1)], axis=1)
    blocks = []
    for start in range(0, num_resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, num_resamples - start)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float32)  # how often each one is drawn
        tag_hits, tag_named = counts @ hits, counts @ named
        first_hits, recall, tagged = (counts @ by_question).T
        blocks.append(
            [
                2 * tag_hits.sum(axis=1) / np.maximum(tag_named.sum(axis=1), 1),
                (2 * tag_hits / np.maximum(tag_named, 1)).mean(axis=1),
                first_hits / n,
                recall / np.maximum(tagged, 1),
            ]
        )
    return dict(zip(MAIN_FIGURES.values(), np.concatenate(blocks, axis=1), strict=True))


def interval(estimate: float, resampled: np.ndarray, lowest: float = 0.0) -> tuple[float, float]:
    """Return the 95 % interval of a figure in [``lowest``, 1]: 1.96 bootstrap standard errors to both sides.

    The standard interval of Efron and Tibshirani 1993, "An Introduction to the Bootstrap", not the percentiles of the
    resamples: a resample misses a third of the questions and with them rare tags, which then count 0, so that its
    macro F1 lies below the sample's. That shifts the percentiles, but not the standard error.
    """
    margin = 1.96 * float(np.std(resampled, ddof=1))
    return max(lowest, estimate - margin), min(1.0, estimate + margin)
