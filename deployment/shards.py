"""Tag the Parquet files of a folder in parallel on a Ray cluster, one tagger per worker (``predict.py --ray``).

A worker tags one file at a time and writes its output atomically. If a worker dies, Ray passes its file to another one,
and an interrupted run resumes with the missing files. Input, output and model must be on a file system that all
machines of the cluster share.

An output has the name and the sub-folder of its input, also if the input is a link: a data set in the cache of the
Hugging Face Hub consists of links to files named by their hashes.
"""

import logging
import os
import sys
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

from tagging.bulk import tag_question
from tagging.cpus import usable_cpus
from tagging.files import atomic_path
from tagging.tables import check_columns_free, is_parquet, iter_texts, result_columns, write_tagged
from tagging.tagger import Tagger

MAX_LISTED = 5  # files in one message


class ShardTagger:
    """The tagger of a worker. Ray creates one per worker and calls it with paths of files."""

    def __init__(self, model: Path, source: Path, target: Path, top_k: int | None, evidence: bool):
        self._tagger = Tagger(model, num_threads=1, index=evidence)
        self._source, self._target, self._top_k, self._evidence = source, target, top_k, evidence

    def __call__(self, batch: dict) -> dict:
        """Tag the files in ``batch["path"]`` and return, for each, its number of questions and its error or ''."""
        outcomes = [self._tag(path) for path in batch["path"]]
        return {"questions": [count for count, _ in outcomes], "error": [error for _, error in outcomes]}

    def _tag(self, path: str) -> tuple[int, str]:
        source, columns = self._source / path, result_columns(self._evidence)
        try:
            check_columns_free(source, columns)
            tag = partial(tag_question, self._tagger, self._top_k, self._evidence)
            results = [tag(question) for question in iter_texts(source)]
            with atomic_path(self._target / path) as temporary:
                write_tagged(source, temporary, columns, results)
        except (ValueError, OSError) as error:  # of this file only
            return 0, str(error)
        return len(results), ""


def find_shards(source: Path) -> tuple[list[Path], list[str]]:
    """Find the Parquet files in a folder and its sub-folders, hidden ones excepted. Circular links are not followed.

    Returns
    -------
    shards : list of Path, relative to ``source``
    left_out : list of str, other files and folders
    """
    shards, left_out = [], []

    def stop(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(source, followlinks=True, onerror=stop):
        here = Path(place)
        for name in sorted(folders):
            if name.startswith(".") or here.resolve().is_relative_to((here / name).resolve()):
                folders.remove(name)
                left_out.append(f"{(here / name).relative_to(source)}/")
        for name in files:
            path = (here / name).relative_to(source)
            if is_parquet(path) and not name.startswith("."):
                shards.append(path)
            else:
                left_out.append(str(path))
    return sorted(shards), sorted(left_out)


def check_targets(shards: list[Path], source: Path, target: Path) -> None:
    """Raise ValueError if an output would overwrite another output or an input, or lies in the input folder."""
    if target.is_file():
        raise ValueError(f"--output {target} is a file: with --ray it must be a folder")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"--output {target} lies within --input {source}: choose a folder beside it")
    outputs: dict[str, Path] = {}
    for shard in shards:
        name = unicodedata.normalize("NFC", str(shard)).casefold()
        other = outputs.setdefault(name, shard)
        if other != shard:
            raise ValueError(
                f"{source}: on many file systems the outputs of {other} and {shard} would be one file; rename one"
            )
        if (target / shard).exists() and (target / shard).samefile(source / shard):
            raise ValueError(f"--output {target / shard} is the input itself: choose another folder")


def shards_to_tag(source: Path, target: Path, force: bool) -> list[Path]:
    """Return the files of ``source`` that are missing in ``target``, or all if ``force``; report the others on stderr.

    Raises
    ------
    ValueError
        If there is no file, one cannot be read, or :func:`check_targets` raises it.
    """
    shards, left_out = find_shards(source)
    more = f" and {len(left_out) - MAX_LISTED} more" if len(left_out) > MAX_LISTED else ""
    others = f"{', '.join(left_out[:MAX_LISTED])}{more}"
    if not shards:
        raise ValueError(f"{source}: no .parquet or .pq file in this folder; found {others or 'nothing'}")
    check_targets(shards, source, target)
    if left_out:
        print(f"ignored in {source}: {others}; only files that end in .parquet or .pq are tagged", file=sys.stderr)
    missing = [shard for shard in shards if force or not (target / shard).exists()]
    if len(missing) < len(shards):
        print(f"{len(shards) - len(missing)} files are in {target} already; --force tags them again", file=sys.stderr)
    for shard in missing:
        next(iter_texts(source / shard), None)
    return missing


def tag_folder(
    source: Path, target: Path, model: Path, top_k: int | None, evidence: bool, address: str, force: bool
) -> tuple[int, int]:
    """Tag the files of ``source`` that are missing in ``target``.

    Parameters
    ----------
    source, target, model : Path
    top_k : int or None
        Number of tags per question, or None for the suggested ones.
    evidence : bool
        Whether to add similar questions.
    address : str
        Address of a cluster, as ``ray.init`` takes it; "local" starts one on this machine.
    force : bool
        Also tag files that are in ``target`` already.

    Returns
    -------
    int, int
        The numbers of files and of questions tagged.

    Raises
    ------
    ValueError
        As :func:`shards_to_tag`; or if the model cannot be loaded, ray is not installed, or some files are damaged.
        The other files have then been tagged.
    """
    tagger = Tagger(model, index=evidence)  # fails before a cluster is started
    if evidence:
        tagger.check_index()
    missing = shards_to_tag(source, target, force)
    if not missing:
        return 0, 0
    target.mkdir(parents=True, exist_ok=True)
    outcomes = on_cluster(missing, (model.resolve(), source.absolute(), target.absolute(), top_k, evidence), address)
    errors = [outcome["error"] for outcome in outcomes if outcome["error"]]
    if errors:
        raise ValueError(
            f"{len(missing) - len(errors)} of {len(missing)} files tagged; {'; '.join(errors[:MAX_LISTED])}"
        )
    return len(missing), sum(outcome["questions"] for outcome in outcomes)


def on_cluster(shards: list[Path], tagger_args: tuple, address: str) -> list[dict]:
    """Return the outcome of each shard, a dict of ``questions`` and ``error``, from ShardTaggers(*tagger_args)."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # must be set before ray starts a cluster
    try:
        import ray
        from tqdm import tqdm
    except ImportError:
        raise ValueError("--ray needs the package ray:  pip install -r requirements-ray.txt") from None

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    code = {"working_dir": str(Path(__file__).parent), "excludes": ["model"]}
    own: dict[str, Any] = {"num_cpus": usable_cpus()} if address == "local" else {}
    ray.init(address=address, runtime_env=code, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        workers = min(len(shards), int(ray.cluster_resources()["CPU"]))
        tagged = ray.data.from_items(
            [{"path": str(path)} for path in shards], override_num_blocks=len(shards)
        ).map_batches(
            ShardTagger,
            fn_constructor_args=tagger_args,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=0.9,  # the rest of each core is for Ray's own tasks, which would otherwise wait forever
        )
        return list(tqdm(tagged.iter_rows(), total=len(shards), unit="file", desc="Tagging"))
    finally:
        ray.shutdown()
