"""Fetch title, description and tags of the questions in data/ques_urls.csv from their pages.

Output: data/ques_details.csv with the columns title, description, tags (a JSON array), url and creation_date, and next
to it SOURCE.json and ques_failed.csv with url, reason and kind. The same command resumes after an interruption and
retries temporary failures (kind "passing"). --since-last also fetches the questions of ques_changed.csv again.

    python scraper/question_details_scraper.py
"""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import DETAILS_COLUMNS, iter_rows, require
from data.source import write_source
from scraper.addresses import web_address
from scraper.crawl import Crawler, add_crawl_options, crawl_options, orderly_end
from scraper.csv_store import CsvStore
from scraper.details import details_row
from scraper.failures import Failures
from scraper.pages import (
    QUESTION_READY,
    ElsewhereError,
    Page,
    PageError,
    parse_question,
)
from scraper.question_url_scraper import CHANGED, CHANGED_COLUMNS, LISTED, write_changed
from scraper.top_up import merge, updates_path
from tagging.console import run_script
from tagging.options import script_parser
from tagging.stack_exchange import STACK_EXCHANGE, canonical_url, question_key

UPDATES_COLUMNS = [*DETAILS_COLUMNS, LISTED]


def parse_details(page: Page, url: str) -> dict[str, str]:
    """Return a row of ques_details.csv."""
    if question_key(page.url) != question_key(url):
        # Sites redirect readers without an account from a duplicate to the original question.
        raise ElsewhereError(f"redirects to another page: {page.url}", instead=f"{url}?noredirect=1")
    question = parse_question(page.html, url)
    try:
        return details_row(**question)
    except ValueError as error:
        raise PageError(f"{url}: {error}") from error


def read_urls(path: Path) -> dict[str, str]:
    """Return the urls of ques_urls.csv in order as {key of the question: url}.

    Raises
    ------
    SystemExit
        The file is missing or unreadable, has no rows, or contains an invalid url.
    """
    require(path, made_by="python scraper/question_url_scraper.py")
    try:
        rows = list(iter_rows(path, ["url"]))
    except ValueError as error:
        sys.exit(str(error))
    if not rows:
        sys.exit(f"{path}: no rows; run  python scraper/question_url_scraper.py  first")
    if "url" not in rows[0]:
        sys.exit(f"{path}: column url missing; found {', '.join(rows[0])}")
    urls: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        try:
            url = canonical_url(web_address(row["url"]))
        except ValueError as error:
            sys.exit(f"{path}, row {number}, column url: {error}")
        urls.setdefault(question_key(url), url)
    return urls


def read_changed(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ques_changed.csv as {key of the question: row}; empty if the file does not exist."""
    rows = list(iter_rows(path, CHANGED_COLUMNS)) if path.exists() else []
    if rows:
        read_urls(path)  # rejects invalid urls
    return {question_key(row["url"]): {LISTED: "", **row} for row in rows}


def scrape(
    crawler: Crawler, store: CsvStore, urls: list[str], failures: Failures, changed: dict[str, dict[str, str]]
) -> None:
    """Fetch the questions into ``store``, and update ``failures``."""
    total = len(store.urls) + len(urls)
    with tqdm(desc="questions", unit="question", total=total, initial=len(store.urls)) as bar:
        for outcome in crawler.crawl(urls):
            if outcome.reason:
                failures.add(outcome.url, outcome.reason, outcome.permanent)
            else:
                listed = changed.get(question_key(outcome.url), {}).get(LISTED, "")
                store.append([{**outcome.content, LISTED: listed}])
                failures.discard([outcome.url])
            bar.update()
            bar.set_postfix(failed=len(failures))


def refresh(args: argparse.Namespace, failures: Failures, changed: dict[str, dict[str, str]]) -> int:
    """Fetch the questions of ques_changed.csv again and merge them into the output; return the number of changes.

    Questions that cannot be fetched now stay in ques_changed.csv.
    """
    known = {question_key(row["url"]) for row in iter_rows(args.output)}
    path = updates_path(args.output)
    count = 0
    with CsvStore(path, UPDATES_COLUMNS, force=False) as updates:
        taken = {(question_key(row["url"]), row[LISTED]) for row in iter_rows(path)} if updates.urls else set()
        todo = [
            canonical_url(row["url"])
            for key, row in changed.items()
            if key in known and (key, row[LISTED]) not in taken
        ]
        if todo:
            with Crawler(parse_details, QUESTION_READY, **crawl_options(args)) as crawler:
                scrape(crawler, updates, todo, failures, changed)
        if updates.urls:
            count, _ = merge(args.output, iter_rows(path))
            path.unlink()
    failed = known & {question_key(url) for url in failures.passing()}
    listing = args.input.with_name(CHANGED)
    rows = read_changed(listing).items()  # read again: it may have been updated meanwhile
    write_changed(listing, [row for key, row in rows if key in failed or row != changed.get(key)])
    return count


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--input", type=Path, default=Path("data/ques_urls.csv"), help="CSV file with a column url")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data/ques_details.csv"),
        help="CSV file to create or to resume; ques_failed.csv is written next to it",
    )
    parser.add_argument(
        "--since-last",
        action="store_true",
        help="also fetch the questions again that question_url_scraper.py --since-last has listed as active",
    )
    add_crawl_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Scrape the questions."""
    args = parse_args(argv)
    if args.input.resolve() == args.output.resolve():
        sys.exit(f"--output {args.output} is the --input: choose another file")
    urls = read_urls(args.input)
    changed = read_changed(args.input.with_name(CHANGED)) if args.since_last else {}
    with orderly_end(), CsvStore(args.output, DETAILS_COLUMNS, args.force) as store:
        if args.force:
            updates_path(args.output).unlink(missing_ok=True)
        failures = Failures(args.output, args.force)
        failures.discard(store.urls)
        # A question with recent activity may have been undeleted.
        finished = {question_key(url) for url in store.urls} | (failures.permanent() - changed.keys())
        todo = [url for key, url in urls.items() if key not in finished]
        before = len(store.urls)
        try:
            if todo:
                with Crawler(parse_details, QUESTION_READY, **crawl_options(args)) as crawler:
                    scrape(crawler, store, todo, failures, {})
            count = refresh(args, failures, changed) if changed and store.urls else 0
        finally:
            failures.save()
        failed = f"{len(failures)} failures" + (f" in {failures.path}" if failures else "")
        if not store.urls:
            sys.exit(f"none of {len(urls)} questions could be fetched ({failures.reason()}): see {failures.path}")
        if not todo and not count:
            print(f"nothing to do: {len(store.urls)} questions are in {args.output}, {failed}; --force starts over")
            return
        site = "{0.scheme}://{0.netloc}".format(urlsplit(next(iter(urls.values()))))
        write_source(args.output, site, "question pages", STACK_EXCHANGE)
        news = f"{len(store.urls) - before} new, {count} changed"
        print(f"{len(store.urls)} questions ({news}) in {args.output}, {failed}")


if __name__ == "__main__":
    run_script(main)
