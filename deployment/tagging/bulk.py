"""Tag a file of questions, resumable. ``predict.py`` and its Ray workers use this."""

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tagging.cpus import usable_cpus
from tagging.encoding import is_blank
from tagging.html_text import question_text
from tagging.model_folder import THRESHOLDS, TOKENIZER, ModelFolder
from tagging.similar import SIMILAR
from tagging.tables import iter_texts
from tagging.tagger import Tagger

CHUNK = 256  # questions between two writes; a kill loses at most as many


def digest_of_inputs(source: Path, model: ModelFolder, top_k: int | None, evidence: bool) -> str:
    """Return the SHA-256 of everything that the results depend on; only results with the same one are resumed."""
    digest = hashlib.sha256(repr((top_k, evidence, model.settings.deciding, model.rules.as_json())).encode())
    files = [source, model.model_path, model.path / TOKENIZER, model.path / THRESHOLDS]
    for path in files + [model.path / SIMILAR] * evidence:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def open_results(path: Path, made_from: str, force: bool) -> tuple:
    """Open the file of the results so far, one JSON line per question, and return it with their number.

    The first line is ``made_from``, a digest of the inputs. An incomplete last line is dropped, and with ``force`` also
    the results of other inputs.

    Raises
    ------
    ValueError
        If the results are of another input, model, --top-k or --evidence.
    """
    whole, count = 0, 0
    file = path.open("a+b")
    file.seek(0)
    started = file.readline()
    if file.read(1) and started.decode().strip() != made_from and not force:
        file.close()
        raise ValueError(
            f"{path} holds the results of an interrupted run with another input, model, --top-k or --evidence: give "
            "those to resume it, or --force to drop it"
        )
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n") or (whole == 0 and line.decode().strip() != made_from):
            break
        whole += len(line)
        count += 1
    file.truncate(whole)
    if whole == 0:
        file.write(f"{made_from}\n".encode())
    return file, max(count - 1, 0)


def read_results(path: Path) -> Iterator[dict[str, list]]:
    """Yield what :func:`tag_question` returned of each question, from a file of results."""
    with path.open(encoding="utf-8") as file:
        next(file)
        yield from map(json.loads, file)


def tag_question(tagger: Tagger, top_k: int | None, evidence: bool, question: tuple[str, str]) -> dict[str, list]:
    """Return a list for each of the columns of the result, see :func:`tagging.tables.result_columns`.

    All are empty if the question is blank in every field that the model reads.
    """
    title, description = question_text(*question, tagger.settings.max_length)
    similar: list[dict] = []
    if is_blank(title, description, tagger.settings.fields):
        tagged = []
    elif evidence:
        tagged, similar = tagger.tag_with_evidence(title, description, top_k)
    else:
        tagged = tagger.tag(title, description, top_k)
    result: dict[str, list] = {
        "tags": [tag for tag, _ in tagged],
        "scores": [round(probability, 4) for _, probability in tagged],
    }
    return result | ({"similar": similar} if evidence else {})


def tag_file(
    tagger: Tagger, source: Path, results: Path, total: int, top_k: int | None, evidence: bool, force: bool
) -> None:
    """Tag those of the ``total`` questions of ``source`` that have no result in the file ``results`` yet."""
    from tqdm import tqdm

    file, done = open_results(results, digest_of_inputs(source, tagger.model, top_k, evidence), force)
    if done:
        print(f"resuming after the {done} questions that an earlier run tagged", file=sys.stderr)
    questions = itertools.islice(iter_texts(source), done, None)
    tag = partial(tag_question, tagger, top_k, evidence)
    progress = tqdm(total=total, initial=done, unit="question", desc="Tagging")
    with file, progress, ThreadPoolExecutor(usable_cpus()) as pool:
        while chunk := list(itertools.islice(questions, CHUNK)):
            for result in pool.map(tag, chunk):
                file.write((json.dumps(result, ensure_ascii=False) + "\n").encode())
                progress.update()
            file.flush()  # results so far survive a kill
