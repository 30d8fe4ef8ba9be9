"""The splits into train, validation and test, which keep duplicates together. Pure functions."""

import numpy as np

from data.files import FRACTIONS, REPOST


def random_split(groups: np.ndarray, seed: int = 42) -> np.ndarray:
    """Assign each question to train, validation or test (80 / 10 / 10), each group as a whole.

    Parameters
    ----------
    groups : int array of shape (n,), from :func:`data.duplicates.long_duplicate_groups`

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


def keep_apart(splits: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return ``splits`` with :data:`data.files.REPOST` for each question of whose group a later part holds another.

    A later part is test after validation after train: what is measured on stays, and what would tell of it goes.

    Parameters
    ----------
    splits : str array of shape (n,), from :func:`random_split`
    groups : int array of shape (n,), from :func:`data.duplicates.duplicate_groups`
    """
    names = list(FRACTIONS)
    part = np.array([names.index(split) for split in splits])
    latest = np.zeros(groups.max() + 1, dtype=int)
    np.maximum.at(latest, groups, part)
    return np.where(part < latest[groups], REPOST, splits)


def check_parts(splits: np.ndarray) -> None:
    """Raise ValueError if a part of the split holds no question."""
    empty = [part for part in FRACTIONS if part not in splits]
    if empty:
        raise ValueError(f"{len(splits)} questions are too few, or too alike: none is left for {empty[0]}; get more")


def time_split(groups: np.ndarray, dates: np.ndarray) -> np.ndarray:
    """Assign the oldest 80 % of the questions to train, the next tenth to validation, the newest tenth to test.

    Questions of the same date stay together, in the later part. A later copy of a question of an earlier part is
    :data:`data.files.REPOST`: in test it would measure memory, and in train it would tell of the future.

    Parameters
    ----------
    groups : int array of shape (n,), from :func:`data.duplicates.duplicate_groups`
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
