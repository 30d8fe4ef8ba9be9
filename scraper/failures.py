"""ques_failed.csv: the questions that could not be had, why, and whether they are asked for again."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tagging.files import atomic_path

from scraper.csv_store import complete_length, parse_table, to_csv
from scraper.pages import question_key

NAME = "ques_failed.csv"
COLUMNS = ["url", "reason", "kind"]
PASSING, PERMANENT = "passing", "permanent"


class Failure(NamedTuple):
    """A row of the file; a ``permanent`` failure is not asked for again."""

    url: str
    reason: str
    kind: str


class Failures:
    """The file beside a ques_details.csv. A failure is in it as soon as it is known, so that a kill loses none."""

    def __init__(self, output: Path, force: bool) -> None:
        """Read what failed before.

        Parameters
        ----------
        output : the ques_details.csv.
        force : drop what failed before.

        Raises
        ------
        SystemExit : there is another kind of file in its place.
        """
        self.path = output.with_name(NAME)
        self._failures: dict[str, Failure] = {}
        if self.path.exists():
            if not force:
                self._read()
            self.save()  # a row that a kill has torn goes

    def __len__(self) -> int:
        return len(self._failures)

    def add(self, url: str, reason: str, permanent: bool) -> None:
        """Take down why a question is not there."""
        failure = Failure(url, " ".join(reason.split()), PERMANENT if permanent else PASSING)
        self._failures[question_key(url)] = failure
        header = [] if self.path.exists() else [COLUMNS]
        with self.path.open("ab") as file:
            file.write(to_csv([*header, failure]))

    def discard(self, urls: Iterable[str]) -> None:
        """Forget the failures of questions, for they are there now."""
        if self._failures:
            for url in urls:
                self._failures.pop(question_key(url), None)

    def passing(self) -> list[str]:
        """Return the urls to ask for again."""
        return [failure.url for failure in self._failures.values() if failure.kind != PERMANENT]

    def permanent(self) -> set[str]:
        """Return the keys of the questions that are not asked for again."""
        return {key for key, failure in self._failures.items() if failure.kind == PERMANENT}

    def reason(self) -> str:
        """Return the reason of the first failure, '' without any."""
        return next((failure.reason for failure in self._failures.values()), "")

    def save(self) -> None:
        """Write the file with one row a question, whole or not at all."""
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(to_csv([COLUMNS, *self._failures.values()]))

    def _read(self) -> None:
        data = self.path.read_bytes()
        try:
            columns, rows = parse_table(data[: complete_length(data)], str(self.path))
        except ValueError as error:
            sys.exit(f"{error}: remove it, or name another --output")
        if columns not in (COLUMNS, COLUMNS[:2], []):  # two columns: what earlier versions wrote
            sys.exit(
                f"{self.path} has {', '.join(columns)}, not {', '.join(COLUMNS)}: move it, or name another --output"
            )
        for row in rows:
            self._failures[question_key(row["url"])] = Failure(row["url"], row["reason"], row.get("kind", PASSING))
