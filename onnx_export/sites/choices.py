"""The settings of a site's stages by the amount of its data. Pure functions.

The number of steps of a training decides how much is learnt, rather than the number of epochs: small sites are read
more often. A tag needs questions in each part of the split, of which validation and test are a tenth each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_QUESTIONS = 20  # of a tag: two in the validation part, two in the test part
LEAST_SHARE = 0.001  # the default of filter_tags.py, which is more than LEAST_QUESTIONS from 20,000 questions on
SMALL_SITE = 2000  # questions; below, a hundredth of them is enough for a tag, down to FEWEST_QUESTIONS
FEWEST_QUESTIONS = 5
TOKENS_PER_WORD = 1.4  # of English text, about; code and formulas have more
LENGTHS = (64, 128, 256)  # tokens
MANY_QUESTIONS = 50_000  # from here on, the cost of a training weighs more than its last per cent
STEPS = 6000  # of a training, about
EPOCHS = (3, 20)
RECENT_MONTHS = 6  # of a site that is older than twice as many


@dataclass(frozen=True)
class Census:
    """What of a site's questions decides on the settings.

    Attributes
    ----------
    questions : their number
    dated : how many of them have a date
    months : months from the first date to the last one
    words : number of words of title and description that 90 % of the questions do not exceed
    tags : {tag: number of questions}
    """

    questions: int
    dated: int
    months: int
    words: int
    tags: Mapping[str, int]


@dataclass(frozen=True)
class Choices:
    """Settings, named as options of filter_tags.py and finetune.py; ``least``, the questions that a tag needs; and
    ``recent_months``, the --months of tag_watch.py."""

    least: int
    min_frequency: float
    split: str
    max_length: int
    batch_size: int
    epochs: int
    consistency: float
    recent_months: int


def choose(census: Census) -> Choices:
    """Return the settings for a site.

    Examples
    --------
    >>> small, large = choose(Census(2_000, 2_000, 24, 150, {})), choose(Census(100_000, 0, 0, 80, {}))
    >>> small.least, small.split, small.max_length, small.epochs, small.consistency
    (20, 'time', 256, 20, 1.0)
    >>> large.least, large.split, large.max_length, large.epochs, large.consistency
    (100, 'random', 128, 3, 0.0)
    """
    number = census.questions
    least = max(LEAST_QUESTIONS, int(number * LEAST_SHARE))
    if number < SMALL_SITE:
        least = max(FEWEST_QUESTIONS, number // 100)
    many = number >= MANY_QUESTIONS
    needed = TOKENS_PER_WORD * census.words
    batch_size = 16 if number < 5000 else 32
    fewest, most = EPOCHS
    return Choices(
        least=least,
        min_frequency=math.ceil(1e8 * least / max(number, least)) / 1e8,  # rounded up: filter_tags.py rounds down
        split="time" if census.dated == number else "random",
        max_length=next(
            (length for length in LENGTHS[: 2 if many else 3] if needed <= length), LENGTHS[1 if many else 2]
        ),
        batch_size=batch_size,
        epochs=min(most, max(fewest, round(STEPS * batch_size / (0.8 * max(number, 1))))),
        consistency=0.0 if many else 1.0,
        recent_months=max(1, min(RECENT_MONTHS, census.months // 2)),
    )


def explain(census: Census, choices: Choices) -> list[str]:
    """Return a line for people on each choice."""
    kept = [count for count in census.tags.values() if count >= choices.least]
    if choices.split == "time":
        parts = "by date: the newest tenth of the questions tests, as those of the future will"
    else:
        undated = census.questions - census.dated
        parts = (
            f"at random, since {undated} questions have no date; a test after a refresh then favours the older model"
        )
    once = (
        "1 pass, which halves the time"
        if choices.consistency == 0
        else "2 passes each, which makes up for few questions"
    )
    return [
        f"rare tags: a tag needs {choices.least} questions; {len(kept)} of {len(census.tags)} tags remain, with "
        f"{_share(sum(kept), sum(census.tags.values()))} of their uses",
        f"split: {parts}",
        f"length: {choices.max_length} tokens; nine of ten questions have at most {census.words} words",
        f"training: up to {choices.epochs} epochs in batches of {choices.batch_size}, {once}",
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"
