"""A lock that lets one run at a time write a file, on all platforms."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Lock ``path`` within the block, by a hidden file beside it. Its folder is created if necessary.

    The operating system releases the lock when the process ends, also when it is killed.

    Raises
    ------
    BlockingIOError
        If another run holds the lock.
    """
    target = path.resolve()  # a link and its target are one file
    target.parent.mkdir(parents=True, exist_ok=True)
    marker = target.with_name(f".{target.name}.lock")
    lock = FileLock(marker, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        message = f"{path} is being written by another run: wait until it ends, or choose another --output"
        raise BlockingIOError(message) from None
    try:
        yield
    finally:
        if sys.platform != "win32":  # there filelock removes it, since an open file cannot be removed
            marker.unlink(missing_ok=True)
        lock.release()
