"""What applies to every request: rate limit, protection against request forgery, security headers, and logging."""

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
    """Limits the number of questions per client address. Thread-safe; counts are kept in memory, in fixed windows.

    Parameters
    ----------
    limits : str
        Such as "240 per minute", or several limits separated by semicolons.

    Attributes
    ----------
    max_questions : int
        Questions that a single request may count as: the smallest amount of all limits.

    Raises
    ------
    ValueError
        If ``limits`` cannot be parsed.
    """

    def __init__(self, limits: str):
        try:
            self._limits = parse_many(limits)
        except ValueError:
            self._limits = []
        self.max_questions = min((limit.amount for limit in self._limits), default=0)
        if self.max_questions < 1:
            raise ValueError(f'TAGGER_RATE_LIMIT is {limits!r}; it must be such as "240 per minute"')
        self._windows = FixedWindowRateLimiter(MemoryStorage())
        self._lock = threading.Lock()

    def charge(self, address: str, questions: int, charged: int = 0) -> None:
        """Count a request, all of it or, if it exceeds a limit, none of it.

        Parameters
        ----------
        address : str
        questions : int
            What the request counts as in total.
        charged : int
            How much of that has been counted already.

        Raises
        ------
        TooManyRequests
            If a limit is exceeded; with ``retry_after`` in seconds if waiting helps.
        """
        if questions > self.max_questions:
            raise TooManyRequests(
                f"This server answers at most {self.max_questions} questions of an address at one time, and this "
                f"request counts as {questions}: send fewer at a time."
            )
        cost = questions - charged
        with self._lock:
            for limit in self._limits:
                if cost and not self._windows.test(limit, address, cost=cost):
                    reset = self._windows.get_window_stats(limit, address).reset_time
                    raise TooManyRequests(
                        f"More than {limit} came from this address, where each question of a batch counts, and an "
                        "explanation as one more than it has words. Please wait a little.",
                        retry_after=max(1, round(reset - time.time())),
                    )
            for limit in self._limits:
                self._windows.hit(limit, address, cost=cost)


def charge_entry() -> None:
    """Count a request as one question, before its body is read. Raises TooManyRequests."""
    current_app.extensions["rate_limit"].charge(request.remote_addr or "", 1)


def charge_rest(questions: int) -> None:
    """Count a request as ``questions`` in total, after :func:`charge_entry`. Raises TooManyRequests."""
    current_app.extensions["rate_limit"].charge(request.remote_addr or "", questions, charged=1)


def charge_explanation(cost: int) -> None:
    """Count an explanation as ``cost`` questions in total, but at most as the whole limit. Raises TooManyRequests."""
    charge_rest(min(cost, current_app.extensions["rate_limit"].max_questions))


def init_app(app: Flask) -> None:
    """Register the guards with the app.

    Raises
    ------
    ValueError
        If TAGGER_RATE_LIMIT cannot be parsed.
    """
    app.extensions["rate_limit"] = RateLimit(str(app.config["TAGGER_RATE_LIMIT"]))
    protect(app)


def protect(app: Flask) -> None:
    """Register all guards but the rate limit."""
    log_as_json(app)
    app.before_request(start_clock)
    app.before_request(refuse_forged)
    app.after_request(add_security_headers)
    app.after_request(allow_origins)
    app.after_request(log_request)


def log_as_json(app: Flask) -> None:
    """Log to stderr, one JSON object per line. The log never contains the text of a question."""
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
    """Reject cross-site requests by fetch metadata, with the Origin header as fallback (OWASP, CSRF prevention).

    Browsers set both headers themselves, and no page can change them. Programs send neither, and need no protection.
    So the form needs no token, and its visitors get no cookie.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    sent_from = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = (
        sent_from in ("same-origin", "none") if sent_from else not origin or origin.partition("://")[2] == request.host
    )
    if not own and not is_allowed_origin():
        raise Forbidden("This request came from a page of another site.")


def is_allowed_origin() -> bool:
    """Return whether the request calls the REST API from a page of an origin in TAGGER_ORIGINS."""
    return request.path.startswith("/api/") and request.headers.get("Origin") in current_app.config["TAGGER_ORIGINS"]


def allow_origins(response: Response) -> Response:
    """Let browsers show the answers of the REST API to pages of the origins in TAGGER_ORIGINS (CORS).

    Flask answers the OPTIONS request that browsers send first, and these headers complete that answer. No cookies are
    allowed, since there are none.
    """
    if current_app.config["TAGGER_ORIGINS"] and request.path.startswith("/api/"):
        response.vary.add("Origin")
    if is_allowed_origin():
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = "Retry-After"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
            response.headers["Access-Control-Allow-Headers"] = "Content-Type"
            response.headers["Access-Control-Max-Age"] = "600"
    return response


def add_security_headers(response: Response) -> Response:
    """Disallow other hosts, inline scripts and styles, frames, and caching."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def log_request(response: Response) -> Response:
    """Log a request by its route rather than its URL, which may contain anything."""
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
