"""What stands around every request: security headers, protection against forged ones, a rate limit, and the log."""

import logging
import sys
import threading
import time

from flask import Flask, Response, current_app, g, request
from limits import parse_many
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pythonjsonlogger.json import JsonFormatter
from werkzeug.exceptions import Forbidden, TooManyRequests

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer, which would have browsers without Sec-Fetch-Site send "null" as the form's origin.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class RateLimit:
    """How many questions an address may ask. Thread-safe.

    Parameters
    ----------
    limits : such as "240 per minute", or several with semicolons between them

    Raises
    ------
    ValueError : the limits are none
    """

    def __init__(self, limits: str):
        try:
            self._limits = parse_many(limits)
        except ValueError:
            self._limits = []
        self.most = min((limit.amount for limit in self._limits), default=0)  # questions at one time
        if self.most < 1:
            raise ValueError(f'TAGGER_RATE_LIMIT is {limits!r}; it must be such as "240 per minute"')
        self._windows = FixedWindowRateLimiter(MemoryStorage())
        self._lock = threading.Lock()

    def charge(self, address: str, questions: int, charged: int = 0) -> None:
        """Count a request of an address as ``questions``, of which some are ``charged`` already; all, or none more.

        Raises
        ------
        TooManyRequests : they are more than it may ask now; says how long to wait, if waiting helps
        """
        if questions > self.most:
            raise TooManyRequests(
                f"This server answers at most {self.most} questions of an address at one time, and this request counts "
                f"as {questions}: send fewer at a time."
            )
        cost = questions - charged
        with self._lock:
            for limit in self._limits:
                if cost and not self._windows.test(limit, address, cost=cost):
                    reset = self._windows.get_window_stats(limit, address).reset_time
                    raise TooManyRequests(
                        f"More than {limit} came from this address, where each question of a batch counts, and an "
                        "explanation for as many as it costs. Please wait a little.",
                        retry_after=max(1, round(reset - time.time())),
                    )
            for limit in self._limits:
                self._windows.hit(limit, address, cost=cost)


def charge_entry() -> None:
    """Count a request as one question before anything of it is read, or raise TooManyRequests."""
    current_app.extensions["rate_limit"].charge(request.remote_addr or "", 1)


def charge_rest(questions: int) -> None:
    """Count a request that :func:`charge_entry` let in as ``questions`` in all, or raise TooManyRequests."""
    current_app.extensions["rate_limit"].charge(request.remote_addr or "", questions, charged=1)


def charge_explanation(cost: int) -> None:
    """:func:`charge_rest` for an explanation; where the limit is below its cost, it takes the whole limit."""
    charge_rest(min(cost, current_app.extensions["rate_limit"].most))


def init_app(app: Flask) -> None:
    """Put the guards around the app's requests.

    Raises
    ------
    ValueError : TAGGER_RATE_LIMIT is no limit
    """
    app.extensions["rate_limit"] = RateLimit(str(app.config["TAGGER_RATE_LIMIT"]))
    log_as_json(app)
    app.before_request(start_clock)
    app.before_request(refuse_forged)
    app.after_request(add_security_headers)
    app.after_request(log_request)


def log_as_json(app: Flask) -> None:
    """Write one JSON object a line to stderr. Nothing here ever holds a question's text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter("{asctime}{levelname}{message}", style="{", rename_fields={"levelname": "level"})
    )
    app.logger.handlers = [handler]
    app.logger.propagate = False
    app.logger.setLevel(logging.INFO)


def start_clock() -> None:
    g.started = time.perf_counter()


def refuse_forged() -> None:
    """Refuse what another site's page has a browser send (OWASP's "Fetch Metadata" defence, with Origin as fallback).

    Browsers add both headers by themselves, and no page can change them; programs send neither, and need no protection.
    So the form carries no token, and its visitors no cookie.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    sent_from = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = (
        sent_from in ("same-origin", "none") if sent_from else not origin or origin.partition("://")[2] == request.host
    )
    if not own:
        raise Forbidden("This request came from a page of another site.")


def add_security_headers(response: Response) -> Response:
    """Forbid what the pages do not need: other hosts, inline scripts and styles, frames; keep no answer in a cache."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def log_request(response: Response) -> Response:
    """Log a request by its route, not by its address, which may hold anything."""
    current_app.logger.info(
        "request",
        extra={
            "method": request.method,
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
            "milliseconds": round(1000 * (time.perf_counter() - g.started), 1) if "started" in g else None,
            "bytes": request.content_length,
        },
    )
    return response
