"""Polite crawling: User-Agent, robots.txt, delay per host, Retry-After, retries with backoff, and when to stop.

Standards: RFC 9309 (robots.txt), RFC 9110 section 10.2.3 (Retry-After). The delay and the retries also apply to the
request for robots.txt.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import tenacity
from protego import Protego
from tqdm import tqdm

from scraper.addresses import host_of, web_address

AGENT = "QuestionTagger"
VERSION = "0.1"
ATTEMPTS = 5
TIMEOUT_S = 30
MAX_PAUSE_S = 15 * 60
YEAR_S = 365 * 24 * 3600  # upper limit of any pause: some servers send numbers of hundreds of digits
MAX_REDIRECTS = 5  # RFC 9309, section 2.3.1.2
GONE = {404, 410, 451}
RETRIED = {403, 408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
SLOW_DOWN = {403, 429, 503}


class StopRun(Exception):
    """The whole run must stop; the message gives the reason and the remedy."""


class Stopped(Exception):
    """The run is being stopped, so this request was not sent."""


class FetchError(Exception):
    """The URL cannot be fetched; the message is the reason. If ``permanent``, a later retry would fail, too."""

    def __init__(self, reason: str, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class RetryLater(FetchError):
    """A temporary failure. ``pause_s`` is the pause in seconds that the host asks for, None if it does not."""

    def __init__(self, reason: str, slow_down: bool = False, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.slow_down = slow_down
        self.pause_s = None if pause_s is None else min(pause_s, YEAR_S)


def user_agent(contact: str | None) -> str:
    """Return the User-Agent header of every request, with the contact if one is given.

    Examples
    --------
    >>> user_agent("you@example.org")
    'QuestionTagger/0.1 (+you@example.org)'
    """
    return f"{AGENT}/{VERSION} (+{contact})" if contact else f"{AGENT}/{VERSION}"


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the value of a Retry-After header in seconds, limited to one year; None if it is missing or invalid.

    Parameters
    ----------
    value
        The header: a number of seconds or an HTTP date.
    now
        The current time, for an HTTP date.

    Examples
    --------
    >>> parse_retry_after("120", datetime.now(UTC))
    120.0
    >>> parse_retry_after("Fri, 31 May 2024 12:01:00 GMT", datetime(2024, 5, 31, 12, 0, tzinfo=UTC))
    60.0
    """
    value = (value or "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value), YEAR_S)
    try:
        date = parsedate_to_datetime(value)
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), YEAR_S)


def check_status(status: int, retry_after: str | None) -> None:
    """Raise RetryLater or FetchError for a status of 400 or more.

    Parameters
    ----------
    status
        HTTP status.
    retry_after
        The Retry-After header, None if there is none.
    """
    if status in RETRIED:
        pause_s = parse_retry_after(retry_after, datetime.now(UTC))
        raise RetryLater(f"HTTP {status}", slow_down=status in SLOW_DOWN, pause_s=pause_s)
    if status in GONE:
        raise FetchError(f"HTTP {status}: deleted, or never existed", permanent=True)
    if status >= 400:
        raise FetchError(f"HTTP {status}")


def ask(session: requests.Session, url: str, **options: Any) -> requests.Response:
    """Send a GET request. Redirects are not followed, since robots.txt of the target has not been checked.

    Raises
    ------
    RetryLater
        Timeout or connection error.
    FetchError
        The URL, or the target of a redirect, is invalid.
    """
    try:
        return session.get(url, timeout=TIMEOUT_S, allow_redirects=False, **options)
    except ValueError as error:
        raise FetchError(f"invalid URL ({error})") from error
    except requests.RequestException as error:
        raise RetryLater(type(error).__name__) from error


def redirect_target(response: requests.Response) -> str | None:
    """Return the target of a redirect, None if the response is not one.

    Raises
    ------
    FetchError
        The target is not a valid URL.
    """
    if not response.is_redirect:
        return None
    location = response.headers["Location"].encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return web_address(requests.utils.requote_uri(urljoin(response.url, location)))
    except ValueError as error:
        raise FetchError(f"redirects to an invalid URL: {location[:80]!r}") from error


@dataclass
class _Host:
    delay_s: float
    open_at: float = 0.0  # time.monotonic()
    lock: threading.Lock = field(default_factory=threading.Lock)


