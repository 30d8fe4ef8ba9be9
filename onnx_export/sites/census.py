"""Count what decides on the settings of a site, in one pass over ques_details.csv."""

from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from data.files import DATE_COLUMN, iter_rows, parse_tags
from onnx_export.sites.choices import Census

SHARE = 0.9  # of the questions that are no longer than Census.words


def take_census(details: Path) -> Census:
    """Return the census of a ques_details.csv.

    Raises
    ------
    ValueError : as :func:`data.files.iter_rows` and :func:`data.files.parse_tags`
    """
    tags: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    months: set[str] = set()
    dated = 0
    for number, row in enumerate(iter_rows(details), start=1):
        tags.update(set(parse_tags(row["tags"], f"{details}, row {number}, column tags")))
        lengths[len(row["title"].split()) + len(row["description"].split())] += 1
        dated += bool(row.get(DATE_COLUMN))
        months.add(row.get(DATE_COLUMN, "")[:7])  # of 2024-05-13T23:58:30
    words, shorter = 0, 0
    for words in sorted(lengths):
        shorter += lengths[words]
        if shorter >= SHARE * lengths.total():
            break
    ends = [12 * date.year + date.month for date in _dates(months)]
    age = max(ends) - min(ends) if ends else 0
    return Census(lengths.total(), dated, age, words, dict(tags.most_common()))


def _dates(months: set[str]) -> list[datetime]:
    """Return the dates of months in ISO 8601; others, which data/validate.py reports, are left out."""
    dates = []
    for month in months:
        with suppress(ValueError):
            dates.append(datetime.fromisoformat(f"{month}-01"))
    return dates
