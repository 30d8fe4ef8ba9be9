"""Serve the embedded sample site over HTTP, for the demo and the tests.

The site's URL is printed and, with --port-file, written to a file.

    python data/sample_site/server.py --port 8765
"""

import argparse
import signal
import sys
import threading
import time
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from flask import Response, g, request
from werkzeug.serving import WSGIRequestHandler, make_server

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this folder's modules, whatever is installed
from data.sample_site.app import create_app
from data.sample_site.faults import Faults
from data.sample_site.generator import make_questions
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import at_least_one, number_from, port, script_parser, seed_number, whole_number

HOST = "127.0.0.1"
STOP_CHECK_S = 0.05
NO_FAULTS = Faults()

FAULT_HELP = {
    "too_many_requests_every": "answer 429 to every k-th page request, 0 for none",
    "retry_after_s": "value of the Retry-After header of a 429, in seconds",
    "error_every": "answer 500 to every k-th page request, 0 for none",
    "slow_s": "delay of each page in seconds",
    "challenge_after": "show a bot check from the k-th page request on, 0 for never",
    "robots_disallow_all": "forbid the whole site in robots.txt",
    "garbage_every": "answer every k-th page request with truncated JSON, 0 for none",
    "cut_every": "close the connection in the middle of the response to every k-th page request, 0 for none",
    "login_every": "redirect every k-th page request to the login page, 0 for none",
    "quota": "number of calls that the API allows",
    "backoff_s": "backoff that each response of the API asks for, in seconds, 0 for none",
    "crawl_delay_s": "Crawl-delay in robots.txt, in seconds, 0 for none",
}


@dataclass(frozen=True)
class LogEntry:
    """A request: arrival in seconds of time.monotonic, path with query, User-Agent, status of the response."""

    time_s: float
    path: str
    user_agent: str
    status: int


class QuietHandler(WSGIRequestHandler):
    """Werkzeug's handler without its line per request; SampleSite.log records the requests."""

    def log_request(self, *_: object) -> None:
        """Print nothing."""


class SampleSite:
    """The sample site, served by a background thread within a ``with`` block.

    Attributes
    ----------
    url
        Base URL, without a trailing slash.
    questions
        The site's questions, newest first.
    deleted_ids
        Ids of questions that are listed, but whose pages return 404.
    log
        One entry per request.
    """

    def __init__(self, port: int = 0, n: int = 450, seed: int = 42, faults: Faults = NO_FAULTS) -> None:
        """Generate ``n`` questions and bind the port; port 0 picks a free one.

        Raises
        ------
        SystemExit
            The port is in use (werkzeug prints which).
        ValueError
            As make_questions.
        """
        self.questions = make_questions(n, seed)
        self.deleted_ids = frozenset(question.id for question in self.questions if question.deleted)
        self.log: list[LogEntry] = []
        app = create_app(self.questions, faults)
        app.before_request_funcs[None].insert(0, self._note_arrival)
        app.after_request(self._log_response)
        self._server = make_server(HOST, port, app, threaded=True, request_handler=QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(STOP_CHECK_S,), daemon=True)
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def edit(self, question_id: int, **changes: Any) -> None:
        """Change fields of a question; its last activity becomes the current time, unless ``edited`` is given."""
        place = next(i for i, question in enumerate(self.questions) if question.id == question_id)
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.questions[place] = replace(self.questions[place], **({"edited": now} | changes))

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _note_arrival(self) -> None:
        g.arrival_s = time.monotonic()

    def _log_response(self, response: Response) -> Response:
        path = request.full_path if request.query_string else request.path
        self.log.append(LogEntry(g.arrival_s, path, request.user_agent.string, response.status_code))
        return response


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; each fault has an option."""
    parser = script_parser(__doc__)
    parser.add_argument("--port", type=port, default=8765, help="port to listen on, 0 for a free one")
    parser.add_argument("--port-file", type=Path, help="file to write the site's URL to; removed when the server stops")
    parser.add_argument("--questions", type=at_least_one, default=450, help="number of questions")
    parser.add_argument("--seed", type=seed_number, default=42, help="seed of the questions")
    for field in fields(Faults):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action="store_true", help=FAULT_HELP[field.name])
        else:
            kind = whole_number(0) if field.type is int else number_from(0)
            parser.add_argument(flag, type=kind, default=field.default, help=FAULT_HELP[field.name])
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    args = parse_args(argv)
    faults = Faults(**{field.name: getattr(args, field.name) for field in fields(Faults)})
    try:
        site = SampleSite(args.port, args.questions, args.seed, faults)
    except ValueError as error:
        sys.exit(f"cannot serve the sample site: {error}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with site:
        print(f"{len(site.questions)} questions at {site.url}", flush=True)
        if args.port_file:
            with atomic_path(args.port_file) as temporary:
                temporary.write_text(site.url, encoding="utf-8", newline="\n")
        while not stop.wait(1):  # on Windows, Ctrl-C does not interrupt a wait
            pass
    if args.port_file:
        args.port_file.unlink(missing_ok=True)


if __name__ == "__main__":
    run_script(main)
