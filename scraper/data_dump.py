"""Extract the questions from a site's data dump.

Input: Posts.xml, also compressed (.gz, .bz2, .xz), or the .7z archive that contains it. Output: data/ques_details.csv
in the format of question_details_scraper.py and data/ques_failed.csv with the questions that were left out, both
written at the end from data/ques_details.sqlite, and data/SOURCE.json. The same command resumes after an interruption.

    python scraper/data_dump.py --input datascience.stackexchange.com.7z --site https://datascience.stackexchange.com

Memory use does not depend on the size of the dump: rows are streamed, and the processes that convert their HTML to
text, which takes most of the time, work on a few chunks at a time.
"""

import argparse
import itertools
import multiprocessing
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import QuestionRow
from data.source import write_source
from scraper.archives import DamagedArchive, open_posts, volumes
from scraper.crawl import START_OVER, orderly_end, site_address
from scraper.details import clean_title, details_row
from scraper.pages import iso_date
from scraper.posts_xml import DumpError, RawQuestion, parse_tags, raw_questions
from scraper.processes import end_with_parent
from scraper.store import FAILED, Store, open_details
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.html_text import html_to_text
from tagging.options import add_force_option, at_least_one, script_parser
from tagging.stack_exchange import STACK_EXCHANGE

CHUNK = 200  # questions per task of a worker process; a kill loses a few chunks of work at most


@dataclass(frozen=True, kw_only=True)
class DumpProgress:
    """The progress of a dump.

    Attributes
    ----------
    made_from
        What identifies the dump: name, size and site.
    read
        Number of questions that have been read.
    skipped
        Number of questions that were left out, by reason.
    removed
        Number of characters that are invalid in XML and were removed.
    complete
        Whether the whole dump has been read.
    """

    made_from: dict[str, Any]
    read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    removed: int = 0
    complete: bool = False


def clean(site: str, questions: list[RawQuestion]) -> tuple[list[QuestionRow], dict[str, str]]:
    """Convert questions to rows of ques_details.csv.

    Returns
    -------
    rows
        The rows.
    failures
        {url: reason} of the questions that are left out.
    """
    rows, failures = [], {}
    for question in questions:
        url = STACK_EXCHANGE.question_url(site, question.id)
        try:
            if not question.id.isdecimal():
                raise ValueError("no id")
            row = details_row(
                title=clean_title(question.title, STACK_EXCHANGE),
                description=html_to_text(question.body),
                tags=parse_tags(question.tags),
                url=url,
                creation_date=iso_date(question.date),
            )
            if not question.body:
                raise ValueError("no body")
            rows.append(row)
        except Exception as error:  # an unexpected question is one failure and must not end the run
            failures[url] = str(error)
    return rows, failures


