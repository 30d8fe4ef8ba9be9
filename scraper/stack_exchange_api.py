"""Fetch title, description, tags and date of a site's questions from the Stack Exchange API 2.3, oldest first.

Output: data/ques_details.csv in the format of question_details_scraper.py and data/ques_failed.csv, both written at the
end from data/ques_details.sqlite, and data/SOURCE.json. The same command resumes after an interruption, adds new
questions, and retries temporary failures. --since-last also fetches the questions again that have changed.

    python scraper/stack_exchange_api.py --site https://datascience.stackexchange.com

Each call requests the first page of the questions that are not older than the last one seen. So no question is lost or
repeated when others are added or deleted meanwhile, and no list is read beyond the 25 pages that the API allows without
a key. A key in STACK_EXCHANGE_KEY raises the quota from 300 to 10,000 calls a day, of 100 questions each.

--ids fetches the questions of a list, such as that of a model, and no others:

    python scraper/stack_exchange_api.py --ids deployment/model/questions.csv.gz
"""

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.question_list import read_question_list
from data.source import write_source
from scraper.addresses import host_of
from scraper.api_answers import AnswerError, api_time, iso_time, parse_question_item, question_id
from scraper.api_client import KEYLESS_PAGES, Api
from scraper.crawl import add_polite_options, add_site_option, api_address, orderly_end
from scraper.politeness import StopRun
from scraper.store import PERMANENT, TEMPORARY, Progress, Store, open_details
from tagging.console import run_script
from tagging.options import script_parser
from tagging.stack_exchange import API, API_PAGE_SIZE, MAX_ID, STACK_EXCHANGE, question_key

SORT_DATES = {"creation": "creation_date", "activity": "last_activity_date"}
EARLIEST = "2008-01-01"  # no site is older
FILTER = "withbody"  # a built-in filter of the API: the default fields and the body


@dataclass(frozen=True, kw_only=True)
class ApiProgress(Progress):
    """The progress of one request, such as all questions of a site with a tag.

    Attributes
    ----------
    asked
        The options that define the request.
    reached
        Unix time of creation up to which all questions have been fetched.
    changes_reached
        Unix time of activity up to which an interrupted run with --since-last has fetched all questions, else None.
    """

    asked: dict[str, Any]
    reached: int
    changes_reached: int | None = None


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


def take(items: list[dict], args: argparse.Namespace, store: Store) -> tuple[int, int]:
    """Put the questions among the items into ``store``; return the numbers of new and of changed ones."""
    rows, failed = [], []
    for item in items:
        date, number = item.get("creation_date"), question_id(item)
        # The API may include the end of the period.
        if isinstance(date, int) and not args.since <= date < (args.until or date + 1):
            continue
        url = str(item.get("link")) if number is None else STACK_EXCHANGE.question_url(args.site, number)
        try:
            rows.append(parse_question_item(item))
            store.discard(url)
        except AnswerError as error:
            failed.append((url, str(error), number is None))
    counts = store.put(rows)
    for url, reason, permanent in failed:
        store.fail(url, reason, permanent)
    return counts


def fetch(
    api: Api, args: argparse.Namespace, store: Store, progress: ApiProgress, sort: str, start: int
) -> tuple[ApiProgress, int]:
    """Fetch the questions since the Unix time ``start``, by the date of ``sort`` (creation or activity).

    Returns
    -------
    progress
        The progress, with the date that has been reached.
    changed
        Number of changed questions.
    """
    asked = {"fromdate": args.since if sort == "activity" else None, "todate": args.until, "tagged": args.tagged}
    limits = {name: value for name, value in asked.items() if value}
    total = 0
    with tqdm(desc=f"questions by {sort}", unit="question", initial=len(store)) as bar:
        for items, reached in pages(api, sort, start, **limits):
            if sort == "creation":
                progress = replace(progress, reached=reached)
            else:
                progress = replace(progress, changes_reached=reached)
            with store.transaction():
                new, changed = take(items, args, store)
                store.save(progress)
            total += changed
            bar.update(new + changed)
            bar.set_postfix(quota=api.quota)
    return progress, total


