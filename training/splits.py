"""Duplicates, and the splits into train, validation and test that keep them together. Pure functions."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
REPOST = "repost"  # in a split by time: a later copy of a question of an earlier part, used by no stage

WORDS = re.compile(r"\w+")
SHINGLE_WORDS = 3
# Read on the bodies of two sites: the pairs from 0.5 on that we looked at were re-posted or reworded questions.
MIN_JACCARD = 0.5
# Titles alone, at most 150 characters, share half of their shingles by chance ("Multivariate time series",
# "Multivariate time series classification"): below this length only equal texts count as duplicates.
MIN_WORDS = 30
# (bands, rows): a pair at MIN_JACCARD is found with probability 1 - (1 - 0.5**3)**42 = 0.996 (Leskovec, Rajaraman and
# Ullman, "Mining of Massive Datasets", section 3.4).
BANDS = (42, 3)


def normalize_text(text: str) -> str:
    """Return ``text`` in one case and with single blanks, so that re-posted questions compare equal."""
    return " ".join(text.casefold().split())


def duplicate_groups(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
    """Number the groups of equal and nearly equal questions, by the rank of each group's first text.

    Two questions are near-duplicates if the sets of 3-word shingles of title and description have a Jaccard similarity
    of at least MIN_JACCARD; groups are closed under chains of them. The order of the rows changes nothing.

    Returns
    -------
    int array of shape (n,), the group of each question
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys = [(normalize_text(title), normalize_text(text)) for title, text in zip(titles, descriptions, strict=True)]
    unique = sorted(set(keys))
    pairs = np.array(list(near_duplicates([" ".join(key) for key in unique])), dtype=int).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(unique), len(unique)))
    _, components = connected_components(links, directed=False)
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    group = dict(zip(unique, rank[inverse], strict=True))
    return np.array([group[key] for key in keys], dtype=int)


def near_duplicates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of row numbers whose texts are nearly equal, texts below MIN_WORDS left out.

    MinHash LSH (Broder 1997) proposes the pairs; the similarity of the shingle sets themselves decides.
    """
    from datasketch import MinHash, MinHashLSH

    words = {row: found for row, text in enumerate(texts) if len(found := WORDS.findall(text)) >= MIN_WORDS}
    shingles = {
        row: {" ".join(found[i : i + SHINGLE_WORDS]).encode() for i in range(len(found) - SHINGLE_WORDS + 1)}
        for row, found in words.items()
    }
    seen = MinHashLSH(params=BANDS)
    for row, minhash in zip(shingles, MinHash.generator(shingles.values()), strict=True):
        for other in seen.query(minhash):
            shared = len(shingles[row] & shingles[other])
            if shared >= MIN_JACCARD * len(shingles[row] | shingles[other]):
                yield other, row
        seen.insert(row, minhash)


def random_split(groups: np.ndarray, seed: int = 42) -> np.ndarray:
    """Assign each question to train, validation or test (80 / 10 / 10), each group as a whole.

    Parameters
    ----------
    groups : int array of shape (n,), from :func:`duplicate_groups`

    Returns
    -------
    str array of shape (n,), "train", "validation" or "test" for each question
    """
    sizes = np.bincount(groups)
    shuffled = np.arange(len(sizes))
    np.random.default_rng(seed).shuffle(shuffled)
    placed = np.cumsum(sizes[shuffled]) - sizes[shuffled]
    # The part that holds the group's first question; rounding keeps 0.8 + 0.1 from spilling by a float's last bit.
    boundaries = np.round(np.cumsum(list(FRACTIONS.values())) * len(groups), 6)
    part = np.empty(len(sizes), dtype=int)
    part[shuffled] = np.searchsorted(boundaries, placed, side="right")
    return np.array(list(FRACTIONS))[part[groups]]


def time_split(groups: np.ndarray, dates: np.ndarray) -> np.ndarray:
    """Assign the oldest 80 % of the questions to train, the next tenth to validation, the newest tenth to test.

    Questions of the same date stay together, in the later part. A later copy of a question of an earlier part is
    :data:`REPOST`: in test it would measure memory, and in train it would tell of the future.

    Parameters
    ----------
    groups : int array of shape (n,), from :func:`duplicate_groups`
    dates : datetime64 array of shape (n,)

    Returns
    -------
    str array of shape (n,), "train", "validation", "test" or "repost" for each question

    Raises
    ------
    ValueError : so many questions share a date that a part stays empty
    """
    boundaries = np.round(np.cumsum(list(FRACTIONS.values()))[:-1] * len(dates), 6).astype(int)
    starts = np.sort(dates)[boundaries]
    part = np.searchsorted(starts, dates, side="right")
    if set(part) != set(range(len(FRACTIONS))):
        raise ValueError("too few different creation dates for a split by time; take --split random")
    earliest = np.full(groups.max() + 1, len(FRACTIONS))
    np.minimum.at(earliest, groups, part)
    return np.where(part > earliest[groups], REPOST, np.array(list(FRACTIONS))[part])
