"""Faults that the sample site can simulate; they depend only on the number of page requests, so runs are repeatable."""

import threading
import time
from dataclasses import dataclass
from itertools import count

from flask import Flask, Response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

UNFAULTED = ("/robots.txt", "/favicon.ico", "/static/", "/users/login")


@dataclass(frozen=True)
class Faults:
    """The switches of the faults; 0 or False is off.

    "Every k-th" counts the page requests of all clients from 1. If several faults apply to one request, the bot check
    takes precedence over 429, and 429 over 500.
    """

    too_many_requests_every: int = 0
    """Every k-th page request is answered 429 with a Retry-After header."""
    retry_after_s: int = 1
    """Value of the Retry-After header of a 429, in seconds."""
    error_every: int = 0
    """Every k-th page request is answered 500."""
    slow_s: float = 0.0
    """Seconds of delay before each page response."""
    challenge_after: int = 0
    """From the k-th page request on, every page is a bot check with status 403."""
    robots_disallow_all: bool = False
    """robots.txt forbids the whole site."""
    garbage_every: int = 0
    """Every k-th page request is answered by truncated JSON with status 200."""
    cut_every: int = 0
    """Every k-th page request gets half of a page before the connection is closed."""
    login_every: int = 0
    """Every k-th page request is redirected to the login page."""
    quota: int = 10_000
    """Number of calls that the API allows."""
    backoff_s: int = 0
    """Backoff that each response of the API asks for, in seconds."""
    crawl_delay_s: int = 0
    """Seconds of the Crawl-delay line in robots.txt."""


def install_faults(app: Flask, faults: Faults) -> None:
    """Make ``app`` simulate ``faults`` for page requests; robots.txt and static files are not affected."""
    counter = count(1)
    lock = threading.Lock()

    @app.before_request
    def fault() -> BaseResponse | None:
        if request.path.startswith(UNFAULTED):
            return None
        with lock:
            number = next(counter)
        time.sleep(faults.slow_s)
        if faults.challenge_after and number >= faults.challenge_after:
            return Response(render_template("challenge.html"), status=403, headers={"cf-mitigated": "challenge"})
        if faults.too_many_requests_every and number % faults.too_many_requests_every == 0:
            page = render_template("error.html", title="Too Many Requests", text="Slow down and come back later.")
            return Response(page, status=429, headers={"Retry-After": str(faults.retry_after_s)})
        if faults.error_every and number % faults.error_every == 0:
            page = render_template("error.html", title="Oops! Something Bad Happened!", text="The server stumbled.")
            return Response(page, status=500)
        if faults.garbage_every and number % faults.garbage_every == 0:
            return Response('{"items": [{"title": "half an ans', mimetype="application/json")
        if faults.cut_every and number % faults.cut_every == 0:
            response = Response("<html><body>")
            response.content_length = 10_000
            return response
        if faults.login_every and number % faults.login_every == 0:
            return redirect("/users/login")
        return None
