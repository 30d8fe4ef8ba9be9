"""Duplicates, and the splits into train, validation and test that keep them together. Pure functions."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

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

    MinHash LSH (Broder 1997) proposes the pairs; the similarity of the shingle sets themselves decides. Buckets come
    from sorting, band by band: hash tables of all bands, as libraries keep them, outgrow memory at a million questions.
    """
    from datasketch import MinHash

    bands, rows = BANDS
    numbers = [number for number, text in enumerate(texts) if len(WORDS.findall(text)) >= MIN_WORDS]
    minhashes = MinHash.generator((shingles(texts[number]) for number in numbers), num_perm=bands * rows)
    signatures = np.array([minhash.hashvalues.astype(np.uint32) for minhash in minhashes]).reshape(-1, bands * rows)
    tested = set()
    for band in np.split(signatures, bands, axis=1):
        for pair in pairs_of_equal_rows(band):
            if pair not in tested:
                tested.add(pair)
                one, other = (numbers[index] for index in pair)
                if jaccard(shingles(texts[one]), shingles(texts[other])) >= MIN_JACCARD:
                    yield one, other


def pairs_of_equal_rows(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of row numbers, the smaller first, of equal rows of a two-dimensional array."""
    order = np.lexsort(array.T)
    bucket = np.cumsum(np.r_[False, (array[order[1:]] != array[order[:-1]]).any(axis=1)][: len(order)])
    shared = np.bincount(bucket)[bucket] > 1
    for rows in np.split(order[shared], np.flatnonzero(np.diff(bucket[shared])) + 1):
        yield from combinations(rows.tolist(), 2)


def shingles(text: str) -> set[bytes]:
    """Return the runs of SHINGLE_WORDS words of ``text``."""
    words = WORDS.findall(text)
    return {" ".join(words[i : i + SHINGLE_WORDS]).encode() for i in range(len(words) - SHINGLE_WORDS + 1)}


def jaccard(one: set, other: set) -> float:
    """Return the share of the elements of two sets, not both empty, that are in both."""
    return len(one & other) / len(one | other)


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
