"""Fetch title, description and tags of every question whose address is known.

In: data/ques_urls.csv. Out: data/ques_details.csv with the columns title, description, tags (a JSON array), url and
creation_date, and beside it SOURCE.json and ques_failed.csv with url and reason. Run again, it goes on where it was cut
and tries the failed ones again. With --since-last it fetches those of ques_changed.csv anew, too.

    python scraper/question_details_scraper.py
"""

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import DETAILS_COLUMNS, iter_rows, require
from data.source import write_source
from scraper.crawl import Crawler, add_crawl_options, crawl_options, orderly_end
from scraper.csv_store import FAILED_COLUMNS, CsvStore, parse_table, write_failures
from scraper.pages import QUESTION_READY, Page, PageError, canonical_url, parse_question, question_key
from scraper.question_url_scraper import CHANGED
from scraper.top_up import merge


def parse_details(page: Page, url: str) -> dict[str, str]:
    """Return a row of ques_details.csv."""
    if question_key(page.url) != question_key(url):
        raise PageError(f"leads to another page: {page.url}")
    question = parse_question(page.html, url)
    return {**question, "tags": json.dumps(question["tags"], ensure_ascii=False)}  # type: ignore[dict-item]


def read_urls(path: Path) -> dict[str, str]:
    """Return the urls of ques_urls.csv in their order as {key of the question: url}, or stop with one line."""
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
        url = row["url"].strip()
        if not url.startswith(("http://", "https://")):
            sys.exit(f"{path}, row {number}: url {url[:80]!r} does not start with https://")
        urls.setdefault(question_key(url), canonical_url(url))
    return urls


def read_failures(path: Path) -> dict[str, str]:
    """Return what failed in the run before; a file that cannot be read is written anew after this run."""
    try:
        columns, rows = parse_table(path.read_bytes(), str(path)) if path.exists() else ([], [])
    except ValueError:
        return {}
    return {row["url"]: row["reason"] for row in rows} if columns == FAILED_COLUMNS else {}


def scrape(crawler: Crawler, store: CsvStore, urls: list[str], failures: dict[str, str]) -> None:
    """Fetch the questions into ``store``; ``failures`` gets the reasons of those that failed and loses the others."""
    total = len(store.urls) + len(urls)
    with tqdm(desc="questions", unit="question", total=total, initial=len(store.urls)) as bar:
        for outcome in crawler.crawl(urls):
            if outcome.reason:
                failures[outcome.url] = outcome.reason
            else:
                store.append([outcome.content])
                failures.pop(outcome.url, None)
            bar.update()
            bar.set_postfix(failed=len(failures))


def refresh(args: argparse.Namespace, failures: dict[str, str]) -> int:
    """Fetch the questions of ques_changed.csv anew, merge them into the output, and return how many have changed."""
    changed = args.input.with_name(CHANGED)
    known = {question_key(row["url"]) for row in iter_rows(args.output)}
    urls = {key: url for key, url in read_urls(changed).items() if key in known} if has_rows(changed) else {}
    path = args.output.with_name(f".{args.output.name}.updates")
    with CsvStore(path, DETAILS_COLUMNS, force=False) as updates:
        done = {question_key(url) for url in updates.urls}
        todo = [url for key, url in urls.items() if key not in done]
        if todo:
            with Crawler(parse_details, QUESTION_READY, **crawl_options(args)) as crawler:
                scrape(crawler, updates, todo, failures)
        if not updates.urls:
            return 0
        count, _ = merge(args.output, iter_rows(path))
        path.unlink()
    changed.unlink(missing_ok=True)
    return count


def has_rows(path: Path) -> bool:
    return path.exists() and any(True for _ in iter_rows(path))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description="Fetch title, description and tags of the questions in a list of addresses.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--input", type=Path, default=Path("data/ques_urls.csv"), help="CSV file with a column url")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data/ques_details.csv"),
        help="CSV file to write or go on with; ques_failed.csv lies beside it",
    )
    parser.add_argument(
        "--since-last", action="store_true", help="also fetch anew what question_url_scraper.py --since-last has listed"
    )
    add_crawl_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Scrape the questions."""
    args = parse_args(argv)
    if args.input.resolve() == args.output.resolve():
        sys.exit(f"--output {args.output} is the --input: name another")
    urls = read_urls(args.input)
    failed_path = args.output.with_name("ques_failed.csv")
    with orderly_end(), CsvStore(args.output, DETAILS_COLUMNS, args.force) as store:
        done = {question_key(url) for url in store.urls}
        todo = [url for key, url in urls.items() if key not in done]
        failed_before = read_failures(failed_path)
        failures = {url: failed_before[url] for url in todo if url in failed_before}
        before = len(store.urls)
        try:
            if todo:
                with Crawler(parse_details, QUESTION_READY, **crawl_options(args)) as crawler:
                    scrape(crawler, store, todo, failures)
            changed = refresh(args, failures) if args.since_last and store.urls else 0
        finally:
            write_failures(failed_path, failures)
        if not store.urls:
            sys.exit(f"none of {len(todo)} questions could be had ({failures[todo[0]]}): see {failed_path}")
        if not todo and not changed:
            print(f"nothing to do: all {len(store.urls)} questions are in {args.output}; give --force to scrape anew")
            return
        site = "{0.scheme}://{0.netloc}".format(urlsplit(store.urls[0]))
        write_source(args.output, site, "question pages")
        failed = f"{len(failures)} failures in {failed_path}" if failures else "0 failures"
        news = f"{len(store.urls) - before} new, {changed} changed"
        print(f"{len(store.urls)} questions ({news}) in {args.output}, {failed}")


if __name__ == "__main__":
    main()
