"""Fetch title, description, tags and date of a site's questions from the Stack Exchange API 2.3, oldest first.

In: a site. Out: data/ques_details.csv as question_details_scraper.py writes it, data/ques_failed.csv, data/SOURCE.json,
and beside them ques_details.progress.json, how far it is. Run again, it goes on where it was cut, with what is new, and
with those of ques_failed.csv that may be had now. With --since-last it takes over what has changed, too.

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
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from tagging.console import run_script
from tagging.options import script_parser

from data.files import DETAILS_COLUMNS, iter_rows, write_json
from data.source import write_source
from scraper.api_answers import LARGEST_ID, AnswerError, api_time, iso_time, parse_question_item, question_id
from scraper.api_client import ADDRESS, KEYLESS_PAGES, PAGE_SIZE, Api
from scraper.crawl import add_polite_options, add_site_option, api_address, orderly_end
from scraper.csv_store import CsvStore
from scraper.failures import Failures
from scraper.pages import question_key
from scraper.politeness import StopRun
from scraper.top_up import OVERLAP_S, fingerprint, fingerprints, merge, updates_path

SORT_DATES = {"creation": "creation_date", "activity": "last_activity_date"}
FILTER = "withbody"  # a filter that the API knows by name: what a list gives, and the bodies


def pages(api: Api, sort: str, start: int, **parameters: Any) -> Iterator[tuple[list[dict], int]]:
    """Yield the questions from the time ``start`` on by the date of ``sort`` (creation or activity), a page at a time.

    Each page comes with the time up to which all has been seen.

    Raises
    ------
    StopRun : as :meth:`Api.get`; or answers that lead nowhere.
    """
    reached, page = start, 1
    seen: set[int | None] = set()  # the questions of the very second that comes again with the next page
    while True:
        answer = api.get("questions", sort=sort, order="asc", min=reached, page=page, filter=FILTER, **parameters)
        items = [item for item in answer["items"] if isinstance(item, dict)]
        dates = [date for item in items if isinstance(date := item.get(SORT_DATES[sort]), int)]
        last = max(dates, default=reached)
        yield [item for item in items if question_id(item) not in seen], last
        if not answer.get("has_more"):
            return
        if not dates or page == KEYLESS_PAGES:
            raise StopRun(f"the API's list of questions from {iso_time(reached)} on leads nowhere: run again later")
        if last > reached:
            reached, page, seen = last, 1, set()
        else:  # more than a page of questions of one second
            page += 1
        seen |= {question_id(item) for item in items if item.get(SORT_DATES[sort]) == last}
        seen.discard(None)


class Taker:
    """Puts what the API gives into the files: new questions, changed ones, and failures.

    Attributes
    ----------
    new : how many questions were new.
    """

    def __init__(self, args: argparse.Namespace, store: CsvStore, updates: CsvStore, failures: Failures) -> None:
        """Prepare to add to ``store``, the ques_details.csv, and to ``updates``, what is to be merged into it."""
        self.new = 0
        self._args = args
        self._store = store
        self._updates = updates
        self._failures = failures
        files = [file.path for file in (store, updates) if file.urls]
        self._known = {key: digest for path in files for key, digest in fingerprints(path).items()}

    def take(self, items: list[dict]) -> int:
        """Take the rows of those items that are questions and news, and return how many."""
        rows = {question_key(row["url"]): row for item in items if self._asked_for(item) and (row := self._row(item))}
        new = {key: row for key, row in rows.items() if key not in self._known}
        changed = {key: row for key, row in rows.items() if key not in new and self._known[key] != fingerprint(row)}
        for file, found in ((self._store, new), (self._updates, changed)):
            if found:
                file.append(found.values())
        self._known |= {key: fingerprint(row) for key, row in (new | changed).items()}
        self.new += len(new)
        return len(new) + len(changed)

    def _asked_for(self, item: dict) -> bool:
        """Whether the question is from the period that was asked for, whose last second the API may count or not."""
        date = item.get("creation_date")
        return not isinstance(date, int) or self._args.since <= date < (self._args.until or date + 1)

    def _row(self, item: dict) -> dict[str, str] | None:
        number = question_id(item)
        url = str(item.get("link")) if number is None else f"{self._args.site}/questions/{number}"
        try:
            row = parse_question_item(item)
        except AnswerError as error:
            self._failures.add(url, str(error), permanent=number is None)
            return None
        self._failures.discard([url, row["url"]])
        return row


def harvest(api: Api, args: argparse.Namespace, taker: Taker, progress: dict, initial: int) -> None:
    """Take the questions behind those of the run before; ``progress`` and its file tell how far it is."""
    limits = {name: value for name, value in (("todate", args.until), ("tagged", args.tagged)) if value}
    with tqdm(desc="questions", unit="question", initial=initial) as bar:
        for items, reached in pages(api, "creation", progress["reached"], **limits):
            bar.update(taker.take(items))
            progress["reached"] = reached
            write_json(args.progress, progress)
            bar.set_postfix(quota=api.quota)


def retry(api: Api, site: str, taker: Taker, failures: Failures) -> None:
    """Ask again for the questions whose failure may have passed; of those that are gone it is permanent."""
    of_site = question_key(f"{site}/questions/0").removesuffix("0")
    ids = {question_key(url).removeprefix(of_site): url for url in failures.passing()}
    asked = {int(key): url for key, url in ids.items() if key.isdecimal() and int(key) <= LARGEST_ID}
    for start in range(0, len(asked), PAGE_SIZE):
        batch = list(asked)[start : start + PAGE_SIZE]
        answer = api.get("questions", ids=batch, filter=FILTER)
        items = [item for item in answer["items"] if isinstance(item, dict)]
        taker.take(items)
        for number in set(batch) - {question_id(item) for item in items}:
            failures.add(asked[number], "deleted: the API has it no more", permanent=True)


def top_up(api: Api, args: argparse.Namespace, taker: Taker, progress: dict) -> None:
    """Take what something has happened to since the run before; ``progress`` and its file tell how far it is."""
    asked = {"fromdate": args.since, "todate": args.until, "tagged": args.tagged}
    limits = {name: value for name, value in asked.items() if value}
    start = progress["changes_reached"] or progress["complete_at"] - OVERLAP_S
    with tqdm(desc="questions with news", unit="question") as bar:
        for items, reached in pages(api, "activity", start, **limits):
            bar.update(taker.take(items))
            progress["changes_reached"] = reached
            write_json(args.progress, progress)
            bar.set_postfix(quota=api.quota)


def open_progress(args: argparse.Namespace) -> dict:
    """Return how far the run before came; it counts only if it asked for the same.

    ``reached`` and ``changes_reached`` are times of creation and of activity, up to which all has been seen, the latter
    None unless a run with --since-last was cut. ``begun_at`` is the start of the first run, ``complete_at`` the time
    up to which all changes have been taken over, None until a run has come to its end.

    Raises
    ------
    SystemExit : the file is damaged, or of another site.
    """
    asked = {"site": args.site, "from": args.since, "to": args.until, "tagged": args.tagged}
    fresh = {"asked": asked, "reached": args.since, "changes_reached": None, "begun_at": None, "complete_at": None}
    if args.force or not args.progress.exists():
        return fresh
    try:
        progress = json.loads(args.progress.read_text(encoding="utf-8"))
        site = progress["asked"]["site"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{args.progress} is damaged: remove it, and the questions are asked for again")
    if site != args.site:
        sys.exit(f"{args.progress} is of {site}: name another --output for {args.site}, or give --force")
    return fresh | progress if progress["asked"] == asked else fresh


def api_date(text: str) -> int:
    """Return the time that an option gives, for argparse."""
    try:
        return api_time(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2024-05-31") from None


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = script_parser(__doc__)
    add_site_option(parser)
    parser.add_argument("--from", dest="since", type=api_date, default="2008-01-01", help="first day, UTC")
    parser.add_argument("--to", dest="until", type=api_date, help="day before which questions were asked, UTC")
    parser.add_argument("--tagged", help="only questions with this tag; with all of them, if joined by ;")
    parser.add_argument(
        "--since-last",
        action="store_true",
        help="also fetch anew the questions that have changed since the last complete run",
    )
    parser.add_argument("--output", type=Path, default=Path("data/ques_details.csv"), help="CSV file to write")
    parser.add_argument("--api", type=api_address, default=ADDRESS, help="address of the API")
    add_polite_options(parser)
    args = parser.parse_args(argv)
    if args.until and args.until <= args.since:
        parser.error("--to must be later than --from")
    args.progress = args.output.with_suffix(".progress.json")
    return args


def run(args: argparse.Namespace, store: CsvStore, updates: CsvStore, failures: Failures) -> str:
    """Take what is new, what failed and may be had now, and what has changed; return the line that tells of it.

    Raises
    ------
    SystemExit : nothing that was asked for.
    StopRun : as :meth:`Api.get`; what was taken is in the files.
    """
    progress = open_progress(args)
    if args.since_last and progress["complete_at"] is None:
        sys.exit(f"--since-last: {args.progress} tells of no complete run; run without it first")
    begun = int(time.time())
    progress["begun_at"] = progress["begun_at"] or begun
    api = Api(args.api, args.site, args.delay, args.contact)
    taker = Taker(args, store, updates, failures)
    harvest(api, args, taker, progress, len(store.urls))
    retry(api, args.site, taker, failures)
    if args.since_last:
        top_up(api, args, taker, progress)
    if not store.urls:
        sys.exit(f"{args.site}: the API has no question that was asked for; see --site, --from, --tagged")
    changed = 0
    if updates.urls:
        changed, _ = merge(args.output, iter_rows(updates.path))
        updates.path.unlink()
    # Edits between two runs are only seen by one with --since-last.
    complete_at = begun if args.since_last else progress["complete_at"] or progress["begun_at"]
    write_json(args.progress, progress | {"complete_at": complete_at, "changes_reached": None})
    news = f"{taker.new} new" + (f", {changed} changed" if changed or args.since_last else "")
    left = f"{len(failures)} failures" + (f" in {failures.path}" if failures else "")
    return f"{len(store.urls)} questions ({news}) in {args.output}, {left}, quota {api.quota}"


def main(argv: list[str] | None = None) -> None:
    """Harvest the API."""
    args = parse_args(argv)
    with (
        orderly_end(),
        CsvStore(args.output, DETAILS_COLUMNS, args.force) as store,
        CsvStore(updates_path(args.output), DETAILS_COLUMNS, args.force) as updates,
    ):
        failures = Failures(args.output, args.force)
        try:
            said = run(args, store, updates, failures)
        finally:
            failures.save()
        write_source(args.output, args.site, f"Stack Exchange API 2.3 ({args.api})")
        print(said)


if __name__ == "__main__":
    run_script(main)
