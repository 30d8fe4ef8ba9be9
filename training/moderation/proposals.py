"""Rules for tags that the tags of a site's questions suggest: implied tags and synonyms. Pure functions.

A person decides about each: that two tags go together does not say that one implies the other.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

MIN_BEGINNING = 0.72  # of the longer of two names, in which both begin alike, as in forecast and forecasting
QUANTILE = 1.96  # of the normal distribution, for a 95 % interval


@dataclass(frozen=True)
class Proposal:
    """A line of rules.toml: ``tag`` implies ``other``, or stands for it.

    ``questions`` have ``tag``, and ``together`` of them have ``other``, too.
    """

    tag: str
    other: str
    questions: int
    together: int

    @property
    def confidence(self) -> float:
        """The share of the questions with ``tag`` that have ``other``."""
        return self.together / self.questions


def counted(targets: np.ndarray) -> np.ndarray:
    """Return how many questions have both tags of each pair, int array of shape (num_labels, num_labels).

    Parameters
    ----------
    targets : bool array of shape (n, num_labels)
    """
    whole = targets.astype(np.float64)
    return np.rint(whole.T @ whole).astype(int)


def implications(counts: np.ndarray, tags: Sequence[str], min_confidence: float, min_questions: int) -> list[Proposal]:
    """Return the tags that at least ``min_confidence`` of the questions with another tag have, too.

    The other tag has at least ``min_questions`` questions. Two tags that imply each other are none: only one of them is
    needed, see :func:`synonyms`. The most certain come first, by the lower end of their interval.

    Parameters
    ----------
    counts : from :func:`counted`
    """
    found = [one for one in _pairs(counts, tags, min_questions) if one.confidence >= min_confidence]
    known = {(one.tag, one.other) for one in found}
    kept = [one for one in found if (one.other, one.tag) not in known]
    return sorted(kept, key=lambda one: (-lower_end(one.together, one.questions), one.tag, one.other))


def synonyms(counts: np.ndarray, tags: Sequence[str], min_confidence: float, min_questions: int) -> list[Proposal]:
    """Return pairs of tags of which the rarer may stand for the other.

    Their names are alike, or each comes with the other in at least ``min_confidence`` of its questions. The rarer one
    has at least ``min_questions`` questions.

    Parameters
    ----------
    counts : from :func:`counted`
    """
    column = {tag: index for index, tag in enumerate(tags)}
    found = []
    for one in _pairs(counts, tags, min_questions):
        others = counts[column[one.other], column[one.other]]
        if (others, one.other) < (one.questions, one.tag):  # the other is the rarer one
            continue
        inseparable = one.confidence >= min_confidence and one.together / others >= min_confidence
        if inseparable or are_alike(one.tag, one.other):
            found.append(one)
    taken: set[str] = set()
    chosen = []
    for one in sorted(found, key=lambda one: (-one.questions, one.tag, one.other)):
        if not {one.tag, one.other} & taken:  # a synonym of a synonym is none
            chosen.append(one)
            taken |= {one.tag, one.other}
    return chosen


def _pairs(counts: np.ndarray, tags: Sequence[str], min_questions: int) -> list[Proposal]:
    return [
        Proposal(tag, other, int(counts[row, row]), int(counts[row, column]))
        for row, tag in enumerate(tags)
        for column, other in enumerate(tags)
        if row != column and counts[row, row] >= min_questions
    ]


def are_alike(tag: str, other: str) -> bool:
    """Tell whether two names begin alike, up to their endings, or one is the initials of the other.

    Numbers tell tags apart.

    Examples
    --------
    >>> are_alike("forecast", "forecasting"), are_alike("cnn", "convolutional-neural-network")
    (True, True)
    >>> are_alike("search", "research"), are_alike("sha-1", "sha-2")
    (False, False)
    """
    short, long = sorted((tag, other), key=len)
    if len(short) > 2 and short == "".join(word[:1] for word in long.split("-")):
        return True
    if re.findall(r"\d+", short) != re.findall(r"\d+", long):
        return False
    letters = zip(short.replace("-", ""), long.replace("-", ""), strict=False)
    beginning = len(list(takewhile(lambda pair: pair[0] == pair[1], letters)))
    return beginning >= MIN_BEGINNING * len(long.replace("-", ""))


def lower_end(successes: int, trials: int) -> float:
    """Return the lower end of the 95 % interval of a share (Wilson 1927, "Probable inference").

    Examples
    --------
    >>> round(lower_end(19, 20), 3), round(lower_end(190, 200), 3)
    (0.764, 0.91)
    """
    share, spread = successes / trials, QUANTILE**2 / trials
    centre = share + spread / 2
    return (centre - QUANTILE * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))) / (1 + spread)


def as_toml(implied: Sequence[Proposal], alike: Sequence[Proposal], where: str) -> str:
    """Return the content of a rules.toml whose proposals are comments, with the figures that led to them."""

    def line(tag: str, value: object, figures: str) -> str:
        return f"# {json.dumps(tag)} = {json.dumps(value)}  # {figures}"

    lines = [
        f"# Proposals from {where}.",
        "# To accept one, remove the # before it. Copy what you accept into the rules.toml of the model's folder.",
        "",
        "[implied]",
    ]
    for one in implied:
        least = lower_end(one.together, one.questions)
        figures = f"{one.confidence:.0%} of {one.questions} questions; 95 % interval from {least:.0%}"
        lines.append(line(one.tag, [one.other], figures))
    lines += ["", "[synonyms]"]
    lines += [line(one.tag, one.other, f"{one.together} of {one.questions} questions have both") for one in alike]
    return "\n".join(lines) + "\n"
