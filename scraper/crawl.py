"""Shared parts of the page scrapers: command-line options, the crawler and its workers, and clean shutdown."""

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

from scraper.addresses import host_of, web_address
from scraper.pages import ElsewhereError, Page, PageError, is_challenge
from scraper.politeness import (
    ATTEMPTS,
    MAX_REDIRECTS,
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
from tagging.options import add_force_option, at_least_one, number_from
from tagging.stack_exchange import DEFAULT_SITE, LOGIN_PATH, site_url

if TYPE_CHECKING:
    from scraper.browser import Browser
    from scraper.plain import PlainClient

MAX_DELAY_S = 86_400  # one day; time.sleep() rejects very large numbers
CTRL_C_WITHIN_S = 1  # Windows handles Ctrl-C only between two waits
FAILURES_IN_A_ROW = 10  # then the site is assumed to be down or to block us
START_OVER = "discard the existing output and start over"  # help text of --force


@dataclass(frozen=True)
class Outcome:
    """Result for one URL: the parsed ``content``, or the ``reason`` of the failure."""

    url: str
    content: Any = None
    reason: str | None = None
    permanent: bool = False  # a retry would fail, too
    site_failed: bool = False  # the site or the connection failed, not just this page


class Crawler:
    """Polite concurrent crawler; use it in a ``with`` block."""

    def __init__(
        self,
        parse: Callable[[Page, str], Any],
        ready: str,
        engine: str,
        workers: int,
        delay_s: float,
        contact: str | None,
    ) -> None:
        """Create the workers.

        Parameters
        ----------
        parse
            Function of a page and the requested URL that returns the content or raises PageError; it runs in the worker
            threads.
        ready
            CSS selector of an element that exists once the page has loaded.
        engine
            "selenium" (one browser per worker) or "requests" (plain HTTP).
        workers
            Number of concurrent requests.
        delay_s
            Minimum delay between two requests to a host, in seconds.
        contact
            URL or e-mail address for the User-Agent header.
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
        """Yield the outcome of each URL, in order of completion.

        Raises
        ------
        StopRun
            A bot check, no browser, an unreadable robots.txt, or too many failures in a row; raised after the outcomes
            of the requests in progress have been yielded.
        """
        waiting = iter(urls)
        running: set[Future[Outcome]] = set()
        stop: StopRun | None = None
        failures = 0
        while True:
            # Two per worker keep all of them busy, and little work is lost when the run stops.
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
            self._gate.stop.set()  # before another worker sends a request
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
        except Exception as error:  # an unexpected page is one failure and must not end the run
            raise PageError(f"{url}: cannot be read ({type(error).__name__}: {error})") from error

    def _fetch(self, url: str) -> Page:
        """Fetch ``url``, following redirects within the site; each URL is checked against robots.txt first."""
        host = host_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            if not self._robots.allow(url):
                raise FetchError(f"robots.txt forbids {url}")
            page = self._gate.retrying(host)(self._visit, url, host)
            if host_of(target := page.redirect or page.url) != host:
                raise FetchError(f"redirects to another site: {target}", permanent=True)
            if page.redirect is None and page.url != url and not self._robots.allow(page.url):
                raise FetchError(f"redirects to {page.url}, which robots.txt forbids")  # the browser has followed it
            if page.redirect is None:
                return page
            url = page.redirect
        raise FetchError(f"redirected more than {MAX_REDIRECTS} times")

    def _visit(self, url: str, host: str) -> Page:
        with self._gate.turn(host):
            page = self._client().get(url, self._ready)
            if "challenge" in page.headers.get("cf-mitigated", "") or is_challenge(page.html):
                raise StopRun(
                    f"{host} shows a bot check (CAPTCHA) at {url}. Everything fetched so far is saved: "
                    "wait some hours, then run again with a longer --delay, without --force, to resume"
                )
            # Sites redirect clients that send too many requests to the login page.
            if urlsplit(page.redirect or page.url).path.startswith(LOGIN_PATH):
                raise RetryLater("redirects to the login page")
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
    """Turn StopRun, disk errors, Ctrl-C and SIGTERM into a one-line message and a non-zero exit status."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except StopRun as stop:
        sys.exit(f"stopped: {stop}")
    except OSError as error:
        sys.exit(f"stopped: {error}")
    except KeyboardInterrupt:
        print("stopped; everything fetched so far is saved: run again, without --force, to resume", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, previous)


def add_crawl_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of both page scrapers."""
    parser.add_argument(
        "--engine",
        choices=["selenium", "requests"],
        default="selenium",
        help="how pages are fetched: with a headless browser, or by plain HTTP where the site allows it",
    )
    parser.add_argument(
        "--workers", type=at_least_one, default=2, help="number of concurrent requests; all share the delay of a host"
    )
    add_polite_options(parser)


def crawl_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of :class:`Crawler` that come from the command line."""
    return {"engine": args.engine, "workers": args.workers, "delay_s": args.delay, "contact": args.contact}


def add_polite_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every script that sends requests to a site."""
    parser.add_argument(
        "--delay",
        type=number_from(0, MAX_DELAY_S),
        default=1.0,
        help="minimum delay in seconds between two requests to a host; a longer Crawl-delay in robots.txt takes "
        "precedence",
    )
    parser.add_argument("--contact", help="URL or e-mail address for the User-Agent, so that the site can reach you")
    add_force_option(parser, START_OVER)


def add_site_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--site``, the URL of a Stack Exchange site."""
    parser.add_argument("--site", type=site_address, default=DEFAULT_SITE, help="URL of the site")


def site_address(text: str) -> str:
    """Convert the option --site to a URL, for argparse; a bare name such as "cooking" is one of stackexchange.com."""
    try:
        parts = urlsplit(web_address(site_url(text)))
    except ValueError:
        hint = f"pass a URL such as {site_url('cooking')}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a site: {hint}") from None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def api_address(text: str) -> str:
    """Convert the option --api to a URL, for argparse."""
    try:
        return web_address(text).rstrip("/")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
