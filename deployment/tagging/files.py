"""Files that are written completely or not at all."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block succeeds, and is removed when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        try:
            temporary.replace(path)
        except PermissionError as error:  # Windows does not replace an open file
            sys.exit(f"{path} cannot be replaced ({error.strerror}): close it in other programs, then run this again")
    finally:
        temporary.unlink(missing_ok=True)
