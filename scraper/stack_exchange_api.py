"""Fetch title, description, tags and date of a site's questions from the Stack Exchange API 2.3, oldest first.

Output: data/ques_details.csv in the format of question_details_scraper.py, data/ques_failed.csv, data/SOURCE.json, and
ques_details.progress.json. The same command resumes after an interruption, adds new questions, and retries temporary
failures. --since-last also fetches the questions again that have changed.

    python scraper/stack_exchange_api.py --site https://datascience.stackexchange.com

Each call requests the first page of the questions that are not older than the last one seen. So no question is lost or
repeated when others are added or deleted meanwhile, and no list is read beyond the 25 pages that the API allows without
a key. A key in STACK_EXCHANGE_KEY raises the quota from 300 to 10,000 calls a day, of 100 questions each.
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
from data.files import DETAILS_COLUMNS, iter_rows, write_json
from data.source import write_source
from scraper.api_answers import MAX_ID, AnswerError, api_time, iso_time, parse_question_item, question_id
from scraper.api_client import KEYLESS_PAGES, PAGE_SIZE, Api
from scraper.crawl import add_polite_options, add_site_option, api_address, orderly_end
from scraper.csv_store import CsvStore
from scraper.failures import Failures
from scraper.politeness import StopRun
from scraper.top_up import OVERLAP_S, fingerprint, fingerprints, merge, updates_path
from tagging.console import run_script
from tagging.options import script_parser
from tagging.stack_exchange import API, STACK_EXCHANGE, question_key

SORT_DATES = {"creation": "creation_date", "activity": "last_activity_date"}
FILTER = "withbody"  # a built-in filter of the API: the default fields and the body


def pages(api: Api, sort: str, start: int, **parameters: Any) -> Iterator[tuple[list[dict], int]]:
    """Yield the questions since the Unix time ``start``, page by page, by the date of ``sort`` (creation or activity).

    Yields
    ------
    items
        Questions of a page.
    reached
        Unix time up to which all questions have been seen.

    Raises
    ------
    StopRun
        As :meth:`Api.get`; or the responses make no progress.
    """
    reached, page = start, 1
    seen: set[int | None] = set()  # the questions of the last second, which the next page repeats
    while True:
        answer = api.get("questions", sort=sort, order="asc", min=reached, page=page, filter=FILTER, **parameters)
        items = [item for item in answer["items"] if isinstance(item, dict)]
        dates = [date for item in items if isinstance(date := item.get(SORT_DATES[sort]), int)]
        last = max(dates, default=reached)
        yield [item for item in items if question_id(item) not in seen], last
        if not answer.get("has_more"):
            return
        if not dates or page == KEYLESS_PAGES:
            raise StopRun(f"the API's list of questions since {iso_time(reached)} does not advance: run again later")
        if last > reached:
            reached, page, seen = last, 1, set()
        else:  # one second has more than a page of questions
            page += 1
        seen |= {question_id(item) for item in items if item.get(SORT_DATES[sort]) == last}
        seen.discard(None)


class Taker:
    """Writes the API's questions to the files: new ones, changed ones, and failures.

    Attributes
    ----------
    new
        Number of new questions.
    """

    def __init__(self, args: argparse.Namespace, store: CsvStore, updates: CsvStore, failures: Failures) -> None:
        """Add new questions to ``store``, the ques_details.csv, and changed ones to ``updates``, to be merged later."""
        self.new = 0
        self._args = args
        self._store = store
        self._updates = updates
        self._failures = failures
        files = [file.path for file in (store, updates) if file.urls]
        self._known = {key: digest for path in files for key, digest in fingerprints(path).items()}

    def take(self, items: list[dict]) -> int:
        """Write the new and changed questions among the items, and return their number."""
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
        """Return whether the question is from the requested period; the API may include the end of the period."""
        date = item.get("creation_date")
        return not isinstance(date, int) or self._args.since <= date < (self._args.until or date + 1)

    def _row(self, item: dict) -> dict[str, str] | None:
        number = question_id(item)
        url = str(item.get("link")) if number is None else STACK_EXCHANGE.question_url(self._args.site, number)
        try:
            row = parse_question_item(item)
        except AnswerError as error:
            self._failures.add(url, str(error), permanent=number is None)
            return None
        self._failures.discard([url, row["url"]])
        return row


def harvest(api: Api, args: argparse.Namespace, taker: Taker, progress: dict, initial: int) -> None:
    """Fetch the questions after those of previous runs, updating ``progress`` and its file."""
    limits = {name: value for name, value in (("todate", args.until), ("tagged", args.tagged)) if value}
    with tqdm(desc="questions", unit="question", initial=initial) as bar:
        for items, reached in pages(api, "creation", progress["reached"], **limits):
            bar.update(taker.take(items))
            progress["reached"] = reached
            write_json(args.progress, progress)
            bar.set_postfix(quota=api.quota)


def retry(api: Api, site: str, taker: Taker, failures: Failures) -> None:
    """Retry the temporary failures; questions that the API no longer has become permanent failures."""
    of_site = question_key(STACK_EXCHANGE.question_url(site, 0)).removesuffix("0")
    ids = {question_key(url).removeprefix(of_site): url for url in failures.passing()}
    asked = {int(key): url for key, url in ids.items() if key.isdecimal() and int(key) <= MAX_ID}
    for start in range(0, len(asked), PAGE_SIZE):
        batch = list(asked)[start : start + PAGE_SIZE]
        answer = api.get("questions", ids=batch, filter=FILTER)
        items = [item for item in answer["items"] if isinstance(item, dict)]
        taker.take(items)
        for number in set(batch) - {question_id(item) for item in items}:
            failures.add(asked[number], "deleted: the API no longer has it", permanent=True)


def top_up(api: Api, args: argparse.Namespace, taker: Taker, progress: dict) -> None:
    """Fetch the questions with activity since the previous run, updating ``progress`` and its file."""
    asked = {"fromdate": args.since, "todate": args.until, "tagged": args.tagged}
    limits = {name: value for name, value in asked.items() if value}
    start = progress["changes_reached"] or progress["complete_at"] - OVERLAP_S
    with tqdm(desc="active questions", unit="question") as bar:
        for items, reached in pages(api, "activity", start, **limits):
            bar.update(taker.take(items))
            progress["changes_reached"] = reached
            write_json(args.progress, progress)
            bar.set_postfix(quota=api.quota)


def open_progress(args: argparse.Namespace) -> dict:
    """Return the progress of the previous run, if its options were the same, else the initial progress.

    ``reached`` and ``changes_reached`` are times of creation and of activity up to which all questions have been seen,
    the latter None unless a run with --since-last was interrupted. ``begun_at`` is the start of the first run,
    ``complete_at`` the time up to which all changes have been fetched, None until a run has finished.

    Raises
    ------
    SystemExit
        The file is damaged, or belongs to another site.
    """
    asked = {"site": args.site, "from": args.since, "to": args.until, "tagged": args.tagged}
    fresh = {"asked": asked, "reached": args.since, "changes_reached": None, "begun_at": None, "complete_at": None}
    if args.force or not args.progress.exists():
        return fresh
    try:
        progress = json.loads(args.progress.read_text(encoding="utf-8"))
        site = progress["asked"]["site"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{args.progress} is damaged: remove it, and all questions are requested again")
    if site != args.site:
        sys.exit(f"{args.progress} belongs to {site}: choose another --output for {args.site}, or give --force")
    return fresh | progress if progress["asked"] == asked else fresh


def api_date(text: str) -> int:
    """Convert the text of an option to a Unix time, for argparse."""
    try:
        return api_time(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2024-05-31") from None


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = script_parser(__doc__)
    add_site_option(parser)
    parser.add_argument(
        "--from",
        dest="since",
        type=api_date,
        default="2008-01-01",
        help="only questions asked on this day (UTC) or later",
    )
    parser.add_argument("--to", dest="until", type=api_date, help="only questions asked before this day (UTC)")
    parser.add_argument("--tagged", help="only questions with this tag, or with all tags of a list separated by ;")
    parser.add_argument(
        "--since-last",
        action="store_true",
        help="also fetch the questions again that have changed since the last complete run",
    )
    parser.add_argument("--output", type=Path, default=Path("data/ques_details.csv"), help="CSV file to write")
    parser.add_argument("--api", type=api_address, default=API, help="base URL of the API")
    add_polite_options(parser)
    args = parser.parse_args(argv)
    if args.until and args.until <= args.since:
        parser.error("--to must be later than --from")
    args.progress = args.output.with_suffix(".progress.json")
    return args


def run(args: argparse.Namespace, store: CsvStore, updates: CsvStore, failures: Failures) -> str:
    """Fetch new questions, retry failures, fetch changed questions, and return a summary.

    Raises
    ------
    SystemExit
        The API has no matching questions.
    StopRun
        As :meth:`Api.get`; everything fetched so far is in the files.
    """
    progress = open_progress(args)
    if args.since_last and progress["complete_at"] is None:
        sys.exit(f"--since-last: {args.progress} records no complete run; run without this option first")
    begun = int(time.time())
    progress["begun_at"] = progress["begun_at"] or begun
    api = Api(args.api, args.site, args.delay, args.contact)
    taker = Taker(args, store, updates, failures)
    harvest(api, args, taker, progress, len(store.urls))
    retry(api, args.site, taker, failures)
    if args.since_last:
        top_up(api, args, taker, progress)
    if not store.urls:
        sys.exit(f"{args.site}: the API has no matching questions; check --site, --from, --to and --tagged")
    changed = 0
    if updates.urls:
        changed, _ = merge(args.output, iter_rows(updates.path))
        updates.path.unlink()
    # Only a run with --since-last sees edits since the previous run.
    complete_at = begun if args.since_last else progress["complete_at"] or progress["begun_at"]
    write_json(args.progress, progress | {"complete_at": complete_at, "changes_reached": None})
    news = f"{taker.new} new" + (f", {changed} changed" if changed or args.since_last else "")
    left = f"{len(failures)} failures" + (f" in {failures.path}" if failures else "")
    return f"{len(store.urls)} questions ({news}) in {args.output}, {left}, quota {api.quota}"


def main(argv: list[str] | None = None) -> None:
    """Fetch the questions."""
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
        write_source(args.output, args.site, f"Stack Exchange API 2.3 ({args.api})", STACK_EXCHANGE)
        print(said)


if __name__ == "__main__":
    run_script(main)
