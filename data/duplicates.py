"""Find questions with equal or nearly equal texts. Pure functions."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

WORDS = re.compile(r"\w+")
SHINGLE_WORDS = 3
# Chosen on the bodies of two sites: the inspected pairs of 0.5 or more were re-posted or reworded questions.
MIN_JACCARD = 0.5
# Titles alone, at most 150 characters, can have half of their shingles in common by chance ("Multivariate time series",
# "Multivariate time series classification"), and no shingle in common if the words are reordered: texts shorter than
# this are compared by their content words.
MIN_WORDS = 30
# Chosen on 20,870 titles of datascience.stackexchange.com: all 33 pairs with the same content words ask the same
# ("Anomaly detection in time series", "Time series - anomaly detection"), and so do most of the 74 other pairs of 0.8
# or more (at least five words in common and one additional word). Most of the 116 pairs from 0.75 to 0.8 (four words in
# common and one additional word) do not ("Text classification", "One-class text classification"). 3-word shingles
# cannot separate the two.
MIN_JACCARD_OF_WORDS = 0.8
STOP_WORDS = {
    "a", "about", "am", "an", "and", "are", "as", "at", "be", "been", "by", "can", "could", "did", "do", "does",
    "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "may", "me", "might",
    "must", "my", "of", "on", "or", "our", "should", "so", "that", "the", "there", "these", "this", "those", "to",
    "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
}  # fmt: skip
# (bands, rows): a pair at MIN_JACCARD is found with probability 1 - (1 - 0.5**3)**42 = 0.996, and one at
# MIN_JACCARD_OF_WORDS with 1 - (1 - 0.8**8)**30 = 0.996 (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
# section 3.4).
BANDS = (42, 3)
BANDS_OF_WORDS = (30, 8)
RECENT_SETS = 10_000  # sets of candidates that are kept


def normalize_text(text: str) -> str:
    """Return ``text`` case-folded and with single spaces, so that re-posted questions compare equal.

    Examples
    --------
    >>> normalize_text("Which  METRIC?\\n")
    'which metric?'
    """
    return " ".join(text.casefold().split())


def duplicate_groups(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
    """Return the group number of each question, int array of shape (n,); near-duplicates have the same number.

    Examples
    --------
    >>> duplicate_groups(["What is a loss?", "Plot of two columns", "what is  a loss"], ["", "", ""]).tolist()
    [1, 0, 1]
    """
    return join_groups(long_duplicate_groups(titles, descriptions), short_near_duplicates(titles, descriptions))


def resembles(texts: tuple[Sequence[str], Sequence[str]], others: tuple[Sequence[str], Sequence[str]]) -> np.ndarray:
    """Return whether each of n questions is equal or nearly equal to one of ``others``: bool array of shape (n,).

    Both are (titles, descriptions). Titles are compared alone, too: one of the two may lack its description.

    Examples
    --------
    >>> resembles((["What is a loss?", "Plot two columns"], ["", ""]), (["what is  a loss"], ["It is NaN."])).tolist()
    [True, False]
    """
    (titles, descriptions), (other_titles, other_descriptions) = texts, others
    titled = np.array([bool(title.strip()) for title in titles], dtype=bool)
    found = np.zeros(len(titles), dtype=bool)
    for compared, own, other in (
        (~found, descriptions, other_descriptions),
        (titled, [""] * len(titles), [""] * len(other_titles)),
    ):
        groups = duplicate_groups([*other_titles, *titles], [*other, *own])
        found |= compared & np.isin(groups[len(other_titles) :], groups[: len(other_titles)])
    return found


def long_duplicate_groups(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
    """Group equal texts and nearly equal long texts, numbered by the rank of each group's first text.

    Two long questions are near-duplicates if the sets of 3-word shingles of title and description have a Jaccard
    similarity of at least MIN_JACCARD; groups are the connected components. The order of the rows has no effect.

    Returns
    -------
    int array of shape (n,), the group of each question
    """
    fields = zip(titles, descriptions, strict=True)
    keys = ["\0".join(map(normalize_text, both)) for both in fields]  # sorted by title first
    unique = sorted(set(keys))
    groups = join_groups(np.arange(len(unique)), near_duplicates(unique))
    group = dict(zip(unique, groups, strict=True))
    return np.array([group[key] for key in keys], dtype=int)


def join_groups(groups: np.ndarray, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Merge the groups of the two rows of each pair.

    Parameters
    ----------
    groups
        Group number of each row, int array of shape (n,).
    pairs
        Pairs of row numbers.

    Returns
    -------
    int array of shape (n,); the new groups are numbered in the order of the smallest old number in each.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = groups[np.array(list(pairs), dtype=int).reshape(-1, 2)]
    size = groups.max() + 1
    _, components = connected_components(coo_array((np.ones(len(links)), links.T), shape=(size, size)), directed=False)
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse][groups]


def near_duplicates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of row numbers of nearly equal texts; texts shorter than MIN_WORDS are ignored."""
    rows = [row for row, text in enumerate(texts) if len(WORDS.findall(text)) >= MIN_WORDS]

    def shingles_of(index: int) -> set[bytes]:
        return shingles(texts[rows[index]])

    for one, other in similar_pairs(shingles_of, len(rows), MIN_JACCARD, BANDS):
        yield rows[one], rows[other]


