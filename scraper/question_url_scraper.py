"""Collect the addresses of a site's questions from its listing pages, newest first.

In: a Stack Exchange site. Out: data/ques_urls.csv with the columns title and url, and beside it
data/ques_urls.progress.json with the listing pages that are done. Run again, it goes on where it was cut. Run with
--since-last after a complete run, it adds the questions that are new, and writes those that something has happened to
into data/ques_changed.csv, for question_details_scraper.py --since-last to fetch anew.

    python scraper/question_url_scraper.py --site https://datascience.stackexchange.com
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import URL_COLUMNS, atomic_path, iter_rows
from deployment.options import at_least_one
from scraper.crawl import Crawler, add_crawl_options, crawl_options, orderly_end, site_address
from scraper.csv_store import CsvStore, to_csv
from scraper.pages import (
    LISTING_READY,
    Link,
    Page,
    PageError,
    iso_now,
    oldest_activity,
    page_count,
    parse_question_list,
    question_key,
)
from scraper.politeness import StopRun
from scraper.progress import Progress

PAGE_SIZE = 50  # the most that the sites show
CHANGED = "ques_changed.csv"  # questions that may have changed since they were fetched


def listing_url(site: str, page: int) -> str:
    """Return the address of a listing page; pages count from 1."""
    return f"{site}/questions?tab=newest&pagesize={PAGE_SIZE}&page={page}"


def parse_listing(page: Page, url: str) -> tuple[list[Link], int]:
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


def active_url(site: str, page: int) -> str:
    """Return the address of a page of the list of questions by their last activity; pages count from 1."""
    return f"{site}/questions?tab=active&pagesize={PAGE_SIZE}&page={page}"


def parse_active(page: Page, url: str) -> tuple[list[Link], str, int]:
    """Return the questions of a page of the active list, the earliest activity on it, and the number of its pages."""
    links, total = parse_listing(page, url)
    oldest = oldest_activity(page.html)
    if not oldest:
        raise PageError(f"{url}: it does not tell when its questions were active")
    return links, oldest, total


def active_since(crawler: Crawler, site: str, since: str) -> Iterator[list[Link]]:
    """Yield the questions that something has happened to since then, and some more, a page at a time.

    Raises
    ------
    StopRun : a page cannot be had.
    """
    for page in itertools.count(1):
        (outcome,) = crawler.crawl([active_url(site, page)])
        if outcome.reason:
            raise StopRun(f"{outcome.url}: {outcome.reason}; run again to try it again")
        links, oldest, total = outcome.content
        yield links
        if oldest < since or page >= total:
            return


def top_up(args: argparse.Namespace, store: CsvStore, progress: Progress) -> str:
    """Add what is new to ``store``, list what was active in ques_changed.csv, and return what was found."""
    if progress.complete_at is None:
        sys.exit(f"--since-last: no complete run of {args.output} yet; run without it first")
    path = args.output.with_name(CHANGED)
    known = {question_key(url) for url in store.urls}
    new, active = 0, {row["url"]: row["title"] for row in iter_rows(path)} if path.exists() else {}
    begun = iso_now()
    with (
        Crawler(parse_active, LISTING_READY, **crawl_options(args)) as crawler,
        tqdm(desc="listing pages", unit="page") as bar,
    ):
        for links in active_since(crawler, args.site, progress.complete_at):
            fresh = [link for link in links if question_key(link["url"]) not in known]
            if fresh:
                store.append(fresh)  # type: ignore[arg-type]  # a TypedDict is no Mapping[str, str] to mypy
            active |= {link["url"]: link["title"] for link in links if link not in fresh}
            known.update(question_key(link["url"]) for link in fresh)
            new += len(fresh)
            bar.update()
    with atomic_path(path) as temporary:
        temporary.write_bytes(to_csv([URL_COLUMNS, *((title, url) for url, title in active.items())]))
    progress.complete_at = begun
    return f"{new} new questions in {args.output}, {len(active)} perhaps changed in {path}"


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
    parser.add_argument(
        "--since-last", action="store_true", help="only what is new or active since the last complete run"
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
        if args.since_last:
            print(top_up(args, store, progress))
            progress.save(progress_path)
            return
        if not progress.missing(args.pages):
            print(f"nothing to do: {len(store.urls)} questions in {args.output}; give --force to scrape anew")
            return
        before, begun = len(store.urls), iso_now()
        with Crawler(parse_listing, LISTING_READY, **crawl_options(args)) as crawler:
            failures = scrape(crawler, store, progress, progress_path, args.pages)
        found = f"{len(store.urls)} questions ({len(store.urls) - before} new) in {args.output}"
        if failures:
            url, reason = next(iter(failures.items()))
            sys.exit(f"{len(failures)} listing pages failed ({url}: {reason}): {found}; run again to try them again")
        if not progress.missing(None):
            progress.complete_at = begun
            progress.save(progress_path)
        print(f"{found}, 0 failures")


if __name__ == "__main__":
    main()