def cleaners(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes; forked ones would keep the pipe open that an archive is unpacked into."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)


def cleaned_chunks(
    executor: Executor, workers: int, site: str, questions: Iterable[RawQuestion]
) -> Iterator[tuple[int, list[QuestionRow], dict[str, str]]]:
    """Clean questions in the pool, chunk by chunk, with a limited number of pending chunks.

    Yields
    ------
    count
        Number of questions read.
    rows
        Their rows of ques_details.csv.
    failures
        {url: reason} of the questions that are left out.

    Raises
    ------
    DumpError
        The dump is damaged; everything read before the damage has been yielded.
    """
    pending: deque = deque()
    damage = None
    remaining = iter(questions)
    while True:
        chunk: list[RawQuestion] = []
        if damage is None:
            try:
                chunk.extend(itertools.islice(remaining, CHUNK))
            except DumpError as error:
                damage = error
        if chunk:
            pending.append((len(chunk), executor.submit(clean, site, chunk)))
        if not chunk and not pending:
            break
        if len(pending) > 2 * workers or not chunk:
            count, future = pending.popleft()
            yield count, *future.result()
    if damage:
        raise damage


def read_chunks(
    args: argparse.Namespace, start: int, take: Callable[[int, list[QuestionRow], dict[str, str]], None]
) -> int:
    """Read the dump from question ``start`` on; return the number of invalid characters that were removed.

    Parameters
    ----------
    args
        The command line.
    start
        Number of questions to skip.
    take
        Function that is called with what :func:`cleaned_chunks` yields.

    Raises
    ------
    DumpError
        The dump is damaged.
    """
    with (
        open_posts(args.input) as (posts, position),
        cleaners(args.workers) as executor,
        tqdm(desc=args.input.name, unit="B", unit_scale=True, total=size(args.input)) as bar,
    ):
        questions = itertools.islice(raw_questions(posts), start, None)
        for chunk in cleaned_chunks(executor, args.workers, args.site, questions):
            take(*chunk)
            bar.update(position.tell() - bar.n)
        return posts.removed


def put(store: Store, rows: list[QuestionRow], left_out: dict[str, str]) -> tuple[int, int]:
    """Put rows and permanent failures into ``store``; return the numbers of new and of changed questions."""
    for url, reason in left_out.items():
        store.fail(url, reason, permanent=True)
    return store.put(rows)


def convert(args: argparse.Namespace, store: Store) -> str:
    """Put the remaining questions of the dump into ``store``, and return a summary."""
    progress = open_progress(args, store)

    def take(count: int, rows: list[QuestionRow], left_out: dict[str, str]) -> None:
        nonlocal progress
        reasons = (text if text.startswith("no ") else f"an error listed in {FAILED}" for text in left_out.values())
        skipped = dict(Counter(progress.skipped) + Counter(reasons))
        progress = replace(progress, read=progress.read + count, skipped=skipped)
        with store.transaction():
            put(store, rows, left_out)
            store.save(progress)

    if not progress.complete:
        removed = read_chunks(args, progress.read, take)
        with store.transaction():
            progress = replace(progress, removed=removed, complete=True)
            store.save(progress)
    skipped = ", ".join(f"{count} with {reason}" for reason, count in progress.skipped.items()) or "none"
    return f"{len(store)} questions in {args.output}; left out: {skipped}{repaired(progress.removed)}"


def size(dump: Path) -> int:
    """Return the total size of a dump's files in bytes, 0 if there are none."""
    return sum(path.stat().st_size for path in volumes(dump) if path.is_file())


def open_progress(args: argparse.Namespace, store: Store) -> DumpProgress:
    """Return the progress of the previous run, or the initial progress.

    Raises
    ------
    SystemExit
        The output was made from another input, or rows have been removed from it.
    """

    def of_earlier_version(content: dict) -> DumpProgress:
        if content["written"] > len(store):
            raise SystemExit(refusal)
        return DumpProgress(made_from=content["made_from"], read=content["read"], skipped=content["skipped"])

    made_from = {"input": args.input.name, "size": size(args.input), "site": args.site}
    refusal = f"{args.output} was not made from {args.input}: give --force to replace it, or choose another --output"
    if not len(store):
        return DumpProgress(made_from=made_from)
    progress = store.progress(DumpProgress) or store.take_over(of_earlier_version)
    if progress is None or progress.made_from != made_from or store.removed:
        sys.exit(refusal)
    return progress


def update(args: argparse.Namespace, store: Store) -> str:
    """Put new and changed questions of the dump into ``store`` in one transaction, and return a summary."""
    if not len(store):
        sys.exit(f"--since-last: there are no questions in {args.output}; run without this option first")
    counts: Counter[str] = Counter()

    def take(_: int, rows: list[QuestionRow], left_out: dict[str, str]) -> None:
        new, changed = put(store, rows, left_out)
        counts.update(new=new, changed=changed)

    with store.transaction():
        removed = read_chunks(args, 0, take)
        store.forget(DumpProgress)
    found = f"{counts['new']} new and {counts['changed']} changed questions of {args.input} in {args.output}"
    return f"{found}{repaired(removed)}"


def repaired(removed: int) -> str:
    """Return the part of the summary about removed characters."""
    return f"; {removed} characters that are invalid in XML were removed from the dump's text" if removed else ""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, help="Posts.xml, also compressed, or its .7z archive")
    parser.add_argument("--site", type=site_address, required=True, help="URL of the dump's site")
    parser.add_argument("--output", type=Path, default=Path("data/ques_details.csv"), help="CSV file to write")
    parser.add_argument("--workers", type=at_least_one, default=usable_cpus(), help="number of worker processes")
    parser.add_argument(
        "--since-last", action="store_true", help="merge new and changed questions into the existing output"
    )
    add_force_option(parser, START_OVER)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Convert the dump."""
    args = parse_args(argv)
    with orderly_end(), open_details(args.output, STACK_EXCHANGE, args.force) as store:
        try:
            summary = update(args, store) if args.since_last else convert(args, store)
        except DumpError as error:
            if args.since_last:
                sys.exit(f"{error}; {args.output} is unchanged")
            if isinstance(error, DamagedArchive):
                with store.transaction():
                    store.forget(DumpProgress)  # or the next run would resume after questions that may be damaged
                sys.exit(f"{error}: download it again, and give --force; {args.output} may contain damaged text, too")
            sys.exit(f"{error}; the questions before it are in {args.output}" if len(store) else str(error))
        if not len(store):
            sys.exit(f"{args.input}: no question could be taken: {summary}")
        store.write_files()
        write_source(args.output, args.site, f"data dump ({args.input.name})", STACK_EXCHANGE)
        print(summary)


if __name__ == "__main__":
    run_script(main)
