"""What --since-last does: rows of questions that are new or have changed go into a data set that is there."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tagging.files import atomic_path

from data.files import DETAILS_COLUMNS, iter_rows
from scraper.pages import question_key

OVERLAP_S = 3600  # of a top-up with the run before: clocks differ, and what a site shows may be some minutes old
COMPARED = ("title", "description", "tags")


def updates_path(output: Path) -> Path:
    """Return where the rows are kept until they are merged into ``output``, over a cut if need be."""
    return output.with_name(f".{output.name}.updates")


def fingerprint(row: Mapping[str, str]) -> bytes:
    """Return a digest of what may change in a question."""
    return hashlib.blake2b("\0".join(row[column] for column in COMPARED).encode(), digest_size=16).digest()


def fingerprints(path: Path) -> dict[str, bytes]:
    """Return {key of the question: fingerprint} of a ques_details.csv."""
    return {question_key(row["url"]): fingerprint(row) for row in iter_rows(path)}


def merge(path: Path, updates: Iterable[Mapping[str, str]]) -> tuple[int, int]:
    """Write ``updates`` over the rows of ``path`` with the same question and behind the others, whole or not at all.

    A question keeps its url, by which the split knows it, and its date where the update has none.

    Returns
    -------
        How many questions were changed, and how many are new.
    """
    pending = {question_key(row["url"]): row for row in updates}
    changed = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, DETAILS_COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in iter_rows(path):
            update = pending.pop(question_key(row["url"]), None)
            if update and fingerprint(update) != fingerprint(row):
                changed += 1
                kept = {"url": row["url"], "creation_date": update["creation_date"] or row["creation_date"]}
                row = {**update, **kept}
            writer.writerow(row)
        writer.writerows(pending.values())
    return changed, len(pending)
