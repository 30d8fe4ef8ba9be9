"""Fetch title, description, tags and date of a site's questions from the Stack Exchange API 2.3, oldest first.

In: a site. Out: data/ques_details.csv as question_details_scraper.py writes it, data/ques_failed.csv, data/SOURCE.json,
and beside them ques_details.progress.json, how far it is. Run again, it goes on where it was cut, and with what is new.

    python scraper/stack_exchange_api.py --site https://datascience.stackexchange.com

Each call asks for the first page of what is no older than the last question seen. So nothing is lost or repeated when
questions come or go meanwhile, and no list is read beyond the 25 pages that the API gives without a key. A key in
STACK_EXCHANGE_KEY raises the quota from 300 to 10,000 calls a day, of 100 questions each.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import DETAILS_COLUMNS, iter_rows, write_json
from data.source import write_source
from scraper.api_answers import AnswerError, api_time, iso_time, parse_question_item
from scraper.api_client import ADDRESS, KEYLESS_PAGES, Api
from scraper.crawl import add_polite_options, orderly_end, site_address
from scraper.csv_store import CsvStore, write_failures
from scraper.pages import question_key
from scraper.politeness import StopRun
from scraper.top_up import fingerprint, fingerprints, merge

SORT_DATES = {"creation": "creation_date", "activity": "last_activity_date"}
FILTER = "withbody"  # a filter that the API knows by name: what a list gives, and the bodies
OVERLAP_S = 3600  # of a top-up with the run before: clocks differ, and the API's answers are some minutes old


def pages(api: Api, sort: str, start: int, **parameters: object) -> Iterator[tuple[list[dict], int]]:
    """Yield the questions from the time ``start`` on by the date of ``sort`` (creation or activity), a page at a time.

    Each page comes with the time up to which all has been seen.

    Raises
    ------
    StopRun : as :meth:`Api.get`; or answers that lead nowhere.
    """
    reached, page = start, 1
    seen: set = set()  # the questions of the very second that comes again with the next page
    while True:
        answer = api.get("questions", sort=sort, order="asc", min=reached, page=page, filter=FILTER, **parameters)
        items = [item for item in answer["items"] if isinstance(item, dict)]
        dates = [date for item in items if isinstance(date := item.get(SORT_DATES[sort]), int)]
        last = max(dates, default=reached)
        yield [item for item in items if item.get("question_id") not in seen], last
        if not answer.get("has_more"):
            return
        if not dates or page == KEYLESS_PAGES:
            raise StopRun(f"the API's list of questions from {iso_time(reached)} on leads nowhere: run again later")
        if last > reached:
            reached, page, seen = last, 1, set()
        else:  # more than a page of questions of one second
            page += 1
        seen |= {item.get("question_id") for item in items if item.get(SORT_DATES[sort]) == last}


def parse_items(items: list[dict], failures: dict[str, str]) -> list[dict[str, str]]:
    """Return the rows of those items that are questions; ``failures`` gets the reasons of the others."""
    rows = []
    for item in items:
        url = str(item.get("link") or f"question {item.get('question_id')}")
        try:
            rows.append(parse_question_item(item))
            failures.pop(rows[-1]["url"], None)
        except AnswerError as error:
            failures[url] = str(error)
    return rows


def harvest(api: Api, args: argparse.Namespace, store: CsvStore, progress: dict, failures: dict[str, str]) -> None:
    """Append the questions that ``store`` lacks; ``progress`` and its file tell how far it is."""
    known = {question_key(url) for url in store.urls}
    limits = {name: value for name, value in (("todate", args.until), ("tagged", args.tagged)) if value}
    with tqdm(desc="questions", unit="question", initial=len(store.urls)) as bar:
        for items, reached in pages(api, "creation", progress["reached"], **limits):
            rows = [row for row in parse_items(items, failures) if question_key(row["url"]) not in known]
            if rows:
                store.append(rows)
            known.update(question_key(row["url"]) for row in rows)
            progress["reached"] = reached
            write_json(args.progress, progress)
            bar.update(len(rows))
            bar.set_postfix(quota=api.quota)


def top_up(api: Api, args: argparse.Namespace, since: int, failures: dict[str, str]) -> tuple[int, int]:
    """Merge what has come or changed since the time ``since`` into the output; return how many changed and are new."""
    before = fingerprints(args.output)
    columns = [*DETAILS_COLUMNS, "reached"]
    path = args.output.with_name(f".{args.output.name}.updates")
    with CsvStore(path, columns, force=False) as updates:
        taken = list(iter_rows(path)) if updates.urls else []
        start = int(taken[-1]["reached"]) if taken else since
        limits = {"tagged": args.tagged} if args.tagged else {}
        with tqdm(desc="questions with news", unit="question", initial=len(taken)) as bar:
            for items, reached in pages(api, "activity", start, **limits):
                rows = parse_items(items, failures)
                updates.append(row | {"reached": str(reached)} for row in rows)
                bar.update(len(rows))
                bar.set_postfix(quota=api.quota)
        news = [row for row in iter_rows(path) if before.get(question_key(row["url"])) != fingerprint(row)]
        counts = merge(args.output, news)
        path.unlink()
    return counts


def open_progress(args: argparse.Namespace) -> dict:
    """Return how far the run before came; it counts only if it asked for the same.

    Raises
    ------
    SystemExit : the file is damaged, or of another site.
    """
    asked = {"site": args.site, "from": args.since, "to": args.until, "tagged": args.tagged}
    fresh = {"asked": asked, "reached": args.since, "complete_at": None}
    if args.force or not args.progress.exists():
        return fresh
    try:
        progress = json.loads(args.progress.read_text(encoding="utf-8"))
        site = progress["asked"]["site"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{args.progress} is damaged: remove it, and the questions are asked for again")
    if site != args.site:
        sys.exit(f"{args.progress} is of {site}: name another --output for {args.site}, or give --force")
    return progress if progress["asked"] == asked else fresh


def api_date(text: str) -> int:
    """Return the time that an option gives, for argparse."""
    try:
        return api_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2024-05-31") from None


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description="Fetch a Stack Exchange site's questions from the API, oldest first.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--site", type=site_address, default="https://datascience.stackexchange.com", help="address of the site"
    )
    parser.add_argument("--from", dest="since", type=api_date, default="2008-01-01", help="first day, UTC")
    parser.add_argument("--to", dest="until", type=api_date, help="day before which questions were asked, UTC")
    parser.add_argument("--tagged", help="only questions with this tag; with all of them, if joined by ;")
    parser.add_argument(
        "--since-last",
        action="store_true",
        help="also fetch anew the questions that have changed since the last complete run",
    )
    parser.add_argument("--output", type=Path, default=Path("data/ques_details.csv"), help="CSV file to write")
    parser.add_argument("--api", default=ADDRESS, help="address of the API")
    add_polite_options(parser)
    args = parser.parse_args(argv)
    if args.until and args.until <= args.since:
        parser.error("--to must be later than --from")
    args.progress = args.output.with_suffix(".progress.json")
    return args


def main(argv: list[str] | None = None) -> None:
    """Harvest the API."""
    args = parse_args(argv)
    with orderly_end(), CsvStore(args.output, DETAILS_COLUMNS, args.force) as store:
        progress = open_progress(args)
        before, since = len(store.urls), progress["complete_at"]
        if args.since_last and since is None:
            sys.exit(f"--since-last: {args.progress} tells of no complete run; run without it first")
        api = Api(args.api, args.site, args.delay, args.contact)
        begun, failures = int(time.time()), {}
        try:
            harvest(api, args, store, progress, failures)
            if not store.urls:
                sys.exit(f"{args.site}: the API has no question that was asked for; see --site, --from, --tagged")
            changed, _ = top_up(api, args, since - OVERLAP_S, failures) if args.since_last else (0, 0)
            write_json(args.progress, progress | {"complete_at": begun})
        finally:
            write_failures(args.output.with_name("ques_failed.csv"), failures)
        write_source(args.output, args.site, f"Stack Exchange API 2.3 ({args.api})")
        news = f"{len(store.urls) - before} new" + (f", {changed} changed" if args.since_last else "")
        print(f"{len(store.urls)} questions ({news}) in {args.output}, {len(failures)} failures, quota {api.quota}")


if __name__ == "__main__":
    main()
