"""The sample site as a server in a background thread, for server.py, the tests and the benchmarks."""

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from flask import Response, g, request
from werkzeug.serving import WSGIRequestHandler, make_server

from data.sample_site.app import create_app
from data.sample_site.faults import Faults
from data.sample_site.generator import make_questions

HOST = "127.0.0.1"
STOP_CHECK_S = 0.05
NO_FAULTS = Faults()


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
