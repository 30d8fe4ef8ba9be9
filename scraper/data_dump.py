"""Extract the questions from a site's data dump.

Input: Posts.xml, also compressed (.gz, .bz2, .xz), or the .7z archive that contains it. Output: data/ques_details.csv
in the format of question_details_scraper.py, data/SOURCE.json, data/ques_failed.csv with the questions that were left
out, and ques_details.progress.json. The same command resumes after an interruption.

    python scraper/data_dump.py --input datascience.stackexchange.com.7z --site https://datascience.stackexchange.com

Memory use does not depend on the size of the dump: rows are streamed, and the processes that convert their HTML to
text, which takes most of the time, work on a few chunks at a time.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import DETAILS_COLUMNS, iter_rows, write_json
from data.source import write_source
from scraper.archives import DamagedArchive, open_posts, volumes
from scraper.crawl import START_OVER, orderly_end, site_address
from scraper.csv_store import CsvStore
from scraper.details import clean_title, details_row
from scraper.failures import NAME, Failures
from scraper.pages import iso_date
from scraper.posts_xml import DumpError, RawQuestion, parse_tags, raw_questions
from scraper.processes import end_with_parent
from scraper.top_up import fingerprint, fingerprints, merge
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.html_text import html_to_text
from tagging.options import add_force_option, at_least_one, script_parser
from tagging.stack_exchange import STACK_EXCHANGE, question_key

CHUNK = 200  # questions per task of a worker process; a kill loses a few chunks of work at most


def clean(site: str, questions: list[RawQuestion]) -> tuple[list[dict[str, str]], dict[str, str]]:
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


def record_failures(found: dict[str, str], failures: Failures) -> Counter[str]:
    """Record the questions that are left out as permanent failures, and return their number by reason."""
    for url, reason in found.items():
        failures.add(url, reason, permanent=True)
    return Counter(reason if reason.startswith("no ") else f"an error listed in {NAME}" for reason in found.values())


def cleaners(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes; forked ones would keep the pipe open that an archive is unpacked into."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)


def cleaned_chunks(
    executor: Executor, workers: int, site: str, questions: Iterable[RawQuestion]
) -> Iterator[tuple[int, list[dict[str, str]], dict[str, str]]]:
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


def convert(args: argparse.Namespace, store: CsvStore, failures: Failures, progress: dict) -> None:
    """Append the remaining questions to ``store``, updating ``progress`` and its file."""
    with (
        open_posts(args.input) as (posts, position),
        cleaners(args.workers) as executor,
        tqdm(desc=args.input.name, unit="B", unit_scale=True, total=size(args.input)) as bar,
    ):
        questions = itertools.islice(raw_questions(posts), progress["read"], None)
        for count, rows, left_out in cleaned_chunks(executor, args.workers, args.site, questions):
            store.append(rows)
            failures.discard(row["url"] for row in rows)
            progress["read"] += count
            progress["written"] += len(rows)
            progress["skipped"] = dict(Counter(progress["skipped"]) + record_failures(left_out, failures))
            progress["bytes"] = store.size()
            write_json(args.progress, progress)
            bar.update(position.tell() - bar.n)
        progress["removed"] = posts.removed
    write_json(args.progress, progress | {"complete": True})


def size(dump: Path) -> int:
    """Return the total size of a dump's files in bytes, 0 if there are none."""
    return sum(path.stat().st_size for path in volumes(dump) if path.is_file())


def open_progress(args: argparse.Namespace) -> dict:
    """Return the progress of the previous run, or the initial progress.

    Raises
    ------
    SystemExit
        The output was made from another input.
    """
    made_from = {"input": args.input.name, "size": size(args.input), "site": args.site}
    fresh = {"made_from": made_from, "read": 0, "written": 0, "skipped": {}, "bytes": 0}
    if args.force or not args.output.exists():
        return fresh
    try:
        progress = json.loads(args.progress.read_text(encoding="utf-8"))
        if progress["made_from"] == made_from and progress["bytes"] <= args.output.stat().st_size:
            return progress
    except (OSError, ValueError, KeyError, TypeError):
        pass
    sys.exit(f"{args.output} was not made from {args.input}: give --force to replace it, or choose another --output")


def update(args: argparse.Namespace) -> None:
    """Merge new and changed questions of the dump into an existing output."""
    if not args.output.is_file():
        sys.exit(f"--since-last: {args.output} does not exist; run without this option first")
    if lacking := set(DETAILS_COLUMNS) - set(next(iter_rows(args.output), {})):
        sys.exit(f"--since-last: {args.output} has no column {', '.join(sorted(lacking))}")
    with CsvStore(args.output, DETAILS_COLUMNS, force=False, whole=args.output.stat().st_size):
        before, updates = fingerprints(args.output), []
        failures = Failures(args.output, force=False)
        with (
            open_posts(args.input) as (posts, position),
            cleaners(args.workers) as executor,
            tqdm(desc=args.input.name, unit="B", unit_scale=True, total=size(args.input)) as bar,
        ):
            questions = raw_questions(posts)
            for _, rows, left_out in cleaned_chunks(executor, args.workers, args.site, questions):
                record_failures(left_out, failures)
                failures.discard(row["url"] for row in rows)
                updates += [row for row in rows if before.get(question_key(row["url"])) != fingerprint(row)]
                bar.update(position.tell() - bar.n)
        changed, new = merge(args.output, updates)
        failures.save()
    args.progress.unlink(missing_ok=True)
    write_source(args.output, args.site, f"data dump ({args.input.name})", STACK_EXCHANGE)
    print(f"{new} new and {changed} changed questions of {args.input} in {args.output}{repaired(posts.removed)}")


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
    args = parser.parse_args(argv)
    args.progress = args.output.with_suffix(".progress.json")
    return args


def main(argv: list[str] | None = None) -> None:
    """Convert the dump."""
    args = parse_args(argv)
    with orderly_end():
        if args.since_last:
            try:
                update(args)
            except ValueError as error:
                sys.exit(f"{error}; {args.output} is unchanged")
            return
        progress = open_progress(args)
        try:
            with CsvStore(args.output, DETAILS_COLUMNS, args.force, whole=progress["bytes"]) as store:
                failures = Failures(args.output, args.force)
                convert(args, store, failures, progress)
                failures.save()
        except DamagedArchive as error:
            args.progress.unlink(missing_ok=True)  # or the next run would resume after questions that may be damaged
            sys.exit(f"{error}: download it again, and give --force; {args.output} may contain damaged text, too")
        except DumpError as error:
            kept = f"; the questions before it are in {args.output}" if args.output.exists() else ""
            sys.exit(f"{error}{kept}")
        write_source(args.output, args.site, f"data dump ({args.input.name})", STACK_EXCHANGE)
        skipped = ", ".join(f"{count} with {reason}" for reason, count in progress["skipped"].items()) or "none"
        end = repaired(progress["removed"])
        print(f"{progress['written']} questions in {args.output}; left out: {skipped}{end}")


if __name__ == "__main__":
    run_script(main)
