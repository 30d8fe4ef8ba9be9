"""A file that one run at a time may write, on every system."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold ``path`` against other runs within the block, by a locked hidden file beside it; its folder is made.

    The system frees the lock when the process ends, however it ends.

    Raises
    ------
    BlockingIOError : another run holds it.
    """
    target = path.resolve()  # a link and its target are one file
    target.parent.mkdir(parents=True, exist_ok=True)
    marker = target.with_name(f".{target.name}.lock")
    lock = FileLock(marker, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        message = f"{path} is being written by another run: wait for its end, or name another --output"
        raise BlockingIOError(message) from None
    try:
        yield
    finally:
        if sys.platform != "win32":  # there filelock removes it, as nobody can remove an open file
            marker.unlink(missing_ok=True)
        lock.release()
