"""The progress of question_url_scraper.py between runs: the listing pages that are done."""

import itertools
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from data.files import write_json


@dataclass
class Progress:
    """The listing pages of ``site`` that are done.

    Attributes
    ----------
    site
        URL of the site.
    total
        Number of its listing pages, None before the first one has been read.
    done
        Pairs of a page and the number of rows of the output after the page's questions were added.
    begun_at
        Start time of the first run, in ISO 8601; None before.
    topped_up
        Start time of the last complete run with --since-last, and the number of rows of the output then; None before.
    """

    site: str
    total: int | None = None
    done: list[list[int]] = field(default_factory=list)
    begun_at: str | None = None
    topped_up: tuple[str, int] | None = None

    @property
    def complete_at(self) -> str | None:
        """Time up to which all new and changed questions are known, in ISO 8601; None while pages are missing."""
        if self.missing(None):
            return None
        return self.topped_up[0] if self.topped_up else self.begun_at

    @classmethod
    def load(cls, path: Path, site: str, rows: int) -> Self:
        """Read the file. Pages whose questions are missing from the output, which has ``rows`` rows, are not done.

        Neither are the pages after a gap: questions move to later pages when new ones are asked.

        Raises
        ------
        ValueError
            The file is damaged, or belongs to another site.
        """
        if not path.exists():
            return cls(site)
        try:
            progress = cls(**json.loads(path.read_text(encoding="utf-8")))
            done = {page: rows_after for page, rows_after in progress.done if rows_after <= rows}
            gap = next(page for page in itertools.count(1) if page not in done)
            progress.done = [[page, rows_after] for page, rows_after in done.items() if page < gap]
            if progress.topped_up and progress.topped_up[1] > rows:
                progress.topped_up = None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged: remove it, and all listing pages are read again") from error
        if progress.site != site:
            raise ValueError(f"{path} belongs to {progress.site}: choose another --output for {site}, or give --force")
        return progress

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(path, asdict(self))

    def note(self, page: int, total: int, rows: int) -> None:
        """Record that a page is done, with the listing's ``total`` pages and the output's ``rows`` rows."""
        self.done.append([page, rows])
        self.total = max(self.total or 1, total)

    def forget(self, page: int) -> None:
        """Record that a page must be read again."""
        self.done = [entry for entry in self.done if entry[0] != page]

    def missing(self, limit: int | None) -> list[int]:
        """Return the missing pages among the first ``limit``; only the first page while the total is unknown."""
        last = 1 if self.total is None else min(limit or self.total, self.total)
        done = {page for page, _ in self.done}
        return [page for page in range(1, last + 1) if page not in done]