class HostGate:
    """Limits the request rate of all workers: one request per host at a time, ``delay_s`` apart, none during a pause.

    The delay is measured from the end of one request to the start of the next, so a slow host gets fewer requests. With
    a delay of 0 requests run concurrently.
    """

    def __init__(self, delay_s: float) -> None:
        self.stop = threading.Event()
        self._delay_s = delay_s
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Wait until a request to the host is allowed, and hold the turn for the ``with`` block.

        A pause that the response asks for starts at once.

        Raises
        ------
        Stopped
            The run is being stopped.
        """
        state = self._host(host)
        with state.lock if state.delay_s else nullcontext():
            while (wait_s := state.open_at - time.monotonic()) > 0 and not self.stop.is_set():
                self.stop.wait(wait_s)
            if self.stop.is_set():
                raise Stopped
            try:
                yield
            except RetryLater as error:
                self.pause(host, error.pause_s or 0)
                raise
            finally:
                state.open_at = max(state.open_at, time.monotonic() + state.delay_s)

    def slow_down(self, host: str, delay_s: float) -> None:
        """Raise a host's delay to at least ``delay_s``."""
        state = self._host(host)
        state.delay_s = max(state.delay_s, delay_s)

    def pause(self, host: str, seconds: float) -> None:
        """Block all requests to the host for that long."""
        state = self._host(host)
        state.open_at = max(state.open_at, time.monotonic() + seconds)

    def _host(self, host: str) -> _Host:
        return self._hosts.setdefault(host, _Host(self._delay_s))

    def retrying(self, host: str) -> tenacity.Retrying:
        """Return the retry policy for one request: RetryLater is retried with exponential backoff and jitter.

        Raises
        ------
        StopRun
            The host asks for a pause of more than MAX_PAUSE_S.
        """

        def before_retry(attempt: tenacity.RetryCallState) -> None:
            error = attempt.outcome.exception()
            pause_s = max(error.pause_s or 0.0, attempt.next_action.sleep)
            if pause_s > MAX_PAUSE_S:
                minutes = round(pause_s / 60)
                raise StopRun(f"{host} asks for a pause of {minutes} minutes ({error}): run again after that")
            if error.slow_down:
                self.pause(host, pause_s)
                tqdm.write(f"{host} asks to slow down ({error}): pausing {pause_s:.0f} s", file=sys.stderr)

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(RetryLater),
            wait=tenacity.wait_exponential_jitter(initial=1, max=60),
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_when_event_set(self.stop),
            sleep=tenacity.sleep_using_event(self.stop),
            before_sleep=before_retry,
            reraise=True,
        )


class Robots:
    """The robots.txt rules of the hosts; each file is read once, on first use."""

    def __init__(self, agent: str, gate: HostGate) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = agent
        self._gate = gate
        self._rules: dict[str, Protego] = {}
        self._lock = threading.Lock()

    def allow(self, url: str) -> bool:
        """Return whether the URL may be fetched. A Crawl-delay is passed to the gate.

        Raises
        ------
        StopRun
            Robots.txt cannot be read, so everything is forbidden (RFC 9309, section 2.3.1.4).
        """
        scheme, host = urlsplit(url)[:2]
        with self._lock:
            if host not in self._rules:
                self._rules[host] = self._read(f"{scheme}://{host}/robots.txt", host)
        return self._rules[host].can_fetch(url, AGENT)

    def _read(self, url: str, host: str) -> Protego:
        address = url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                text, target = self._gate.retrying(host)(self._download, address, host)
                if target is None:
                    break
                if host_of(target) != host_of(url):
                    raise StopRun(f"{url} leads to another host ({target}), so nothing may be fetched: pass that site")
                address = target
            else:
                raise FetchError(f"redirected more than {MAX_REDIRECTS} times")
        except FetchError as error:
            raise StopRun(f"{url} cannot be read ({error}), so nothing may be fetched: try again later") from error
        rules = Protego.parse(text)
        delay_s = float(rules.crawl_delay(AGENT) or 0)
        if delay_s > MAX_PAUSE_S:
            raise StopRun(f"{url} asks for {min(delay_s, YEAR_S) / 60:.0f} minutes between two requests: too long")
        self._gate.slow_down(host, delay_s)
        return rules

    def _download(self, url: str, host: str) -> tuple[str, str | None]:
        """Return the text, and the target of a redirect if there is one."""
        with self._gate.turn(host):
            response = ask(self._session, url)
            if response.status_code == 429 or response.status_code >= 500:
                check_status(response.status_code, response.headers.get("Retry-After"))
        # RFC 9309, section 2.3.1.3: a missing robots.txt forbids nothing.
        text = response.content.decode("utf-8", errors="replace") if response.ok else ""
        return text, redirect_target(response)
