"""Asks the Space, and never waits for it longer than it may.

What can go wrong with a Space does: it is down, asleep, being built, slow, restarted, or another app altogether. All of
it ends in :class:`SpaceUnavailable` within the timeout. Each call is one POST, which gives the id of an event, and one
GET, which streams the event's result (see deployment/README.md). They run on an event loop of their own, where a call
that takes too long is cut at the second, whatever it waits for.
"""

import asyncio
import json
import re
import threading
from collections.abc import Callable

import httpx
from huggingface_hub import HfApi

from webapp.breaker import CircuitBreaker

FAILURES, REST = 5, 3.0  # failed calls in a row before the Space is left alone, and for how many seconds
PROBE_TIMEOUT = 5.0  # seconds; with REST it bounds how long a Space that is back goes unnoticed
# Stages of a Space that answers, or that a request wakes.
ANSWERING = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING", "SLEEPING"}


class SpaceUnavailable(RuntimeError):
    """The Space gave no usable answer; the message says why, for the operator's log."""


class Space:
    """The tagger's Space. Thread-safe.

    Parameters
    ----------
    name : a Hub id (owner/name) or the url of a Gradio app
    timeout : seconds that a call may take, connecting included
    in_flight : calls at one time; the next is refused at once

    Raises
    ------
    ValueError : the name is neither, or a number is not positive
    """

    def __init__(self, name: str, timeout: float, in_flight: int):
        if not re.fullmatch(r"https?://\S+|[\w.-]+/[\w.-]+", name):
            raise ValueError(f"TAGGER_SPACE is {name!r}; it must be a Hub id (owner/name) or a url (https://...)")
        if not timeout > 0:
            raise ValueError(f"TAGGER_TIMEOUT is {timeout}; it must be a positive number of seconds")
        if not in_flight > 0:
            raise ValueError(f"TAGGER_IN_FLIGHT is {in_flight}; it must be a positive number of calls")
        self.name = name
        self.timeout = timeout
        self._slots = threading.BoundedSemaphore(in_flight)
        self._breaker = CircuitBreaker(FAILURES, REST)
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: httpx.AsyncClient | None = None
        self._url = name.rstrip("/") if name.startswith("http") else None

    def call(self, endpoint: str, check: Callable, **inputs):
        """Return what an endpoint of the Space answers, passed through ``check``, which raises on a wrong form.

        Raises
        ------
        SpaceUnavailable : no answer within the timeout, too many calls in flight, or the last ones all failed
        """
        if not self._slots.acquire(blocking=False):
            raise SpaceUnavailable(f"{self.name}: as many calls in flight as are allowed")
        try:
            admitted = self._breaker.admit()
            if not admitted:
                raise SpaceUnavailable(f"{self.name}: left alone, as its last answers failed")
            timeout = min(self.timeout, PROBE_TIMEOUT) if admitted == "probe" else self.timeout
            call = asyncio.run_coroutine_threadsafe(self._call(endpoint, inputs, timeout), self._running_loop())
            try:
                answer = check(call.result())
            except Exception as error:  # whatever it is, the asker gets a 503 and the operator the reason
                self._breaker.failed()
                raise SpaceUnavailable(f"{self.name}: {describe(error)}") from None
            self._breaker.succeeded()
            return answer
        finally:
            self._slots.release()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; started with the first call, as a server may fork after the app is made."""
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="space", daemon=True).start()
                self._http = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))
                self._loop = loop
        return self._loop

    async def _call(self, endpoint: str, inputs: dict, timeout: float):
        async with asyncio.timeout(timeout):
            url = f"{self._url or await self._find()}/gradio_api/call"
            response = await self._http.post(f"{url}/v2/{endpoint}", json=inputs)
            event = response.raise_for_status().json()["event_id"]
            async with self._http.stream("GET", f"{url}/{endpoint}/{event}") as stream:
                stream.raise_for_status()
                return await read_result(stream.aiter_lines())

    async def _find(self) -> str:
        """Return the url of a Space by its Hub id. It is asked for anew until the Space has one that answers."""
        info = await asyncio.to_thread(HfApi().space_info, self.name, timeout=self.timeout)
        if info.runtime.stage not in ANSWERING:
            raise SpaceUnavailable(f"the Space's stage is {info.runtime.stage}")
        self._url = info.host.rstrip("/")
        return self._url


async def read_result(lines):
    """Return the result of a Gradio event from the lines of its stream of server-sent events.

    Raises
    ------
    ValueError : the event failed, or the stream ended without a result
    """
    event = None
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data" and event == "complete":
            return json.loads(value)[0]
        elif field == "data" and event == "error":
            raise ValueError(f"the Space's error: {value[:200]}")
    raise ValueError("the stream ended without a result")


def describe(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