def fetch_ids(
    api: Api, args: argparse.Namespace, store: Store, urls: Mapping[int, str], bar: tqdm | None = None
) -> int:
    """Fetch the questions of ``urls``, {id: url}, and return the number of changed ones.

    Questions that the API no longer has become permanent failures.
    """
    changed = 0
    for start in range(0, len(urls), API_PAGE_SIZE):
        batch = list(urls)[start : start + API_PAGE_SIZE]
        answer = api.get("questions", ids=batch, filter=FILTER)
        items = [item for item in answer["items"] if isinstance(item, dict) and question_id(item) in urls]
        with store.transaction():
            changed += take(items, args, store)[1]
            for number in set(batch) - {question_id(item) for item in items}:
                store.fail(urls[number], "deleted: the API no longer has it", permanent=True)
        if bar is not None:
            bar.update(len(batch))
            bar.set_postfix(quota=api.quota)
    return changed


def fetch_listed(api: Api, args: argparse.Namespace, store: Store) -> int:
    """Fetch the questions of the list that are neither in ``store`` nor permanent failures.

    Returns
    -------
    int
        Number of listed questions that are gone: the permanent failures.

    Raises
    ------
    SystemExit
        ``store`` has questions that are not in the list.
    """
    urls = {number: STACK_EXCHANGE.question_url(args.site, number) for number in args.ids}
    keys = {question_key(url): number for number, url in urls.items()}
    here = store.keys()
    if foreign := here - set(keys):
        sys.exit(f"{args.output} has {len(foreign)} questions that --ids does not list: choose another --output")

    def gone() -> set[str]:
        return {key for key, failure in store.failures().items() if failure.kind == PERMANENT and key in keys}

    known = here | gone()
    missing = {number: urls[number] for key, number in keys.items() if key not in known}
    calls = math.ceil(len(missing) / API_PAGE_SIZE)
    print(f"{len(urls)} questions listed, {len(here)} of them here, {len(missing)} to fetch; calls: {calls}")
    with tqdm(desc="questions by id", unit="question", total=len(urls), initial=len(urls) - len(missing)) as bar:
        fetch_ids(api, args, store, missing, bar)
    return len(gone())


def retry(api: Api, args: argparse.Namespace, store: Store) -> int:
    """Retry the temporary failures, and return the number of changed questions."""
    of_site = question_key(STACK_EXCHANGE.question_url(args.site, 0)).removesuffix("0")
    failures = {
        key.removeprefix(of_site): failure.url for key, failure in store.failures().items() if failure.kind == TEMPORARY
    }
    asked = {int(key): url for key, url in failures.items() if key.isdecimal() and int(key) <= MAX_ID}
    return fetch_ids(api, args, store, asked)


def open_progress(args: argparse.Namespace, store: Store) -> ApiProgress:
    """Return the progress of previous runs if their options were the same and no row has been removed since.

    Raises
    ------
    SystemExit
        The output belongs to another site, or the file of progress of an earlier version is damaged.
    """
    asked = {"site": args.site, "from": args.since, "to": args.until, "tagged": args.tagged}
    if args.ids:
        asked["ids"] = hashlib.sha256(str(args.ids).encode()).hexdigest()
    fresh = ApiProgress(asked=asked, reached=args.since, begun_at=iso_time(time.time()))
    progress = store.progress(ApiProgress) or store.take_over(of_earlier_version)
    if progress and progress.asked["site"] != args.site:
        site = progress.asked["site"]
        sys.exit(f"{store.path} belongs to {site}: choose another --output for {args.site}, or give --force")
    return progress if progress and progress.asked == asked and not store.removed else fresh


