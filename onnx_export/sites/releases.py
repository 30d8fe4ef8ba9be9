"""The releases of a site: releases/1, releases/2 ... are model folders, and releases.json says which is in service.

    {"served": "2", "previous": "1", "staged": "3"}    each a release, or null

Only this file changes when a release is promoted or restored, at once and as a whole: an app reads the old one or the
new one.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data.files import write_json
from tagging.model_folder import RELEASES, ModelFolderError, read_json

COMPLETE = "README.md"  # the last file that ship.py writes


@dataclass(frozen=True)
class Releases:
    """The names of the release in service, of the one before, and of the one that waits."""

    served: str | None = None
    previous: str | None = None
    staged: str | None = None

    def stage(self, name: str) -> "Releases":
        """Return the state with a release that waits.

        Examples
        --------
        >>> Releases().stage("1")
        Releases(served=None, previous=None, staged='1')
        """
        return replace(self, staged=name)

    def promote(self, name: str) -> "Releases":
        """Return the state with a release in service; the one before is kept.

        Examples
        --------
        >>> Releases("1", None, "2").promote("2")
        Releases(served='2', previous='1', staged=None)
        """
        staged = None if self.staged == name else self.staged
        return Releases(name, self.served if self.served != name else self.previous, staged)

    def restore(self) -> "Releases":
        """Return the state with the release before in service; doing it twice changes nothing.

        Raises
        ------
        ValueError : there is none

        Examples
        --------
        >>> Releases("2", "1").restore()
        Releases(served='1', previous='2', staged=None)
        """
        if not self.previous:
            raise ValueError("no release was in service before")
        return replace(self, served=self.previous, previous=self.served)


def read_releases(site: Path) -> Releases:
    """Read releases.json of a site's folder; without it there is no release.

    Raises
    ------
    ModelFolderError : it is damaged
    """
    file = site / RELEASES
    if not file.is_file():
        return Releases()
    try:
        return Releases(**read_json(file))
    except TypeError as error:
        raise ModelFolderError(f'{file}: expected {{"served": ..., "previous": ..., "staged": ...}}') from error


def write_releases(site: Path, releases: Releases) -> None:
    """Write releases.json."""
    write_json(site / RELEASES, asdict(releases))


def complete_releases(site: Path) -> list[str]:
    """Return the names of the releases that are there as a whole, the oldest first."""
    names = [path.parent.name for path in site.glob(f"releases/*/{COMPLETE}") if path.parent.name.isdecimal()]
    return sorted(names, key=int)


def release_folder(site: Path, name: str) -> Path:
    return site / "releases" / name


def next_release(site: Path) -> str:
    """Return the name of the next release, which is also that of one that was cut."""
    return str(1 + max(map(int, complete_releases(site)), default=0))
