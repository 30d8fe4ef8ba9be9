"""The one split into train, validation and test that every model shares. Pure functions."""

from collections.abc import Sequence

import numpy as np

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def normalize_text(text: str) -> str:
    """Return ``text`` in one case and with single blanks, so that re-posted questions compare equal."""
    return " ".join(text.casefold().split())


def assign_splits(urls: Sequence[str], titles: Sequence[str], descriptions: Sequence[str], seed: int = 42) -> list[str]:
    """Assign each question to train, validation or test (80 / 10 / 10), questions with the same text to the same part.

    Neither the order of the rows nor the host of the urls matters: groups of equal text are sorted by their text
    before the seeded shuffle, so that a scrape whose rows came in another order is split alike.

    Returns
    -------
    list of str, "train", "validation" or "test" for each question in the order given
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (title, description) in enumerate(zip(titles, descriptions, strict=True)):
        groups.setdefault((normalize_text(title), normalize_text(description)), []).append(row)
    shuffled = sorted(groups)
    np.random.default_rng(seed).shuffle(shuffled)

    boundaries = np.cumsum(list(FRACTIONS.values())) * len(urls)
    splits = [""] * len(urls)
    placed = 0
    for text in shuffled:
        # The part that holds the group's first question; rounding keeps 0.8 + 0.1 from spilling by a float's last bit.
        part = list(FRACTIONS)[int(np.searchsorted(np.round(boundaries, 6), placed, side="right"))]
        for row in groups[text]:
            splits[row] = part
        placed += len(groups[text])
    return splits
