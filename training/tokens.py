"""Questions as tokens, made once: the next training of the same questions reads them from the user's cache."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.files import atomic_path
from deployment.tagger import encode
from training.backbones import cache_folder
from training.questions import Part


def cached_tokens(tokenizer, part: Part, fields: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Return (ids, type ids) of each question, truncated and unpadded as :func:`deployment.tagger.encode` gives them.

    The file in the cache is named by the SHA-256 of all that decides on them: the texts, the fields read, and the
    ``tokenizers.Tokenizer`` with its settings.
    """
    texts = [part.titles, part.descriptions, list(fields)]
    digest = hashlib.sha256((tokenizer.to_str() + json.dumps(texts)).encode())
    path = cache_folder() / "tokens" / f"{digest.hexdigest()}.npz"
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there yet, or damaged
        _write(path, encode(tokenizer, part.titles, part.descriptions, fields))
    return _read(path)


def _read(path: Path) -> list[tuple[list[int], list[int]]]:
    with np.load(path, allow_pickle=False) as arrays:
        ends = np.cumsum(arrays["lengths"])[:-1]
        ids, types = (np.split(arrays[name], ends) for name in ("ids", "types"))
    return [(row.tolist(), kinds.tolist()) for row, kinds in zip(ids, types, strict=True)]


def _write(path: Path, encodings: list) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            ids=np.concatenate([np.array(encoding.ids, dtype=np.int32) for encoding in encodings]),
            types=np.concatenate([np.array(encoding.type_ids, dtype=np.int8) for encoding in encodings]),
            lengths=np.array([len(encoding.ids) for encoding in encodings]),
        )
