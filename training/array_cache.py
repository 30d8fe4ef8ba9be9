"""Arrays that take long to compute, kept in the user's cache."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tagging.files import atomic_path
from training.backbones import cache_folder, is_writable, temporary_folder


def cached_array(kind: str, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return what ``compute`` returns, which is called only if the array is not in the cache.

    Parameters
    ----------
    kind : folder of the cache
    key : hash of all that the array depends on
    """
    kept = _folder(kind) / f"{key}.npy"
    if not kept.is_file():
        array = compute()
        with atomic_path(kept) as temporary, temporary.open("wb") as file:
            np.save(file, array)
    return np.load(kept, allow_pickle=False)


def _folder(kind: str) -> Path:
    folder = cache_folder() / kind
    return folder if is_writable(folder) else temporary_folder()
