"""Tag the Parquet files of a folder side by side on a Ray cluster, one tagger per worker (``predict.py --ray``).

A worker takes a file at a time and puts the tagged one in its place in the output only when it is whole. So a worker
that dies costs the file it had, which Ray gives to another one, and a run that was cut goes on with the files that are
missing. Input, output and model must lie where every machine of the cluster sees them.

An output has the name and the sub-folder that its input has, be that a link or not: a data set in the Hub's cache holds
nothing but links to files called by their hashes.
"""

import logging
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

from tagging.bulk import tag_question
from tagging.cpus import usable_cpus
from tagging.files import atomic_path
from tagging.tables import is_parquet, read_questions, write_tagged
from tagging.tagger import Tagger

NAMED = 5  # files that one line names


class ShardTagger:
    """A worker's tagger; Ray makes one for each and hands it paths."""

    def __init__(self, model: Path, source: Path, target: Path, top_k: int | None):
        self._tagger = Tagger(model, num_threads=1)
        self._source, self._target, self._top_k = source, target, top_k

    def __call__(self, batch: dict) -> dict:
        """Tag the files of ``batch["path"]``; return how many questions each holds, and what is wrong with it."""
        outcomes = [self._tag(path) for path in batch["path"]]
        return {"questions": [count for count, _ in outcomes], "fault": [fault for _, fault in outcomes]}

    def _tag(self, path: str) -> tuple[int, str]:
        source = self._source / path
        try:
            results = [tag_question(self._tagger, self._top_k, question) for question in read_questions(source)]
            with atomic_path(self._target / path) as temporary:
                write_tagged(source, temporary, iter(results))
        except (ValueError, OSError) as error:  # of this file; the others are tagged all the same
            return 0, str(error)
        return len(results), ""


def find_shards(source: Path) -> tuple[list[Path], list[str]]:
    """Return the Parquet files in a folder and its sub-folders, relative to it, and the names of what is left out.

    Links are followed, but for those that lead in a circle; what is hidden is left out.
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
    """Raise ValueError if an output would be written over another one or an input, or among the inputs."""
    if target.is_file():
        raise ValueError(f"--output {target} is a file: with --ray it must be a folder")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"--output {target} lies within --input {source}: name a folder beside it")
    outputs: dict[str, Path] = {}
    for shard in shards:
        name = unicodedata.normalize("NFC", str(shard)).casefold()
        other = outputs.setdefault(name, shard)
        if other != shard:
            raise ValueError(
                f"{source}: on many disks the outputs of {other} and {shard} would be one file; rename one"
            )
        if (target / shard).exists() and (target / shard).samefile(source / shard):
            raise ValueError(f"--output {target / shard} is the input itself: name another folder")


def shards_to_tag(source: Path, target: Path, force: bool) -> list[Path]:
    """Return the files of ``source`` that ``target`` lacks, or all if ``force``; what is not tagged is told on stderr.

    Raises
    ------
    ValueError : there is none, one cannot be read, or check_targets refuses them
    """
    shards, left_out = find_shards(source)
    more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    others = f"{', '.join(left_out[:NAMED])}{more}"
    if not shards:
        raise ValueError(f"{source}: no .parquet or .pq file in this folder; found {others or 'nothing'}")
    check_targets(shards, source, target)
    if left_out:
        print(f"left out of {source}: {others}; taken are names that end in .parquet or .pq", file=sys.stderr)
    missing = [shard for shard in shards if force or not (target / shard).exists()]
    if len(missing) < len(shards):
        print(f"{len(shards) - len(missing)} files are in {target} already; --force tags them anew", file=sys.stderr)
    for shard in missing:
        next(read_questions(source / shard), None)
    return missing


def tag_folder(
    source: Path, target: Path, model: Path, top_k: int | None, address: str, force: bool
) -> tuple[int, int]:
    """Tag the files of ``source`` that ``target`` lacks, and return the numbers of files and questions tagged.

    ``address`` is a cluster's as ``ray.init`` takes it; "local" starts one on this machine.

    Raises
    ------
    ValueError : as shards_to_tag, the model cannot be loaded, ray is not installed, or a file turned out to be damaged
        when the others had been tagged
    """
    Tagger(model)  # says what is wrong with it before a cluster is asked for
    missing = shards_to_tag(source, target, force)
    if not missing:
        return 0, 0
    target.mkdir(parents=True, exist_ok=True)
    outcomes = on_cluster(missing, (model.resolve(), source.absolute(), target.absolute(), top_k), address)
    faults = [outcome["fault"] for outcome in outcomes if outcome["fault"]]
    if faults:
        raise ValueError(f"{len(missing) - len(faults)} of {len(missing)} files tagged; {'; '.join(faults[:NAMED])}")
    return len(missing), sum(outcome["questions"] for outcome in outcomes)


def on_cluster(shards: list[Path], tagger_args: tuple, address: str) -> list[dict]:
    """Return what ShardTaggers, made from ``tagger_args``, tell of each shard."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray starts a cluster
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
            num_cpus=0.9,  # leaves a little of each core for Ray's own tasks, which would wait for ever otherwise
        )
        return list(tqdm(tagged.iter_rows(), total=len(shards), unit="file", desc="Tagging"))
    finally:
        ray.shutdown()
