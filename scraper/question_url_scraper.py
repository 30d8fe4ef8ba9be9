"""Collect the URLs of a site's questions from its listing pages, newest first.

Output: data/ques_urls.csv with the columns title and url, written at the end from data/ques_urls.sqlite, the store of
this script. The same command resumes after an interruption. After a complete run, --since-last adds the questions asked
since then, and lists known questions with recent activity in data/ques_changed.csv, which question_details_scraper.py
--since-last fetches again.

    python scraper/question_url_scraper.py --site https://datascience.stackexchange.com
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import URL_COLUMNS, iter_rows
from scraper.addresses import is_of_site
from scraper.changes import CHANGED, LISTED, write_changed
from scraper.crawl import Crawler, add_crawl_options, add_site_option, crawl_options, orderly_end
from scraper.pages import (
    LISTING_READY,
    Link,
    Page,
    PageError,
    iso_date,
    iso_now,
    oldest_activity,
    page_count,
    parse_question_list,
)
from scraper.politeness import StopRun
from scraper.store import Progress, Store, Table, open_store
from tagging.console import run_script
from tagging.options import at_least_one, script_parser
from tagging.stack_exchange import PAGE_SIZE, STACK_EXCHANGE, listing_url, question_key


@dataclass(frozen=True, kw_only=True)
class ListingProgress(Progress):
    """The listing pages of ``site`` that have been read.

    Attributes
    ----------
    pages
        Number of pages that have been read, from the first page to the first missing one.
    total
        Number of pages of the listing, None before the first one has been read.
    """

    site: str
    pages: int = 0
    total: int | None = None

    def missing(self, limit: int | None) -> range:
        """Return the missing pages among the first ``limit``; only the first page while the total is unknown."""
        last = 1 if self.total is None else min(limit or self.total, self.total)
        return range(self.pages + 1, last + 1)

    def reached(self, done: set[int], total: int) -> "ListingProgress":
        """Return the progress with these pages."""
        pages = next(page for page in itertools.count(1) if page not in done) - 1
        complete_at = self.complete_at or (self.begun_at if pages >= total else None)
        return replace(self, pages=pages, total=total, complete_at=complete_at)


def parse_listing(page: Page, url: str) -> tuple[list[Link], int]:
    """Return the questions of a listing page and the number of listing pages."""
    links = parse_question_list(page.html, page.url)
    if not links:
        raise PageError(f"{url}: no questions in it")
    return links, page_count(page.html)


def scrape(crawler: Crawler, store: Store, progress: ListingProgress, limit: int | None) -> dict[str, str]:
    """Read the missing listing pages into ``store``; return {url: reason} of the pages that failed.

    The note of a question is the page that listed it.
    """
    known_before = {key for key, page in store.notes().items() if int(page) <= progress.pages}
    done = set(range(1, progress.pages + 1))
    done_before = set(done)
    totals: dict[int, int] = {}
    failures: dict[int, str] = {}
    with tqdm(desc="listing pages", unit="page", initial=len(done)) as bar:
        while pages := {
            listing_url(progress.site, "newest", page): page
            for page in progress.missing(limit)
            if page not in done and page not in failures
        }:
            bar.total = bar.n + len(pages)
            for outcome in crawler.crawl(pages):
                bar.update()
                page, joins = pages[outcome.url], False
                with store.transaction():
                    if outcome.reason:
                        failures[page] = outcome.reason
                    else:
                        links, totals[page] = outcome.content
                        joins = question_key(links[0]["url"]) in known_before
                        store.put(links, note=str(page))
                        done.add(page)
                    # If questions have been deleted since a previous run, others have moved up to the page before.
                    if not joins and page - 1 in done_before:
                        done_before.discard(page - 1)
                        done.discard(page - 1)
                    progress = progress.reached(done, max([progress.total or 1, *totals.values()]))
                    store.save(progress)
    # The last page has links to earlier pages only: pages after it that failed no longer exist.
    if failures and totals and 0 <= (last := max(totals)) - totals[last] <= 1:
        with store.transaction():
            progress = progress.reached(done, last)
            store.save(progress)
    return {
        listing_url(progress.site, "newest", page): reason
        for page, reason in failures.items()
        if page <= (progress.total or 1)
    }


def parse_active(page: Page, url: str) -> tuple[list[Link], str, int]:
    """Return the questions of a page of the active list, the earliest activity on it, and the number of pages."""
    links, total = parse_listing(page, url)
    oldest = oldest_activity(page.html)
    if not oldest:
        raise PageError(f"{url}: no activity times in it")
    return links, oldest, total


def active_since(crawler: Crawler, site: str, since: str) -> Iterator[list[Link]]:
    """Yield the questions with activity since that time, page by page; the last page may contain older ones.

    Raises
    ------
    StopRun
        A page cannot be fetched.
    """
    for page in itertools.count(1):
        (outcome,) = crawler.crawl([listing_url(site, "active", page)])
        if outcome.reason:
            raise StopRun(f"{outcome.url}: {outcome.reason}; run again to retry it")
        links, oldest, total = outcome.content
        yield links
        if oldest < since or page >= total:
            return


def top_up(args: argparse.Namespace, store: Store, progress: ListingProgress) -> str:
    """Add new questions to ``store``, write active ones to ques_changed.csv, and return a summary."""
    path = args.output.with_name(CHANGED)
    known = store.keys()
    new, active = 0, {row["url"]: row for row in iter_rows(path)} if path.exists() else {}
    begun, since = iso_now(), iso_date(progress.changes_since(args.output).isoformat())
    with (
        Crawler(parse_active, LISTING_READY, **crawl_options(args)) as crawler,
        tqdm(desc="listing pages", unit="page") as bar,
    ):
        for links in active_since(crawler, args.site, since):
            fresh = [link for link in links if question_key(link["url"]) not in known]
            with store.transaction():
                new += store.put(fresh)[0]
            seen = [link for link in links if link not in fresh]
            active |= {link["url"]: {"title": link["title"], "url": link["url"], LISTED: begun} for link in seen}
            known.update(question_key(link["url"]) for link in fresh)
            bar.update()
    write_changed(path, list(active.values()))
    with store.transaction():
        store.save(replace(progress, complete_at=begun))
    return f"{new} new questions in {args.output}, {len(active)} possibly changed in {path}"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = script_parser(__doc__)
    add_site_option(parser)
    parser.add_argument(
        "--pages",
        type=at_least_one,
        help=f"number of listing pages to read, {PAGE_SIZE} questions each; all if omitted",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("data/ques_urls.csv"), help="CSV file to create or to resume"
    )
    parser.add_argument(
        "--since-last",
        action="store_true",
        help="read only questions that are new or active since the last complete run",
    )
    add_crawl_options(parser)
    return parser.parse_args(argv)


def open_progress(args: argparse.Namespace, store: Store) -> ListingProgress:
    """Return the progress of previous runs; if rows have been removed from the output, all pages are read again.

    Raises
    ------
    SystemExit
        The output belongs to another site, or the file of progress of an earlier version is damaged.
    """
    other = next((url for url in store.urls() if not is_of_site(url, args.site)), None)
    if other:
        sys.exit(f"{args.output} contains {other}: choose another --output for {args.site}, or give --force")

    def of_earlier_version(content: dict) -> ListingProgress:
        """Convert pairs of a page and the number of rows after it."""
        done = {page: rows for page, rows in content["done"] if rows <= len(store)}
        progress = replace(fresh, begun_at=content["begun_at"]).reached(set(done), content["total"] or 1)
        rows_read = max((done[page] for page in range(1, progress.pages + 1)), default=0)
        store.put(({"title": "", "url": url} for url in itertools.islice(store.urls(), rows_read)), note="1")
        topped_up, rows = content["topped_up"] or (None, 0)
        return replace(progress, complete_at=topped_up if rows <= len(store) else None) if topped_up else progress

    fresh = ListingProgress(site=args.site, begun_at=iso_now())
    if store.removed:
        return fresh
    return store.progress(ListingProgress) or store.take_over(of_earlier_version) or fresh


def main(argv: list[str] | None = None) -> None:
    """Scrape the listing."""
    args = parse_args(argv)
    table = Table("questions", args.output, URL_COLUMNS, URL_COLUMNS)
    with orderly_end(), open_store(table, None, STACK_EXCHANGE, args.force) as store:
        progress = open_progress(args, store)
        if args.since_last:
            print(top_up(args, store, progress))
            return
        before = len(store)
        if not progress.missing(args.pages):
            print(f"nothing to do: {before} questions in {args.output}; give --force to start over")
            return
        with Crawler(parse_listing, LISTING_READY, **crawl_options(args)) as crawler:
            failures = scrape(crawler, store, progress, args.pages)
        found = f"{len(store)} questions ({len(store) - before} new) in {args.output}"
        if failures:
            url, reason = next(iter(failures.items()))
            sys.exit(f"{len(failures)} listing pages failed ({url}: {reason}): {found}; run again to retry them")
        print(f"{found}, 0 failures")


if __name__ == "__main__":
    run_script(main)
