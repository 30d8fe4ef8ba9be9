"""The questions of a site that are nearest to a new one: similar.npz of a model folder, made by onnx_export/index.py.

    vectors     int8, shape (n, hidden_size): the model's vectors of n questions around their mean, the largest
                coordinate of each scaled to 127
    mean        float32, shape (hidden_size,): the mean
    ids         int32, shape (n,): the questions' ids on the site
    tags        int32: the labels of the questions' tags, one question after the other
    num_tags    int32, shape (n,): how many of ``tags`` belong to each

No text is in this file. Titles are shown if similar_titles.txt, with one title per line in the same order, lies beside
it; an operator who has the data can make it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tagging.stack_exchange import STACK_EXCHANGE

SIMILAR, SIMILAR_TITLES = "similar.npz", "similar_titles.txt"
NUM_SIMILAR = 3
# Cosine from which a question is called a possible duplicate; benchmarks/similar.py shows what other values would do.
DUPLICATE = 0.95


@dataclass(frozen=True)
class Index:
    """The content of a similar.npz, of n questions."""

    vectors: np.ndarray
    mean: np.ndarray
    ids: np.ndarray
    tags: np.ndarray
    num_tags: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, ids: Sequence[int], labels: Sequence[Sequence[int]]) -> "Index":
        """Make the index of questions.

        Parameters
        ----------
        vectors : float array of shape (n, hidden_size)
        ids : n ids
        labels : the labels of the tags of each question
        """
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        directions = unit(vectors - mean)
        scale = np.maximum(np.abs(directions).max(axis=1, keepdims=True), 1e-12) / 127
        tags = np.array([label for row in labels for label in row], dtype=np.int32)
        return cls(
            np.round(directions / scale).astype(np.int8),
            mean,
            np.array(ids, dtype=np.int32),
            tags,
            np.array([len(row) for row in labels], dtype=np.int32),
        )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors, shape (n, hidden_size), at length 1; a vector of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def nearest_rows(directions: np.ndarray, direction: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` rows of largest cosine to ``direction``, the nearest first, or all if there are fewer.

    Parameters
    ----------
    directions, direction : float arrays of shape (n, hidden_size) and (hidden_size,), of length 1

    Returns
    -------
    the rows, and their cosines
    """
    cosines = directions @ direction
    count = min(count, len(cosines))
    found = np.argpartition(-cosines, count - 1)[:count]
    found = found[np.argsort(-cosines[found], kind="stable")]
    return found, cosines[found]


class SimilarQuestions:
    """Finds the nearest questions by exact search.

    Parameters
    ----------
    index
    titles : titles of its questions, or none
    tags : the model's, in the order of its labels
    site : URL of the site
    """

    def __init__(self, index: Index, titles: Sequence[str], tags: Sequence[str], site: str):
        self._directions = unit(index.vectors.astype(np.float32))
        self._mean, self._ids, self._titles, self._tags, self._site = index.mean, index.ids, titles, tags, site
        self._labels = np.split(index.tags, np.cumsum(index.num_tags)[:-1])

    @property
    def size(self) -> int:
        """Return the size of the vectors."""
        return self._directions.shape[1]

    def nearest(self, vector: np.ndarray) -> list[dict]:
        """Return the NUM_SIMILAR questions whose vectors have the largest cosine to ``vector``, the nearest first.

        Parameters
        ----------
        vector : float array of shape (hidden_size,), the model's

        Returns
        -------
        list of {"url": str, "title": str, "tags": list of str, "similarity": float, "duplicate": bool}
            "title" is "" if it is unknown. "duplicate": the questions are possible duplicates.
        """
        rows, cosines = nearest_rows(self._directions, unit(vector - self._mean), NUM_SIMILAR)
        return [
            {
                "url": STACK_EXCHANGE.question_url(self._site, int(self._ids[row])),
                "title": self._titles[row] if self._titles else "",
                "tags": [self._tags[label] for label in self._labels[row]],
                "similarity": round(float(cosine), 4),
                "duplicate": bool(cosine >= DUPLICATE),
            }
            for row, cosine in zip(rows, cosines, strict=True)
        ]


def write_index(index: Index, path: Path) -> None:
    """Write a similar.npz."""
    with path.open("wb") as file:
        np.savez_compressed(file, **asdict(index))


def read_index(path: Path, num_labels: int) -> Index:
    """Read a similar.npz.

    Raises
    ------
    ValueError
        It cannot be read, or its arrays are not as the docstring of this module describes them.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            index = Index(*(arrays[field.name] for field in fields(Index)))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as an index of questions ({error})") from error
    n = len(index.ids)
    sound = (
        n > 0
        and index.vectors.dtype == np.int8
        and index.vectors.shape == (n, *index.mean.shape)
        and index.num_tags.shape == (n,)
        and index.num_tags.sum() == len(index.tags)
        and ((index.tags >= 0) & (index.tags < num_labels)).all()
    )
    if not sound:
        raise ValueError(f"{path}: its arrays do not belong together, or to this model")
    return index
