"""The scorers of the worklist: each learns from some questions and gives the logits of others, without I/O.

A scorer is a function of two integer arrays, the rows to learn from and the m rows to score, that returns a float array
of shape (m, num_labels).
"""

from collections.abc import Callable

import numpy as np

from tagging.similar import unit
from training.dataset import Part
from training.heads import fit_heads
from training.tfidf import TfidfTagger, fit

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Chosen on the planted errors of benchmarks/worklist.py.
NEIGHBOURS = 40
SHARPNESS = 8.0  # a neighbour whose cosine is lower by 0.1 weighs exp(-0.8) times as much
PRIOR_QUESTIONS = 2  # how many neighbours the tags' frequencies count as
ROWS_AT_ONCE = 2048  # bounds the memory


def tfidf_scorer(questions: Part) -> Scorer:
    """Return the baseline of training/tfidf.py as a scorer: it reads words."""

    def score(seen: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        part = questions.take(unseen)
        probabilities = TfidfTagger(fit(questions.take(seen))).raw_probabilities(part.titles, part.descriptions)
        return log_odds(probabilities)

    return score


def heads_scorer(questions: Part, vectors: np.ndarray) -> Scorer:
    """Return the heads of training/heads.py as a scorer; ``vectors`` has the shape (n, hidden_size)."""

    def score(seen: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        return fit_heads(vectors[seen], questions.targets[seen])(vectors[unseen])

    return score


def neighbours_scorer(questions: Part, vectors: np.ndarray) -> Scorer:
    """Return a scorer by the tags of the nearest questions, by cosine around the mean; ``vectors`` as above."""

    def score(seen: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        directions = unit(vectors - vectors[seen].mean(axis=0))
        targets = questions.targets[seen].astype(np.float32)
        prior = (targets.sum(axis=0) + 1) / (len(seen) + 2)
        nearest = min(NEIGHBOURS, len(seen))
        logits = []
        for start in range(0, len(unseen), ROWS_AT_ONCE):
            cosines = directions[unseen[start : start + ROWS_AT_ONCE]] @ directions[seen].T
            rows = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
            weights = np.exp(SHARPNESS * (np.take_along_axis(cosines, rows, axis=1) - 1))
            counts = np.stack([weight @ targets[row] for weight, row in zip(weights, rows, strict=True)])
            pseudo = PRIOR_QUESTIONS * weights.mean(axis=1, keepdims=True)
            logits.append(log_odds((counts + pseudo * prior) / (weights.sum(axis=1, keepdims=True) + pseudo)))
        return np.concatenate(logits)

    return score


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits of probabilities, those of 0 and 1 as of 1e-7 and 1 - 1e-7."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped))
