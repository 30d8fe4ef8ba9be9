"""Fetch title, description and tags of the questions in data/ques_urls.csv from their pages.

Output: data/ques_details.csv with the columns title, description, tags (a JSON array), url and creation_date, and next
to it ques_failed.csv with url, reason and kind, both written at the end from ques_details.sqlite, and SOURCE.json. The
same command resumes after an interruption and retries temporary failures. --since-last also fetches the questions of
ques_changed.csv again.

    python scraper/question_details_scraper.py
"""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import QuestionRow, iter_rows, require
from data.source import write_source
from scraper.addresses import web_address
from scraper.changes import CHANGED, CHANGED_COLUMNS, LISTED, write_changed
from scraper.crawl import Crawler, add_crawl_options, crawl_options, orderly_end
from scraper.details import details_row
from scraper.pages import (
    QUESTION_READY,
    ElsewhereError,
    Page,
    PageError,
    parse_question,
)
from scraper.store import FAILED, PERMANENT, TEMPORARY, Store, open_details
from tagging.console import run_script
from tagging.options import script_parser
from tagging.stack_exchange import STACK_EXCHANGE, canonical_url, question_key


def parse_details(page: Page, url: str) -> QuestionRow:
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


def scrape(crawler: Crawler, store: Store, urls: list[str], changed: dict[str, dict[str, str]]) -> int:
    """Fetch the questions into ``store``; return the number of rows that were replaced.

    The note of a question that --since-last has fetched is the time of the run that listed it.
    """
    replaced, before = 0, len(store)
    with tqdm(desc="questions", unit="question", total=before + len(urls), initial=before) as bar:
        for outcome in crawler.crawl(urls):
            with store.transaction():
                if outcome.reason:
                    store.fail(outcome.url, outcome.reason, outcome.permanent)
                else:
                    listed = changed.get(question_key(outcome.url), {}).get(LISTED, "")
                    replaced += store.put([outcome.content], note=listed)[1]
            bar.update()
            bar.set_postfix(failed=store.count_failures())
    return replaced


def keep_unfinished(path: Path, changed: dict[str, dict[str, str]], store: Store) -> None:
    """Remove from ques_changed.csv what has been fetched, or cannot be fetched at all."""
    failed = {key for key, failure in store.failures().items() if failure.kind == TEMPORARY}
    rows = read_changed(path)  # again, since the listing may have been updated meanwhile
    write_changed(path, [row for key, row in rows.items() if key in failed or row != changed.get(key)])


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
    listing = args.input.with_name(CHANGED)
    changed = read_changed(listing) if args.since_last else {}
    with orderly_end(), open_details(args.output, STACK_EXCHANGE, args.force) as store:
        known, notes, before = store.keys(), store.notes(), len(store)
        permanent = {key for key, failure in store.failures().items() if failure.kind == PERMANENT}
        # A question with recent activity may have been undeleted.
        new = [url for key, url in urls.items() if key not in known | (permanent - changed.keys())]
        again = [
            canonical_url(row["url"])
            for key, row in changed.items()
            if key in known and (not row[LISTED] or row[LISTED] != notes.get(key))
        ]
        replaced = 0
        if new or again:
            with Crawler(parse_details, QUESTION_READY, **crawl_options(args)) as crawler:
                replaced = scrape(crawler, store, [*new, *again], changed)
        if args.since_last:
            keep_unfinished(listing, changed, store)
        failed, found = store.failure_summary(), len(store)
        if not found:
            reason = next(iter(store.failures().values())).reason
            file = "" if args.force else f": see {args.output.with_name(FAILED)}"
            sys.exit(f"none of {len(urls)} questions could be fetched ({reason}){file}")
        if not new and not replaced:
            print(f"nothing to do: {found} questions are in {args.output}, {failed}; --force starts over")
            return
        store.write_files()
        site = "{0.scheme}://{0.netloc}".format(urlsplit(next(iter(urls.values()))))
        write_source(args.output, site, "question pages", STACK_EXCHANGE)
        print(f"{found} questions ({found - before} new, {replaced} changed) in {args.output}, {failed}")


if __name__ == "__main__":
    run_script(main)
