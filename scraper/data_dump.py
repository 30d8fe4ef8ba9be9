"""Take the questions out of a site's data dump.

In: Posts.xml, also compressed (.gz, .bz2, .xz), or the .7z archive that holds it. Out: data/ques_details.csv as
question_details_scraper.py writes it, data/SOURCE.json, data/ques_failed.csv with the questions that are left out, and
ques_details.progress.json, how far it is. Run again, it goes on where it was cut.

    python scraper/data_dump.py --input datascience.stackexchange.com.7z --site https://datascience.stackexchange.com

Memory does not grow with the dump: rows stream through, and the processes that clean their HTML, which takes most of
the time, have a few chunks in flight.
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
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.html_text import html_to_text
from tagging.options import add_force_option, at_least_one, script_parser

from data.files import DETAILS_COLUMNS, iter_rows, write_json
from data.source import write_source
from scraper.archives import DamagedArchive, open_posts, volumes
from scraper.crawl import START_OVER, orderly_end, site_address
from scraper.csv_store import CsvStore
from scraper.details import details_row
from scraper.failures import NAME, Failures
from scraper.pages import clean_title, iso_date, question_key
from scraper.posts_xml import DumpError, RawQuestion, parse_tags, raw_questions
from scraper.processes import end_with_parent
from scraper.top_up import fingerprint, fingerprints, merge

CHUNK = 200  # questions that a process cleans at a time, and that a kill may cost


def clean(site: str, questions: list[RawQuestion]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Return questions as rows of ques_details.csv, and {url: reason} of those that are left out."""
    rows, failures = [], {}
    for question in questions:
        url = f"{site}/questions/{question.id}"
        try:
            if not question.id.isdecimal():
                raise ValueError("no id")
            row = details_row(
                title=clean_title(question.title),
                description=html_to_text(question.body),
                tags=parse_tags(question.tags),
                url=url,
                creation_date=iso_date(question.date),
            )
            if not question.body:
                raise ValueError("no body")
            rows.append(row)
        except Exception as error:  # a question like no other is one failure, and not the end of the run
            failures[url] = str(error)
    return rows, failures


def take_failures(found: dict[str, str], failures: Failures) -> Counter[str]:
    """Take down what is left out, which a dump will never give, and return how many for which reason."""
    for url, reason in found.items():
        failures.add(url, reason, permanent=True)
    return Counter(reason if reason.startswith("no ") else f"a fault that {NAME} names" for reason in found.values())


def cleaners(workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes. Not forked, or they would hold the pipe open that an archive is unpacked into."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)


def cleaned_chunks(
    executor: Executor, workers: int, site: str, questions: Iterable[RawQuestion]
) -> Iterator[tuple[int, list[dict[str, str]], dict[str, str]]]:
    """Yield (questions read, rows, {url: reason} of those left out) of each chunk in order, with few chunks in flight.

    Raises
    ------
    DumpError : the dump is damaged; the chunks before, and what was read of the last, have been yielded.
    """
    in_flight: deque = deque()
    damage = None
    waiting = iter(questions)
    while True:
        chunk: list[RawQuestion] = []
        if damage is None:
            try:
                chunk.extend(itertools.islice(waiting, CHUNK))
            except DumpError as error:
                damage = error
        if chunk:
            in_flight.append((len(chunk), executor.submit(clean, site, chunk)))
        if not chunk and not in_flight:
            break
        if len(in_flight) > 2 * workers or not chunk:
            count, future = in_flight.popleft()
            yield count, *future.result()
    if damage:
        raise damage


def convert(args: argparse.Namespace, store: CsvStore, failures: Failures, progress: dict) -> None:
    """Append the questions that ``store`` lacks; ``progress`` and its file tell how far it is."""
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
            progress["skipped"] = dict(Counter(progress["skipped"]) + take_failures(left_out, failures))
            progress["bytes"] = store.size()
            write_json(args.progress, progress)
            bar.update(position.tell() - bar.n)
        progress["removed"] = posts.removed
    write_json(args.progress, progress | {"complete": True})


def size(dump: Path) -> int:
    """Return the bytes of a dump's files, 0 where there is none."""
    return sum(path.stat().st_size for path in volumes(dump) if path.is_file())


def open_progress(args: argparse.Namespace) -> dict:
    """Return how far the run before came, or a new beginning.

    Raises
    ------
    SystemExit : the output is of something else.
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
    sys.exit(f"{args.output} was not made from {args.input}: give --force to replace it, or name another --output")


def update(args: argparse.Namespace) -> None:
    """Merge what is new or has changed in the dump into an output that is there."""
    if not args.output.is_file():
        sys.exit(f"--since-last: {args.output} is not there; run without it first")
    if lacking := set(DETAILS_COLUMNS) - set(next(iter_rows(args.output), {})):
        sys.exit(f"--since-last: {args.output} has no column {', '.join(sorted(lacking))}")
    with CsvStore(args.output, DETAILS_COLUMNS, force=False, whole=args.output.stat().st_size):
        before, news = fingerprints(args.output), []
        failures = Failures(args.output, force=False)
        with (
            open_posts(args.input) as (posts, position),
            cleaners(args.workers) as executor,
            tqdm(desc=args.input.name, unit="B", unit_scale=True, total=size(args.input)) as bar,
        ):
            questions = raw_questions(posts)
            for _, rows, left_out in cleaned_chunks(executor, args.workers, args.site, questions):
                take_failures(left_out, failures)
                failures.discard(row["url"] for row in rows)
                news += [row for row in rows if before.get(question_key(row["url"])) != fingerprint(row)]
                bar.update(position.tell() - bar.n)
        changed, new = merge(args.output, news)
        failures.save()
    args.progress.unlink(missing_ok=True)
    write_source(args.output, args.site, f"data dump ({args.input.name})")
    print(f"{new} new and {changed} changed questions of {args.input} in {args.output}{repaired(posts.removed)}")


def repaired(removed: int) -> str:
    """Return the end of the line that says what was done."""
    return f"; {removed} characters that XML forbids were left out of the dump's text" if removed else ""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = script_parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, help="Posts.xml, also compressed, or the .7z archive")
    parser.add_argument("--site", type=site_address, required=True, help="address of the dump's site")
    parser.add_argument("--output", type=Path, default=Path("data/ques_details.csv"), help="CSV file to write")
    parser.add_argument("--workers", type=at_least_one, default=usable_cpus(), help="processes that clean HTML")
    parser.add_argument(
        "--since-last", action="store_true", help="put what is new or has changed into the output that is there"
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
                sys.exit(f"{error}; {args.output} is as it was")
            return
        progress = open_progress(args)
        try:
            with CsvStore(args.output, DETAILS_COLUMNS, args.force, whole=progress["bytes"]) as store:
                failures = Failures(args.output, args.force)
                convert(args, store, failures, progress)
                failures.save()
        except DamagedArchive as error:
            args.progress.unlink(missing_ok=True)  # or the next run would go on after questions that may be damaged
            sys.exit(f"{error}: get it anew, and give --force; what is in {args.output} may be damaged, too")
        except DumpError as error:
            kept = f"; the questions before it are in {args.output}" if args.output.exists() else ""
            sys.exit(f"{error}{kept}")
        write_source(args.output, args.site, f"data dump ({args.input.name})")
        skipped = ", ".join(f"{count} with {reason}" for reason, count in progress["skipped"].items()) or "none"
        end = repaired(progress["removed"])
        print(f"{progress['written']} questions in {args.output}; left out: {skipped}{end}")


if __name__ == "__main__":
    run_script(main)
