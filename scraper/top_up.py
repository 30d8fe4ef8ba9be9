"""Merge new and changed questions into an existing ques_details.csv, for --since-last."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from data.files import DETAILS_COLUMNS, iter_rows
from tagging.files import atomic_path
from tagging.stack_exchange import question_key

OVERLAP_S = 3600  # overlap with the previous run: clocks differ, and pages may be cached for some minutes
COMPARED = ("title", "description", "tags")


def updates_path(output: Path) -> Path:
    """Return the path of the file that keeps updated rows until they are merged into ``output``."""
    return output.with_name(f".{output.name}.updates")


def fingerprint(row: Mapping[str, str]) -> bytes:
    """Return a digest of the columns that an edit may change."""
    return hashlib.blake2b("\0".join(row[column] for column in COMPARED).encode(), digest_size=16).digest()


def fingerprints(path: Path) -> dict[str, bytes]:
    """Return {key of the question: fingerprint} of a ques_details.csv."""
    return {question_key(row["url"]): fingerprint(row) for row in iter_rows(path)}


def merge(path: Path, updates: Iterable[Mapping[str, str]]) -> tuple[int, int]:
    """Replace rows of ``path`` by ``updates`` of the same question and append the others, atomically.

    A question keeps its url, which identifies it in the split, and its date if the update has none.

    Returns
    -------
    changed
        Number of changed questions.
    new
        Number of new questions.
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
