"""Asks the Space for tags, and never waits for it longer than it may.

What can go wrong with a Space does: it is down, asleep, being built, slow, restarted, or another app altogether. All of
it ends in :class:`SpaceUnavailable` within the timeout, and the next question starts afresh.
"""

import concurrent.futures
import contextlib
import queue
import re
import time

import httpx
from gradio_client import Client
from huggingface_hub import HfApi

# A healthy Gradio app sends a sign of life every 15 s; a connection that is silent for longer is dead.
SILENCE = 20  # seconds
CALLS_IN_FLIGHT = 32
# Stages of a Space that answers, or that a request wakes.
ANSWERING = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING", "SLEEPING"}


class SpaceUnavailable(RuntimeError):
    """The Space gave no usable answer; the message says why, for the operator's log."""


class Space:
    """The tagger's Space.

    Parameters
    ----------
    name : a Hub id (owner/name) or the url of a Gradio app
    timeout : seconds that a question may take, connecting included

    Raises
    ------
    ValueError : the name is neither, or the timeout is not positive
    """

    def __init__(self, name: str, timeout: float):
        if not re.fullmatch(r"https?://\S+|[\w.-]+/[\w.-]+", name):
            raise ValueError(f"TAGGER_SPACE is {name!r}; it must be a Hub id (owner/name) or a url (https://...)")
        if not timeout > 0:
            raise ValueError(f"TAGGER_TIMEOUT is {timeout}; it must be a positive number of seconds")
        self.name = name
        self.timeout = timeout
        self._workers = concurrent.futures.ThreadPoolExecutor(CALLS_IN_FLIGHT, thread_name_prefix="space")
        # A gradio_client.Client has one event stream for all of its calls. A call made while that stream is closing,
        # or while another call's answer comes in, may wait for ever: so no client serves two questions at once.
        self._idle_clients: queue.SimpleQueue[Client] = queue.SimpleQueue()

    def tag(self, title: str, description: str) -> dict[str, list[dict]]:
        """Return the endpoint's answer: {"suggested": [{"tag": str, "probability": float}, ...], "others": [...]}.

        Raises
        ------
        SpaceUnavailable : no usable answer within the timeout
        """
        call = self._workers.submit(self._ask, title, description, time.monotonic() + self.timeout)
        try:
            answer, trouble = call.result(self.timeout)
        except concurrent.futures.TimeoutError:
            call.cancel()
            answer, trouble = None, f"no answer within {self.timeout:g} s"
        if trouble:
            raise SpaceUnavailable(f"{self.name}: {trouble}")
        return answer

    def _ask(self, title: str, description: str, deadline: float) -> tuple[dict | None, str | None]:
        """Return an answer or the trouble. An idle client may be older than the Space's last start: then a new one."""
        with contextlib.suppress(queue.Empty):
            answer, _ = self._call(self._idle_clients.get_nowait(), title, description, deadline)
            if answer:
                return answer, None
        try:
            client = self._connect(deadline)
        except Exception as error:  # gradio_client lets everything through that its libraries raise
            return None, describe(error)
        return self._call(client, title, description, deadline)

    def _connect(self, deadline: float) -> Client:
        """Return a client of its own session. Hub ids are resolved here: Client would wait for a build without end."""
        url = self.name
        if not url.startswith("http"):
            info = HfApi().space_info(url, timeout=remaining(deadline))
            if info.runtime.stage not in ANSWERING:
                raise SpaceUnavailable(f"the Space's stage is {info.runtime.stage}")
            url = info.host
        timeout = httpx.Timeout(self.timeout, read=SILENCE)
        return Client(
            url, verbose=False, download_files=False, analytics_enabled=False, httpx_kwargs={"timeout": timeout}
        )

    def _call(self, client: Client, title: str, description: str, deadline: float) -> tuple[dict | None, str | None]:
        """Return an answer or the trouble, and keep the client for the next question only if all went well."""
        job = None
        try:
            job = client.submit(title=title, description=description, api_name="/predict")
            answer = check_answer(job.result(remaining(deadline)))
            if concurrent.futures.wait([client.streaming_future], timeout=1).done:
                self._idle_clients.put(client)
            else:
                self._workers.submit(self._drop, client, job)
            return answer, None
        except Exception as error:
            self._workers.submit(self._drop, client, job)  # which takes a while if the Space is hung
            return None, describe(error)

    @staticmethod
    def _drop(client: Client, job) -> None:
        """Take a question off the Space's queue, and let a client's threads end."""
        with contextlib.suppress(Exception):
            job.cancel()
        client.close()


def remaining(deadline: float) -> float:
    """Return the seconds left, and raise TimeoutError where none are."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no time left")
    return seconds


def describe(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def check_answer(answer: object) -> dict[str, list[dict]]:
    """Return the endpoint's answer if it has the documented form, or raise ValueError."""
    try:
        return {
            kind: [{"tag": str(row["tag"]), "probability": float(row["probability"])} for row in answer[kind]]
            for kind in ("suggested", "others")
        }
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"the endpoint's answer has another form: {str(answer)[:100]}") from error