def of_earlier_version(content: dict) -> ApiProgress:
    """Convert a ques_details.progress.json; changed questions that it had fetched are fetched again."""
    begun_at, complete_at = (content[name] and iso_time(content[name]) for name in ("begun_at", "complete_at"))
    return ApiProgress(asked=content["asked"], reached=content["reached"], begun_at=begun_at, complete_at=complete_at)


def api_date(text: str) -> int:
    """Convert the text of an option to a Unix time, for argparse."""
    try:
        return api_time(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2024-05-31") from None


def listed_ids(path: Path, site: str) -> list[int]:
    """Return the ids of the questions of a site in a question list.

    Raises
    ------
    ValueError
        The file is not a question list, or lists no question of the site.
    """
    listed = read_question_list(path)
    ids = [question.id for question in listed if host_of(question.site) == host_of(site)]
    if not ids:
        sites = ", ".join(sorted({question.site for question in listed})[:3])
        raise ValueError(f"{path} lists no question of {site}: give --site {sites}")
    return ids


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = script_parser(__doc__)
    add_site_option(parser)
    parser.add_argument(
        "--from",
        dest="since",
        type=api_date,
        default=EARLIEST,
        help="only questions asked on this day (UTC) or later",
    )
    parser.add_argument("--to", dest="until", type=api_date, help="only questions asked before this day (UTC)")
    parser.add_argument("--tagged", help="only questions with this tag, or with all tags of a list separated by ;")
    parser.add_argument(
        "--since-last",
        action="store_true",
        help="also fetch the questions again that have changed since the last complete run",
    )
    parser.add_argument(
        "--ids",
        type=Path,
        help="only the questions of this list, such as the questions.csv.gz of a model",
    )
    parser.add_argument("--output", type=Path, default=Path("data/ques_details.csv"), help="CSV file to write")
    parser.add_argument("--api", type=api_address, default=API, help="base URL of the API")
    add_polite_options(parser)
    args = parser.parse_args(argv)
    if args.until and args.until <= args.since:
        parser.error("--to must be later than --from")
    if args.ids and (args.since != api_date(EARLIEST) or args.until or args.tagged or args.since_last):
        parser.error("--ids cannot be combined with --from, --to, --tagged and --since-last")
    return args


def main(argv: list[str] | None = None) -> None:
    """Fetch new questions, retry failures, and fetch changed questions."""
    args = parse_args(argv)
    try:
        args.ids = listed_ids(args.ids, args.site) if args.ids else None
    except ValueError as error:
        sys.exit(str(error))
    with orderly_end(), open_details(args.output, STACK_EXCHANGE, args.force) as store:
        progress = open_progress(args, store)
        begun, before = time.time(), len(store)
        since = int(progress.changes_since(args.output).timestamp()) if args.since_last else None
        api = Api(args.api, args.site, args.delay, args.contact)
        changed = gone = 0
        if args.ids:
            gone = fetch_listed(api, args, store)
        else:
            progress, changed = fetch(api, args, store, progress, "creation", progress.reached)
            changed += retry(api, args, store)
        if since is not None:
            start = progress.changes_reached or since
            progress, again = fetch(api, args, store, progress, "activity", start)
            changed += again
        # Only a run with --since-last sees edits since the previous run.
        complete_at = iso_time(begun) if args.since_last else progress.complete_at or progress.begun_at
        with store.transaction():
            store.save(replace(progress, complete_at=complete_at, changes_reached=None))
        if not len(store):
            options = "--ids" if args.ids else "--from, --to and --tagged"
            sys.exit(f"{args.site}: the API has no matching questions; check --site, {options}")
        store.write_files()
        write_source(args.output, args.site, f"Stack Exchange API 2.3 ({args.api})", STACK_EXCHANGE)
        news = f"{len(store) - before} new" + (f", {changed} changed" if changed or args.since_last else "")
        if args.ids:
            news += f", {gone} of the {len(args.ids)} listed are gone"
        print(f"{len(store)} questions ({news}) in {args.output}, {store.failure_summary()}, quota {api.quota}")


if __name__ == "__main__":
    run_script(main)
