"""SOURCE.json next to ques_details.csv: the origin of the questions, and their licences."""

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from data.files import DATE_COLUMN, iter_rows, write_json

NAME = "SOURCE.json"
TOLD = ("site", "source", "retrieved", "licence")
HINT = "remove it, or run the script of scraper/ that made it again"
# The first day of each licence (https://stackoverflow.com/help/licensing). An edit puts a text under the licence of the
# day of the edit.
LICENCES = {"": "CC BY-SA 2.5", "2011-04-08": "CC BY-SA 3.0", "2018-05-02": "CC BY-SA 4.0"}


def licence_of(date: str) -> str:
    """Return the licence of a question asked on an ISO 8601 date; '' stands for an unknown date.

    Examples
    --------
    >>> licence_of("2015-05-20T12:00:00")
    'CC BY-SA 3.0'
    """
    return list(LICENCES.values())[bisect_right(list(LICENCES), date[:10]) - 1] if date else "CC BY-SA, version unknown"


def write_source(details: Path, site: str, source: str) -> None:
    """Write SOURCE.json for a complete ques_details.csv.

    Parameters
    ----------
    details
        Path of the ques_details.csv.
    site
        URL of the site.
    source
        How the questions were obtained, e.g. "data dump".
    """
    licences: Counter[str] = Counter()
    first, last = "", ""
    for row in iter_rows(details):
        date = row.get(DATE_COLUMN, "")
        licences[licence_of(date)] += 1
        if date:
            first, last = min(first or date, date), max(last, date)
    with details.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    content = {
        "site": site,
        "source": source,
        "retrieved": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "questions": licences.total(),
        "first_question": first or None,
        "last_question": last or None,
        "licence": "CC BY-SA; the page at a question's url lists its authors",
        "questions_asked_under": dict(sorted(licences.items())),
        "file": details.name,
        "sha256": digest,
    }
    write_json(details.with_name(NAME), content)


def read_source(path: Path) -> dict[str, str]:
    """Read site, source, retrieved and licence of a SOURCE.json.

    Raises
    ------
    ValueError
        The file cannot be read, or one of them is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {HINT}") from error
    told = content if isinstance(content, dict) else {}
    if lacking := [key for key in TOLD if not isinstance(told.get(key), str)]:
        raise ValueError(f"{path}: {', '.join(lacking)} missing; {HINT}")
    return {key: told[key] for key in TOLD}