def short_near_duplicates(titles: Sequence[str], descriptions: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of row numbers whose texts have nearly the same content words in any order.

    At least one text of each pair is shorter than MIN_WORDS.
    """
    short = []  # (row, text, length)
    for row, fields in enumerate(zip(titles, descriptions, strict=True)):
        text = normalize_text(" ".join(fields))
        length = len(WORDS.findall(text))
        if 0 < length < MIN_WORDS / MIN_JACCARD_OF_WORDS:
            short.append((row, text, length))

    def words_of(index: int) -> set[bytes]:
        return content_words(short[index][1])

    for pair in similar_pairs(words_of, len(short), MIN_JACCARD_OF_WORDS, BANDS_OF_WORDS):
        (one, _, length), (other, _, other_length) = (short[index] for index in pair)
        if min(length, other_length) < MIN_WORDS:
            yield one, other


def similar_pairs(
    set_of: Callable[[int], set[bytes]], size: int, min_jaccard: float, bands: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Yield pairs of numbers below ``size`` whose sets, none of them empty, are similar.

    MinHash LSH (Broder 1997) finds candidate pairs; those whose Jaccard similarity is at least ``min_jaccard`` are
    yielded. Each band is sorted to find its buckets. Neither hash tables of all bands, as libraries keep them, nor all
    sets would fit into the memory at a million questions, so the sets of candidates are made again.
    """
    from datasketch import MinHash

    number, rows = bands
    signatures = np.empty((size, number * rows), dtype=np.uint32)
    for row, minhash in enumerate(MinHash.generator(map(set_of, range(size)), num_perm=number * rows)):
        signatures[row] = minhash.hashvalues
    recent = lru_cache(RECENT_SETS)(set_of)
    tested = set()
    for band in np.split(signatures, number, axis=1):
        for pair in pairs_of_equal_rows(band):
            if pair not in tested:
                tested.add(pair)
                one, other = pair
                if jaccard(recent(one), recent(other)) >= min_jaccard:
                    yield one, other


def pairs_of_equal_rows(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs of row numbers, smaller first, of equal rows of a two-dimensional array."""
    order = np.lexsort(array.T)
    bucket = np.cumsum(np.r_[False, (array[order[1:]] != array[order[:-1]]).any(axis=1)][: len(order)])
    shared = np.bincount(bucket)[bucket] > 1
    for rows in np.split(order[shared], np.flatnonzero(np.diff(bucket[shared])) + 1):
        yield from combinations(rows.tolist(), 2)


def shingles(text: str) -> set[bytes]:
    """Return all sequences of SHINGLE_WORDS consecutive words of ``text``.

    Examples
    --------
    >>> sorted(shingles("join two data frames"))
    [b'join two data', b'two data frames']
    """
    words = WORDS.findall(text)
    return {" ".join(words[i : i + SHINGLE_WORDS]).encode() for i in range(len(words) - SHINGLE_WORDS + 1)}


def content_words(text: str) -> set[bytes]:
    """Return the words of a normalized text without STOP_WORDS and plural s; all words if there are only stop words.

    Examples
    --------
    >>> sorted(content_words("what are the activation functions?"))
    [b'activation', b'function']
    """
    words = set(WORDS.findall(text))
    return {_singular(word).encode() for word in words - STOP_WORDS or words}


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def jaccard(one: set, other: set) -> float:
    """Return the share of the elements of two sets, not both empty, that are in both.

    Examples
    --------
    >>> jaccard({"a", "b"}, {"b", "c"}) == 1 / 3
    True
    """
    return len(one & other) / len(one | other)
