"""Collect the URLs of a site's questions from its listing pages, newest first.

Output: data/ques_urls.csv with the columns title and url, and next to it data/ques_urls.progress.json with the listing
pages that are done. The same command resumes after an interruption. After a complete run, --since-last adds the
questions asked since then, and lists known questions with recent activity in data/ques_changed.csv, which
question_details_scraper.py --since-last fetches again.

    python scraper/question_url_scraper.py --site https://datascience.stackexchange.com
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import URL_COLUMNS, iter_rows
from scraper.addresses import is_of_site
from scraper.crawl import Crawler, add_crawl_options, add_site_option, crawl_options, orderly_end
from scraper.csv_store import CsvStore, to_csv
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
from scraper.progress import Progress
from scraper.top_up import OVERLAP_S
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import at_least_one, script_parser
from tagging.stack_exchange import PAGE_SIZE, listing_url, question_key

CHANGED = "ques_changed.csv"  # questions that may have changed since they were fetched
LISTED = "listed"  # time of the run that listed the question
CHANGED_COLUMNS = [*URL_COLUMNS, LISTED]


def parse_listing(page: Page, url: str) -> tuple[list[Link], int]:
    """Return the questions of a listing page and the number of listing pages."""
    links = parse_question_list(page.html, page.url)
    if not links:
        raise PageError(f"{url}: no questions in it")
    return links, page_count(page.html)


def scrape(
    crawler: Crawler, store: CsvStore, progress: Progress, progress_path: Path, limit: int | None
) -> dict[str, str]:
    """Read the missing listing pages into ``store``; return {url: reason} of the pages that failed."""
    known = {question_key(url) for url in store.urls}
    rows_before = max((rows for _, rows in progress.done), default=0)
    known_before = {question_key(url) for url in store.urls[:rows_before]}
    done_before = {page for page, _ in progress.done}
    totals, failures = {}, {}
    with tqdm(desc="listing pages", unit="page", initial=len(progress.done)) as bar:
        while pages := {
            listing_url(progress.site, "newest", page): page for page in progress.missing(limit) if page not in failures
        }:
            bar.total = bar.n + len(pages)
            for outcome in crawler.crawl(pages):
                bar.update()
                page, joins = pages[outcome.url], False
                if outcome.reason:
                    failures[page] = outcome.reason
                else:
                    links, totals[page] = outcome.content
                    joins = question_key(links[0]["url"]) in known_before
                    store.append(link for link in links if question_key(link["url"]) not in known)
                    known.update(question_key(link["url"]) for link in links)
                    progress.note(page, totals[page], len(store.urls))
                # If questions have been deleted since a previous run, others have moved up to the page before.
                if not joins and page - 1 in done_before:
                    done_before.discard(page - 1)
                    progress.forget(page - 1)
                progress.save(progress_path)
    # The last page has links to earlier pages only: pages after it that failed no longer exist.
    if failures and totals and 0 <= (last := max(totals)) - totals[last] <= 1:
        progress.total = last
        progress.save(progress_path)
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


def top_up(args: argparse.Namespace, store: CsvStore, progress: Progress) -> str:
    """Add new questions to ``store``, write active ones to ques_changed.csv, and return a summary."""
    if progress.complete_at is None:
        sys.exit(f"--since-last: no complete run of {args.output} yet; run without this option first")
    path = args.output.with_name(CHANGED)
    known = {question_key(url) for url in store.urls}
    new, active = 0, {row["url"]: row for row in iter_rows(path)} if path.exists() else {}
    begun, since = iso_now(), datetime.fromisoformat(progress.complete_at) - timedelta(seconds=OVERLAP_S)
    with (
        Crawler(parse_active, LISTING_READY, **crawl_options(args)) as crawler,
        tqdm(desc="listing pages", unit="page") as bar,
    ):
        for links in active_since(crawler, args.site, iso_date(since.isoformat())):
            fresh = [link for link in links if question_key(link["url"]) not in known]
            if fresh:
                store.append(fresh)  # type: ignore[arg-type]  # a TypedDict is no Mapping[str, str] to mypy
            seen = [link for link in links if link not in fresh]
            active |= {link["url"]: {"title": link["title"], "url": link["url"], LISTED: begun} for link in seen}
            known.update(question_key(link["url"]) for link in fresh)
            new += len(fresh)
            bar.update()
    write_changed(path, list(active.values()))
    progress.topped_up = begun, len(store.urls)
    return f"{new} new questions in {args.output}, {len(active)} possibly changed in {path}"


def write_changed(path: Path, rows: list[dict[str, str]]) -> None:
    """Write ques_changed.csv, or remove it if there are no rows."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(
            to_csv([CHANGED_COLUMNS, *([row.get(name, "") for name in CHANGED_COLUMNS] for row in rows)])
        )


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


def open_progress(path: Path, site: str, store: CsvStore) -> Progress:
    """Return the progress of previous runs.

    Raises
    ------
    SystemExit
        The output belongs to another site, or the progress file is damaged.
    """
    other = next((url for url in store.urls if not is_of_site(url, site)), None)
    if other:
        sys.exit(f"{store.path} contains {other}: choose another --output for {site}, or give --force")
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
            print(f"nothing to do: {len(store.urls)} questions in {args.output}; give --force to start over")
            return
        before = len(store.urls)
        progress.begun_at = progress.begun_at or iso_now()
        with Crawler(parse_listing, LISTING_READY, **crawl_options(args)) as crawler:
            failures = scrape(crawler, store, progress, progress_path, args.pages)
        found = f"{len(store.urls)} questions ({len(store.urls) - before} new) in {args.output}"
        if failures:
            url, reason = next(iter(failures.items()))
            sys.exit(f"{len(failures)} listing pages failed ({url}: {reason}): {found}; run again to retry them")
        print(f"{found}, 0 failures")


if __name__ == "__main__":
    run_script(main)
