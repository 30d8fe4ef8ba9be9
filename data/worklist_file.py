"""retag_worklist.jsonl: the questions whose tags look wrong, one JSON object a line, for the moderation queue.

url, title   of the question
tags         its tags
add, remove  suggested changes: [{"tag": tag, "confidence": 0 to 1, "precision": 0 to 1 or null}]
score        0 to 1; the worklist is ordered by it
similar      optional: similar questions, [{"url": url, "title": title, "tags": [tag]}]
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from data.files import read_json_lines
from tagging.files import atomic_path

CHANGES = ("add", "remove")


def write_worklist(path: Path, rows: Iterable[dict]) -> None:
    """Write rows that have the fields of the module docstring atomically; other fields are left out."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            line = {name: row[name] for name in ("url", "title", "tags")}
            for kind in CHANGES:
                line[kind] = [
                    {name: change.get(name) for name in ("tag", "confidence", "precision")} for change in row[kind]
                ]
            line |= {"score": row["score"]} | ({"similar": row["similar"]} if row.get("similar") else {})
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_worklist(path: Path) -> list[dict]:
    """Read what :func:`write_worklist` wrote; errors as in :func:`data.files.read_json_lines`."""
    expected = "not a row of a worklist; make it anew with  python training/retag_worklist.py"
    return read_json_lines(path, parse_row, expected)


def parse_row(row: dict) -> dict:
    """Return a row as the module docstring describes it. Raises ValueError, KeyError or TypeError if it is none."""
    complete = (
        all(isinstance(row[name], str) for name in ("url", "title"))
        and all(isinstance(tag, str) for tag in row["tags"])
        and math.isfinite(row["score"])
        and all(
            isinstance(change["tag"], str)
            and math.isfinite(change["confidence"])
            and (change["precision"] is None or math.isfinite(change["precision"]))
            for kind in CHANGES
            for change in row[kind]
        )
    )
    if not complete:
        raise ValueError("a value is not as described")
    return row
