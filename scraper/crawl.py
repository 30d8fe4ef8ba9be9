"""What the two scrapers share: their options, workers with a browser each, and an orderly end whatever happens."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from tagging.options import DEFAULT_SITE, add_force_option, at_least_one, number_from

from scraper.addresses import host_of, web_address
from scraper.pages import ElsewhereError, Page, PageError, is_challenge
from scraper.politeness import (
    ATTEMPTS,
    MOST_REDIRECTS,
    FetchError,
    HostGate,
    RetryLater,
    Robots,
    Stopped,
    StopRun,
    check_status,
    user_agent,
)
from scraper.proxies import exempt_this_machine

if TYPE_CHECKING:
    from scraper.browser import Browser
    from scraper.plain import PlainClient

LONGEST_DELAY_S = 86_400  # a day; Python refuses to sleep for a number with many digits
CTRL_C_WITHIN_S = 1  # Windows notices it between two waits only
FAILURES_IN_A_ROW = 10  # after so many the site is taken to be down, or to have had enough
START_OVER = "discard the existing output and start over"  # what --force does


@dataclass(frozen=True)
class Outcome:
    """What became of an address: ``content`` as parsed, or the ``reason`` why there is none."""

    url: str
    content: Any = None
    reason: str | None = None
    permanent: bool = False  # asked for again, it would fail again
    site_failed: bool = False  # the site or the way to it failed, rather than this one page


class Crawler:
    """Fetches pages with ``workers`` side by side, politely, within a ``with`` block."""

    def __init__(
        self,
        parse: Callable[[Page, str], Any],
        ready: str,
        engine: str,
        workers: int,
        delay_s: float,
        contact: str | None,
    ) -> None:
        """Prepare the workers.

        Parameters
        ----------
        parse : turns a page and the address asked for into content, or raises PageError; runs in the workers.
        ready : CSS selector of what a page shows once it is there.
        engine : "selenium", a browser for each worker, or "requests", plain HTTP.
        workers : number of pages under way at a time.
        delay_s : least seconds between two requests to a host.
        contact : address or mail that the User-Agent carries.
        """
        exempt_this_machine()
        self._parse = parse
        self._ready = ready
        self._engine = engine
        self._workers = workers
        self._agent = user_agent(contact)
        self._gate = HostGate(delay_s)
        self._robots = Robots(self._agent, self._gate)
        self._executor = ThreadPoolExecutor(workers)
        self._local = threading.local()
        self._clients: list[Browser | PlainClient] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        self._gate.stop.set()
        for client in self._clients:
            client.kill() if error_type else client.close()
        self._executor.shutdown(cancel_futures=True)

    def crawl(self, urls: Iterable[str]) -> Iterator[Outcome]:
        """Yield the outcome of each address as it comes.

        Raises
        ------
        StopRun : a challenge page, no browser, an unreadable robots.txt, or a site that fails again and again;
            raised when the pages that were under way have been yielded.
        """
        waiting = iter(urls)
        running: set[Future[Outcome]] = set()
        stop: StopRun | None = None
        failures = 0
        while True:
            # Two a worker keep it busy, and leave little to throw away at a stop.
            room = 0 if stop else 2 * self._workers - len(running)
            running |= {self._executor.submit(self._take, url) for url in islice(waiting, room)}
            if not running:
                break
            done, running = wait(running, CTRL_C_WITHIN_S, FIRST_COMPLETED)
            for future in done:
                try:
                    outcome = future.result()
                except Stopped:
                    continue
                except StopRun as error:
                    stop = error
                    continue
                yield outcome
                failures = failures + 1 if outcome.site_failed else 0
                if failures == FAILURES_IN_A_ROW:
                    self._gate.stop.set()
                    stop = StopRun(f"{failures} pages in a row failed ({outcome.reason}): try again later")
        if stop:
            raise stop

    def _take(self, url: str) -> Outcome:
        try:
            return Outcome(url, content=self._content(url))
        except RetryLater as error:
            if self._gate.stop.is_set():
                raise Stopped from error
            return Outcome(url, reason=f"{error}, {ATTEMPTS} times", site_failed=True)
        except FetchError as error:
            return Outcome(url, reason=str(error), permanent=error.permanent)
        except PageError as error:
            return Outcome(url, reason=str(error), permanent=isinstance(error, ElsewhereError))
        except StopRun:
            self._gate.stop.set()  # before any other worker asks the site for more
            raise

    def _content(self, url: str) -> Any:
        page = self._fetch(url)
        try:
            try:
                return self._parse(page, url)
            except ElsewhereError as error:
                page = self._fetch(error.instead)
            return self._parse(page, url)
        except (FetchError, PageError, StopRun, Stopped):
            raise
        except Exception as error:  # a page like no other is one failure, and not the end of the run
            raise PageError(f"{url}: cannot be read ({type(error).__name__}: {error})") from error

    def _fetch(self, url: str) -> Page:
        """Return the page at ``url`` or where the same site sends on to; each address is checked before it is asked."""
        host = host_of(url)
        for _ in range(MOST_REDIRECTS + 1):
            if not self._robots.allow(url):
                raise FetchError(f"robots.txt forbids {url}")
            page = self._gate.retrying(host)(self._visit, url, host)
            if host_of(target := page.redirect or page.url) != host:
                raise FetchError(f"leads to another site: {target}", permanent=True)
            if page.redirect is None and page.url != url and not self._robots.allow(page.url):
                raise FetchError(f"leads to {page.url}, which robots.txt forbids")  # a browser has followed by itself
            if page.redirect is None:
                return page
            url = page.redirect
        raise FetchError(f"redirected more than {MOST_REDIRECTS} times")

    def _visit(self, url: str, host: str) -> Page:
        with self._gate.turn(host):
            page = self._client().get(url, self._ready)
            if "challenge" in page.headers.get("cf-mitigated", "") or is_challenge(page.html):
                raise StopRun(
                    f"{host} asks for a proof of being human at {url}. All that was taken is kept: "
                    "wait some hours, then run again with a longer --delay, and without --force, to go on from here"
                )
            # As a site asks of clients that it finds too busy.
            if urlsplit(page.redirect or page.url).path.startswith("/users/login"):
                raise RetryLater("sends us to log in")
            check_status(page.status, page.headers.get("Retry-After"))
        return page

    def _client(self) -> "Browser | PlainClient":
        if not hasattr(self._local, "client"):
            if self._engine == "selenium":
                from scraper.browser import Browser

                self._local.client = Browser(self._agent)
            else:
                from scraper.plain import PlainClient

                self._local.client = PlainClient(self._agent)
            self._clients.append(self._local.client)
        return self._local.client


@contextmanager
def orderly_end() -> Iterator[None]:
    """Turn StopRun, a failing disk, Ctrl-C and SIGTERM into one line and an exit code other than 0."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except StopRun as stop:
        sys.exit(f"stopped: {stop}")
    except OSError as error:
        sys.exit(f"stopped: {error}")
    except KeyboardInterrupt:
        print("stopped; all that was taken is kept: run again, without --force, to go on from here", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, previous)


