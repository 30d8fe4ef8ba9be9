"""SOURCE.json next to ques_details.csv: the origin of the questions, and their licences."""

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from data.files import DATE_COLUMN, iter_rows, write_json
from tagging.platforms import Platform

NAME = "SOURCE.json"
TOLD = ("site", "source", "retrieved", "licence")
HINT = "remove it, or run the script of scraper/ that made it again"


def write_source(details: Path, site: str, source: str, platform: Platform) -> None:
    """Write SOURCE.json for a complete ques_details.csv.

    Parameters
    ----------
    details
        Path of the ques_details.csv.
    site
        URL of the site.
    source
        How the questions were obtained, e.g. "data dump".
    platform
        The platform that the site runs on, which decides on the licences.
    """
    licences: Counter[str] = Counter()
    first, last = "", ""
    for row in iter_rows(details):
        date = row.get(DATE_COLUMN, "")
        licences[platform.licence_of(date)] += 1
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
        "licence": platform.attribution,
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
