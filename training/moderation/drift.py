"""How far a site's tags have drifted from a model's, and whether to train again. Pure functions.

The verdict is "retrain" if

    at least 5 % of the recent questions carry a new tag: one that is now above the limit of training/filter_tags.py,
    so that a retrained model could give it, but that this model does not know; or
    the new tags are at least 5 % as many as the model's.

Recent are the questions of the last --months before the newest question. Tags below the limit are reported, but no
retraining would bring them. Nor do dying tags count, those of the model that no recent question carries: they cost
next to nothing. They are listed if the older questions would let expect 3 or more, so that their absence has a chance
of at most exp(-3) = 0.05 (a Poisson count).
"""

from collections.abc import Iterable, Sequence

from data.files import DATE_COLUMN
from data.markdown import markdown_table
from training.tags import frequent_tags

MAX_SHARE_OF_QUESTIONS = 0.05
MAX_SHARE_OF_TAGS = 0.05
MIN_EXPECTED = 3


def split_off_recent(questions, months: int) -> tuple:
    """Return (older, recent) questions; those without a date are older.

    Raises
    ------
    ValueError : no question has a date, or none is older
    """
    import pandas as pd

    dates = questions[DATE_COLUMN] if DATE_COLUMN in questions else pd.Series(dtype="datetime64[us, UTC]")
    if dates.isna().all():
        raise ValueError(f"ques_details.csv: no {DATE_COLUMN} in any row, and without dates nothing can be watched")
    recent = dates > dates.max() - pd.DateOffset(months=months)
    if recent.all():
        raise ValueError(
            f"ques_details.csv: every question is of the last {months} months; give fewer --months, or older questions"
        )
    return questions[~recent], questions[recent]


def watch(older, recent, known: Sequence[str], min_frequency: float) -> dict:
    """Return the figures of the report.

    Returns
    -------
    dict with the shares "with_new", "out_of_reach", "out_of_reach_before" and "all_out_of_reach" of the questions, the
    ratio "new_of_known" of the tags, and the lists "new" [(tag, questions, recent ones)], "rising" [(tag, recent
    ones)], "dying" [(tag, questions, expected recent ones, last date)] and "unused" [tag], most frequent first
    """
    now, before = (_counts(part["tags"]) for part in (recent, older))
    tag_lists = [*older["tags"], *recent["tags"]]
    new = [tag for tag in frequent_tags(tag_lists, min_frequency) if tag not in set(known)]
    expected = {tag: before.get(tag, 0) * len(recent) / len(older) for tag in known if tag not in now}
    absent = sorted(expected, key=lambda tag: (-expected[tag], tag))
    dying = [tag for tag in absent if expected[tag] >= MIN_EXPECTED]
    rising = [tag for tag in now if tag not in {*known, *new}]
    return {
        "with_new": _share(recent["tags"], any, new),
        "out_of_reach": 1 - _share(recent["tags"], all, known),
        "out_of_reach_before": 1 - _share(older["tags"], all, known),
        "all_out_of_reach": 1 - _share(recent["tags"], any, known),
        "new_of_known": len(new) / len(known),
        "new": [(tag, before.get(tag, 0) + now.get(tag, 0), now.get(tag, 0)) for tag in new],
        "rising": [(tag, now[tag]) for tag in sorted(rising, key=lambda tag: (-now[tag], tag))],
        "dying": [(tag, before[tag], round(expected[tag], 1), _last_date(older, tag)) for tag in dying],
        "unused": [tag for tag in absent if tag not in dying],
    }


def _counts(tag_lists) -> dict[str, int]:
    return tag_lists.map(set).explode().value_counts().to_dict()


def _share(tag_lists, quantifier, tags: Iterable[str]) -> float:
    tags = set(tags)
    return float(tag_lists.map(lambda row: quantifier(tag in tags for tag in row)).mean())


def _last_date(questions, tag: str) -> str:
    last = questions[DATE_COLUMN][[tag in row for row in questions["tags"]]].max()
    return f"{last:%Y-%m-%d}" if last == last else "undated"


def must_retrain(figures: dict) -> bool:
    """Apply the limits of the module docstring."""
    return figures["with_new"] >= MAX_SHARE_OF_QUESTIONS or figures["new_of_known"] >= MAX_SHARE_OF_TAGS


def report(figures: dict, where: str) -> str:
    """Return the report in Markdown; ``where`` says what was watched."""
    verdict = "retrain" if must_retrain(figures) else "still good"
    shares = [
        ("recent questions with a new tag", figures["with_new"], f"below {MAX_SHARE_OF_QUESTIONS:.0%}"),
        ("new tags, to those of the model", figures["new_of_known"], f"below {MAX_SHARE_OF_TAGS:.0%}"),
        ("recent questions with a tag that the model cannot give", figures["out_of_reach"], ""),
        ("the same of the older questions", figures["out_of_reach_before"], ""),
        ("recent questions none of whose tags the model can give", figures["all_out_of_reach"], ""),
    ]
    rising = ", ".join(f"{tag} ({count})" for tag, count in figures["rising"][:20])
    return "\n".join(
        [
            f"# Tag watch: {verdict}\n\n{where}\n",
            _table(("share", "", "good if"), [(name, f"{share:.1%}", limit) for name, share, limit in shares]),
            "## New tags: above the limit of filter_tags.py, unknown to the model\n",
            _table(("tag", "questions", "recent"), figures["new"]),
            "## Dying tags: known to the model, expected among the recent questions, not found\n",
            _table(("tag", "questions", "expected", "last used"), figures["dying"]),
            f"Not found either, but too rare to tell: {', '.join(figures['unused']) or 'none'}.\n",
            "## Rising tags: unknown to the model, still below the limit\n",
            f"The most frequent ones, with the number of recent questions: {rising or 'none'}.\n",
        ]
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence]) -> str:
    if not rows:
        return "None.\n"
    return markdown_table(headings, rows) + "\n"
