"""ques_failed.csv: the questions that could not be fetched, the reason, and whether they are retried."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scraper.csv_store import complete_length, parse_table, to_csv
from tagging.files import atomic_path
from tagging.stack_exchange import question_key

NAME = "ques_failed.csv"
COLUMNS = ["url", "reason", "kind"]
PASSING, PERMANENT = "passing", "permanent"


class Failure(NamedTuple):
    """A row of the file; failures of the kind ``permanent`` are not retried."""

    url: str
    reason: str
    kind: str


class Failures:
    """The file next to a ques_details.csv. Each failure is written at once, so that a kill loses none."""

    def __init__(self, output: Path, force: bool) -> None:
        """Read the failures of previous runs.

        Parameters
        ----------
        output
            Path of the ques_details.csv.
        force
            Discard the failures of previous runs.

        Raises
        ------
        SystemExit
            The existing file has other columns.
        """
        self.path = output.with_name(NAME)
        self._failures: dict[str, Failure] = {}
        if self.path.exists():
            if not force:
                self._read()
            self.save()  # without an incomplete last row

    def __len__(self) -> int:
        return len(self._failures)

    def add(self, url: str, reason: str, permanent: bool) -> None:
        """Record why a question could not be fetched."""
        failure = Failure(url, " ".join(reason.split()), PERMANENT if permanent else PASSING)
        self._failures[question_key(url)] = failure
        header = [] if self.path.exists() else [COLUMNS]
        with self.path.open("ab") as file:
            file.write(to_csv([*header, failure]))

    def discard(self, urls: Iterable[str]) -> None:
        """Remove the failures of questions that have been fetched."""
        if self._failures:
            for url in urls:
                self._failures.pop(question_key(url), None)

    def passing(self) -> list[str]:
        """Return the urls to retry."""
        return [failure.url for failure in self._failures.values() if failure.kind != PERMANENT]

    def permanent(self) -> set[str]:
        """Return the keys of the questions that are not retried."""
        return {key for key, failure in self._failures.items() if failure.kind == PERMANENT}

    def reason(self) -> str:
        """Return the reason of the first failure, '' if there is none."""
        return next((failure.reason for failure in self._failures.values()), "")

    def save(self) -> None:
        """Write the file atomically, with one row per question."""
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(to_csv([COLUMNS, *self._failures.values()]))

    def _read(self) -> None:
        data = self.path.read_bytes()
        try:
            columns, rows = parse_table(data[: complete_length(data)], str(self.path))
        except ValueError as error:
            sys.exit(f"{error}: remove it, or choose another --output")
        if columns not in (COLUMNS, COLUMNS[:2], []):  # two columns: written by earlier versions
            sys.exit(
                f"{self.path} has {', '.join(columns)}, not {', '.join(COLUMNS)}: move it, or choose another --output"
            )
        for row in rows:
            self._failures[question_key(row["url"])] = Failure(row["url"], row["reason"], row.get("kind", PASSING))
