"""Tag the Parquet files of a folder side by side on a Ray cluster, one tagger per worker (``predict.py --ray``).

A worker takes a file at a time and puts the tagged one in its place in the output only when it is whole. So a worker
that dies costs the file it had, which Ray gives to another one, and a run that was cut goes on with the files that are
missing. Input, output and model must lie where every machine of the cluster sees them.
"""

import logging
import os
from pathlib import Path

from cpus import usable_cpus
from predict import atomic_path, tag_question
from tables import read_questions, write_tagged
from tagger import Tagger


class ShardTagger:
    """A worker's tagger; Ray makes one for each and hands it paths."""

    def __init__(self, model: Path, target: Path, top_k: int | None):
        self._tagger = Tagger(model, num_threads=1)
        self._target, self._top_k = target, top_k

    def __call__(self, batch: dict) -> dict:
        """Tag the files of ``batch["path"]``; return how many questions each holds."""
        return {"questions": [self._tag(Path(path)) for path in batch["path"]]}

    def _tag(self, source: Path) -> int:
        results = [tag_question(self._tagger, self._top_k, question) for question in read_questions(source)]
        with atomic_path(self._target / source.name) as temporary:
            write_tagged(source, temporary, iter(results))
        return len(results)


def missing_shards(source: Path, target: Path) -> list[Path]:
    """Return the files of ``source`` that ``target`` lacks; a damaged one stops the run before it begins."""
    shards = sorted(path.resolve() for path in source.glob("*.parquet"))
    if not shards:
        raise ValueError(f"{source}: no .parquet file in this folder")
    missing = [shard for shard in shards if not (target / shard.name).exists()]
    for shard in missing:
        next(read_questions(shard), None)
    return missing


def tag_folder(source: Path, target: Path, model: Path, top_k: int | None, address: str) -> tuple[int, int]:
    """Tag the files of ``source`` that ``target`` lacks, and return the numbers of files and questions tagged.

    ``address`` is a cluster's as ``ray.init`` takes it; "local" starts one on this machine.

    Raises
    ------
    ValueError : ``source`` holds no .parquet file or a damaged one, the model cannot be loaded, or ray is not installed
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray starts a cluster
    try:
        import ray
        from tqdm import tqdm
    except ImportError:
        raise ValueError("--ray needs the package ray:  pip install -r requirements-ray.txt") from None

    Tagger(model)  # says what is wrong with it before a cluster is asked for
    missing = missing_shards(source, target)
    if not missing:
        return 0, 0
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    code = {"working_dir": str(Path(__file__).parent), "excludes": ["model"]}
    target.mkdir(parents=True, exist_ok=True)
    own = {"num_cpus": usable_cpus()} if address == "local" else {}
    ray.init(address=address, runtime_env=code, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        workers = min(len(missing), int(ray.cluster_resources()["CPU"]))
        tagged = ray.data.from_items(
            [{"path": str(path)} for path in missing], override_num_blocks=len(missing)
        ).map_batches(
            ShardTagger,
            fn_constructor_args=(model.resolve(), target.resolve(), top_k),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=0.9,  # leaves a little of each core for Ray's own tasks, which would wait for ever otherwise
        )
        rows = tqdm(tagged.iter_rows(), total=len(missing), unit="file", desc="Tagging")
        return len(missing), sum(row["questions"] for row in rows)
    finally:
        ray.shutdown()
