"""Collect the addresses of a site's questions from its listing pages, newest first.

In: a Stack Exchange site. Out: data/ques_urls.csv with the columns title and url, and beside it
data/ques_urls.progress.json with the listing pages that are done. Run again, it goes on where it was cut.

    python scraper/question_url_scraper.py --site https://datascience.stackexchange.com
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tqdm import tqdm

from data.files import URL_COLUMNS
from scraper.crawl import Crawler, add_crawl_options, at_least_one, orderly_end, site_address
from scraper.csv_store import CsvStore
from scraper.pages import LISTING_READY, Link, PageError, page_count, parse_question_list, question_key
from scraper.progress import Progress

if TYPE_CHECKING:
    from scraper.browser import Page

PAGE_SIZE = 50  # the most that the sites show


def listing_url(site: str, page: int) -> str:
    """Return the address of a listing page; pages count from 1."""
    return f"{site}/questions?tab=newest&pagesize={PAGE_SIZE}&page={page}"


def parse_listing(page: "Page", url: str) -> tuple[list[Link], int]:
    """Return the questions of a listing page and the number of listing pages."""
    links = parse_question_list(page.html, page.url)
    if not links:
        raise PageError(f"{url}: no questions in it")
    return links, page_count(page.html)


def scrape(
    crawler: Crawler, store: CsvStore, progress: Progress, progress_path: Path, limit: int | None
) -> dict[str, str]:
    """Read the missing listing pages into ``store``; return the urls that failed, with their reasons."""
    known = {question_key(url) for url in store.urls}
    failures: dict[str, str] = {}
    with tqdm(desc="listing pages", unit="page", initial=len(progress.done)) as bar:
        while pages := {
            url: page for page in progress.missing(limit) if (url := listing_url(progress.site, page)) not in failures
        }:
            bar.total = bar.n + len(pages)
            for outcome in crawler.crawl(pages):
                bar.update()
                if outcome.reason:
                    failures[outcome.url] = outcome.reason
                    continue
                links, total = outcome.content
                store.append(link for link in links if question_key(link["url"]) not in known)
                known.update(question_key(link["url"]) for link in links)
                progress.note(pages[outcome.url], total, len(store.urls))
                progress.save(progress_path)
    return failures


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description="Collect the addresses of a Stack Exchange site's questions, newest first.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--site", type=site_address, default="https://datascience.stackexchange.com", help="address of the site"
    )
    parser.add_argument(
        "--pages", type=at_least_one, help=f"listing pages to read, {PAGE_SIZE} questions each; all if not given"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("data/ques_urls.csv"), help="CSV file to write or go on with"
    )
    add_crawl_options(parser)
    return parser.parse_args(argv)


def open_progress(path: Path, site: str, store: CsvStore) -> Progress:
    """Return the pages done so far, or stop if the output is of another site."""
    other = next((url for url in store.urls if urlsplit(url).netloc != urlsplit(site).netloc), None)
    if other:
        sys.exit(f"{store.path} holds {other}: name another --output for {site}, or give --force")
    try:
        return Progress.load(path, site, len(store.urls))
    except ValueError as error:
        sys.exit(str(error))


def main(argv: list[str] | None = None) -> None:
    """Scrape the listing."""
    args = parse_args(argv)
    progress_path = args.output.with_suffix(".progress.json")
    with orderly_end(), CsvStore(args.output, URL_COLUMNS, args.force) as store:
        if args.force:
            progress_path.unlink(missing_ok=True)
        progress = open_progress(progress_path, args.site, store)
        if not progress.missing(args.pages):
            print(f"nothing to do: {len(store.urls)} questions in {args.output}; give --force to scrape anew")
            return
        before = len(store.urls)
        with Crawler(parse_listing, LISTING_READY, args.workers, args.delay, args.contact) as crawler:
            failures = scrape(crawler, store, progress, progress_path, args.pages)
        found = f"{len(store.urls)} questions ({len(store.urls) - before} new) in {args.output}"
        if failures:
            url, reason = next(iter(failures.items()))
            sys.exit(f"{len(failures)} listing pages failed ({url}: {reason}): {found}; run again to try them again")
        print(f"{found}, 0 failures")


if __name__ == "__main__":
    main()
