"""What stands around every request: security headers, protection against forged ones, a rate limit, and the log."""

import logging
import sys
import time
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from pythonjsonlogger.json import JsonFormatter
from werkzeug.exceptions import Forbidden

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

limiter = Limiter(get_remote_address, storage_uri="memory://")
limit_questions = limiter.shared_limit(lambda: current_app.config["TAGGER_RATE_LIMIT"], scope="questions")


def init_app(app: Flask) -> None:
    """Put the guards around the app's requests.

    Raises
    ------
    ValueError : TAGGER_RATE_LIMIT is no limit that flask-limiter understands
    """
    from limits import parse_many

    try:
        parse_many(app.config["TAGGER_RATE_LIMIT"])
    except ValueError:
        limit = app.config["TAGGER_RATE_LIMIT"]
        raise ValueError(f'TAGGER_RATE_LIMIT is {limit!r}; it must be such as "240 per minute"') from None
    log_as_json(app)
    app.before_request(start_clock)
    app.before_request(refuse_forged)
    limiter.init_app(app)
    app.after_request(add_security_headers)
    app.after_request(log_request)


def seconds_to_wait() -> int:
    """Return when an address that has reached its limit may ask again."""
    return max(1, round(limiter.current_limit.reset_at - time.time()))


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
    own = sent_from in ("same-origin", "none") if sent_from else not origin or urlsplit(origin).netloc == request.host
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
