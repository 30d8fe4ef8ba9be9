"""Which listing pages of a site are done: the memory of question_url_scraper.py between runs."""

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
    site : the site's address.
    total : number of its listing pages, None before the first is read.
    done : pairs of a page and the number of rows that the output had once the page's questions were in it.
    begun_at : when the first run of the listing began, in ISO 8601; None before.
    topped_up : when the last complete top-up began, and the rows that the output then had; None before.
    """

    site: str
    total: int | None = None
    done: list[list[int]] = field(default_factory=list)
    begun_at: str | None = None
    topped_up: tuple[str, int] | None = None

    @property
    def complete_at(self) -> str | None:
        """Since when questions may be new or changed and not listed, in ISO 8601; None while pages are missing."""
        if self.missing(None):
            return None
        return self.topped_up[0] if self.topped_up else self.begun_at

    @classmethod
    def load(cls, path: Path, site: str, rows: int) -> Self:
        """Read what is done; what the output (of ``rows`` rows) has lost since is not.

        Nor are the pages behind a gap: questions move on to the next page as others are asked.

        Raises
        ------
        ValueError : the file is damaged, or of another site.
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
            raise ValueError(f"{path} is of {progress.site}: name another --output for {site}, or give --force")
        return progress

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, asdict(self))

    def note(self, page: int, total: int, rows: int) -> None:
        """Take down that a page is done, that the listing now has ``total`` pages and the output ``rows`` rows."""
        self.done.append([page, rows])
        self.total = max(self.total or 1, total)

    def forget(self, page: int) -> None:
        """Take down that a page has to be read again."""
        self.done = [entry for entry in self.done if entry[0] != page]

    def missing(self, limit: int | None) -> list[int]:
        """Return the pages still to read among the first ``limit``; only the first while the total is unknown."""
        last = 1 if self.total is None else min(limit or self.total, self.total)
        done = {page for page, _ in self.done}
        return [page for page in range(1, last + 1) if page not in done]
