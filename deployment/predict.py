"""Tag a CSV or Parquet file of questions, or a single question.

In:  a file with the columns title and description, or one of them; others are carried over. CSV in UTF-8 with a header,
     or Parquet where its name ends in .parquet
Out: the same rows in the same order and format with two columns more (in CSV, JSON arrays):
         tags     the most probable tag first; none where title and description are both blank
         scores   the tags' probabilities in the same order: how often such a tag is right, as in the apps

    python deployment/predict.py --input questions.csv --output tagged.csv
    python deployment/predict.py --title "How many clusters for k-means?"    # prints its tags
    python deployment/predict.py --input shards/ --output tagged/ --ray auto    # a folder of Parquet, on a Ray cluster

The file is read row by row, once to check all of it before the work begins, so memory does not grow with its length.
Questions are read and tagged one by one as the apps do it, so the same question gets the same tags here: a title is
plain text, and so is a description unless all of it lies in HTML elements. A run
that was cut goes on where it stopped: results gather in a hidden file beside the output until all are there.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from console import run_script
from cpus import usable_cpus
from html_text import question_text
from locks import sole_writer
from options import at_least_one
from tables import is_parquet, read_questions, write_tagged
from tagger import Tagger, default_model_folder, lacks

CHUNK = 256  # questions that a kill may cost


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--input", type=Path, help="CSV or Parquet file with the columns title, description")
    parser.add_argument("--output", type=Path, help="file to write, in the input's format: the input plus tags, scores")
    parser.add_argument("--title", default="", help="title of a single question, instead of --input")
    parser.add_argument("--description", default="", help="description of a single question")
    parser.add_argument(
        "--model",
        type=Path,
        default=default_model_folder(),
        help="model folder; the environment variable TAGGER_MODEL sets another default",
    )
    parser.add_argument(
        "--top-k",
        type=at_least_one,
        help="give this many of the most probable tags; without it, the one to five that are suggested",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="tag the Parquet files of the folder --input into the folder --output on this Ray cluster; local: here",
    )
    parser.add_argument("--force", action="store_true", help="replace existing output files")
    args = parser.parse_args(argv)
    from_file, single = bool(args.input and args.output), bool(args.title or args.description)
    if from_file == single or bool(args.input) != bool(args.output):
        parser.error("give either --input and --output, or --title and --description")
    if args.ray and not (args.input and args.input.is_dir()):
        parser.error("--ray takes a folder of Parquet files as --input, and a folder as --output")
    return args


def check_places(source: Path, target: Path, force: bool) -> None:
    """Stop with one line if the output would overwrite the input, or an existing result without ``--force``."""
    if source.is_dir():
        sys.exit(f"{source} is a folder: name a file in it, or give --ray local to tag all its Parquet files")
    if not source.is_file():
        sys.exit(f"{source} not found: give --input a CSV or Parquet file with the columns title, description")
    if is_parquet(source) != is_parquet(target):
        sys.exit(f"--output {target} must have the format of --input: give it a name that ends in {source.suffix}")
    if target.is_dir():
        sys.exit(f"{target} is a folder: give --output the name of a file")
    if target.exists() and target.samefile(source):
        sys.exit(f"--output {target} is the input itself: name another file")
    if target.exists() and not force:
        sys.exit(f"{target} already there: give --force to replace it, or name another place")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block succeeds, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint(source: Path, model: Path, top_k: int | None) -> str:
    """Return a digest of all that a result depends on; results of another one cannot be gone on with."""
    digest = hashlib.sha256(repr(top_k).encode())
    for path in (source, model / "model_quantized.onnx", model / "tokenizer.json", model / "thresholds.json"):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def open_results(path: Path, made_from: str, force: bool) -> tuple:
    """Open the file of results so far, one JSON line per question, and return it with their number.

    Its first line tells what they were made from; a half line at the end is dropped, by ``force`` also results of
    anything else.

    Raises
    ------
    ValueError : the results are of another input, model or --top-k
    """
    whole, count = 0, 0
    file = path.open("a+b")
    file.seek(0)
    started = file.readline()
    if file.read(1) and started.decode().strip() != made_from and not force:
        file.close()
        raise ValueError(
            f"{path} holds what a run that was cut has tagged, of another input, model or --top-k: give those to go on "
            "with it, or --force to drop it"
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


def read_results(path: Path) -> Iterator[list[tuple[str, float]]]:
    with path.open(encoding="utf-8") as file:
        next(file)
        yield from map(json.loads, file)


def tag_question(tagger, top_k: int | None, question: tuple[str, str]) -> list[tuple[str, float]]:
    """Return the (tag, probability) pairs of a question, none for one that is blank in what the model reads."""
    title, description = question_text(*question, tagger.max_tokens)
    if lacks(tagger.fields, title, description):
        return []
    return [(tag, round(probability, 4)) for tag, probability in tagger.tag(title, description, top_k)]


def tag_file(tagger, source: Path, results_path: Path, total: int, args: argparse.Namespace) -> None:
    """Tag the ``total`` questions of ``source`` that have no result yet, a chunk at a time."""
    from tqdm import tqdm

    file, done = open_results(results_path, fingerprint(source, args.model, args.top_k), args.force)
    if done:
        print(f"going on after the {done} questions that an earlier run tagged", file=sys.stderr)
    questions = itertools.islice(read_questions(source), done, None)
    tag = partial(tag_question, tagger, args.top_k)
    progress = tqdm(total=total, initial=done, unit="question", desc="Tagging")
    with file, progress, ThreadPoolExecutor(usable_cpus()) as pool:
        while chunk := list(itertools.islice(questions, CHUNK)):
            for result in pool.map(tag, chunk):
                file.write((json.dumps(result, ensure_ascii=False) + "\n").encode())
                progress.update()
            file.flush()  # what is tagged survives a kill


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.input and not args.ray:
        check_places(args.input, args.output, args.force)

    try:
        if not args.input:
            tagger = Tagger(args.model)
            texts = question_text(args.title, args.description, tagger.max_tokens)
            for tag, probability in tagger.tag(*texts, args.top_k):
                print(f"{probability:.2f}  {tag}")
            return
        if args.ray:
            from shards import tag_folder

            files, total = tag_folder(args.input, args.output, args.model, args.top_k, args.ray, args.force)
            print(f"{total} questions of {files} files tagged -> {args.output}")
            return
        total = sum(1 for _ in read_questions(args.input))
        if total == 0:
            raise ValueError(f"{args.input}: no row below the header")
        results = args.output.with_name(f".{args.output.name}.results")
        # Questions side by side, a core each, are tagged faster than one after the other by all cores.
        tagger = Tagger(args.model, num_threads=1)
        with sole_writer(args.output):
            tag_file(tagger, args.input, results, total, args)
            with atomic_path(args.output) as temporary:
                write_tagged(args.input, temporary, read_results(results))
            blank = sum(not result for result in read_results(results))
            results.unlink()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on where this one stopped")
    print(f"{total - blank} questions tagged, {blank} blank ones left without tags -> {args.output}")


if __name__ == "__main__":
    run_script(main)