def add_crawl_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both scrapers have."""
    parser.add_argument(
        "--engine",
        choices=["selenium", "requests"],
        default="selenium",
        help="a browser, or plain HTTP for sites that serve whole pages to it",
    )
    parser.add_argument(
        "--workers", type=at_least_one, default=2, help="pages under way at a time; they share each host's delay"
    )
    add_polite_options(parser)


def crawl_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a Crawler takes of the command line."""
    return {"engine": args.engine, "workers": args.workers, "delay_s": args.delay, "contact": args.contact}


def add_polite_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all that asks a site."""
    parser.add_argument(
        "--delay",
        type=number_from(0, LONGEST_DELAY_S),
        default=1.0,
        help="seconds between two requests to a host; a longer Crawl-delay of its robots.txt wins",
    )
    parser.add_argument("--contact", help="address or mail for the User-Agent, so that the site can reach you")
    add_force_option(parser, START_OVER)


def add_site_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--site``, the address of a Stack Exchange site."""
    parser.add_argument("--site", type=site_address, default=DEFAULT_SITE, help="address of the site")


def site_address(text: str) -> str:
    """Return a site's address; a bare name such as "cooking" is one of stackexchange.com."""
    address = text.strip().rstrip("/")
    if "://" not in address:
        address = f"https://{address}" if "." in address else f"https://{address}.stackexchange.com"
    try:
        parts = urlsplit(web_address(address))
    except ValueError:
        hint = "give one such as https://cooking.stackexchange.com"
        raise argparse.ArgumentTypeError(f"{text!r} is no site: {hint}") from None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def api_address(text: str) -> str:
    """Return the address of an API, for argparse."""
    try:
        return web_address(text).rstrip("/")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
