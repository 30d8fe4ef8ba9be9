"""Asks the Space, and never waits for it longer than it may.

What can go wrong with a Space does: it is down, asleep, being built, slow, restarted, private, or another app
altogether. All of it ends in :class:`SpaceUnavailable` within the timeout. Each call is one POST, which gives the id of
an event, and one GET, which streams the event's result (see deployment/README.md). They run on an event loop of their
own, where a call that takes too long is cut at the second, whatever it waits for.
"""

import asyncio
import ipaddress
import json
import re
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from webapp.breaker import CircuitBreaker

FAILURES, REST = 5, 3.0  # failed calls in a row before the Space is left alone, and for how many seconds
PROBE_TIMEOUT = 5.0  # seconds; with REST it bounds how long a Space that is back goes unnoticed
LONG = {"predict_batch", "explain"}  # endpoints whose time is the request's doing rather than the Space's
# Stages of a Space that answers, or that a request wakes; and those that end by themselves.
ANSWERING = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING", "SLEEPING"}
STARTING = {"BUILDING", "APP_STARTING"}
DENIED = (401, 403, 404)
TOKEN_ADVICE = (
    "check TAGGER_SPACE; a private Space is named by its Hub id (owner/name), with a token that may read it as HF_TOKEN"
)


class SpaceUnavailable(RuntimeError):
    """The Space gave no usable answer; the message says why, for the operator's log.

    Attributes
    ----------
    told : what a visitor is told
    passes : whether the same request may be answered later without anybody's doing
    """

    told = "The tagger cannot be reached just now. It may be waking up: please try again in a moment."
    passes = True


class SpaceMisconfigured(SpaceUnavailable):
    """Waiting does not help: the operator must mend the address, the token, the Space or the network's settings."""

    told = (
        "The tagger's address or access is not set up correctly on this server, so trying again will not help. "
        "The server's log tells its operator why."
    )
    passes = False


class RequestFailed(SpaceUnavailable):
    """The Space is there, but failed at this request or needed too long for it."""

    told = "The tagger is there, but could not answer this. Please ask for less at a time, or try again."


class RequestRefused(RuntimeError):
    """The request is one that the Space cannot answer; the message is meant for the asker."""


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
        if not (is_url(name) or re.fullmatch(r"[\w.-]+/[\w.-]+", name)):
            raise ValueError(f"TAGGER_SPACE is {name!r}; it must be a Hub id (owner/name) or a url (https://...)")
        if not timeout > 0:
            raise ValueError(f"TAGGER_TIMEOUT is {timeout}; it must be a positive number of seconds")
        if not in_flight > 0:
            raise ValueError(f"TAGGER_IN_FLIGHT is {in_flight}; it must be a positive number of calls")
        self.name = name
        self.timeout = timeout
        self._slots = threading.BoundedSemaphore(in_flight)
        self._breaker = CircuitBreaker(FAILURES, REST)
        self._last_failure = SpaceUnavailable("never asked")
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: dict[tuple[str, bool], httpx.AsyncClient] = {}
        self._found_by_id = not is_url(name)
        self._url = None if self._found_by_id else name.rstrip("/")
        self._headers: dict[str, str] = {}

    def call(self, endpoint: str, check: Callable, **inputs):
        """Return what an endpoint of the Space answers, passed through ``check``, which raises on a wrong form.

        Raises
        ------
        SpaceUnavailable : no answer within the timeout, too many calls in flight, or the last ones all failed
        RequestRefused : the Space answers, but not these inputs
        """
        if not self._slots.acquire(blocking=False):
            raise SpaceUnavailable(f"{self.name}: as many calls in flight as are allowed")
        try:
            admitted = self._breaker.admit()
            if not admitted:
                last = self._last_failure
                raise type(last)(f"left alone, as its last answers failed; {last}")
            probing = admitted == "probe"
            try:
                loop = self._running_loop()
                answer = check(asyncio.run_coroutine_threadsafe(self._call(endpoint, inputs, probing), loop).result())
            except RequestRefused:
                self._breaker.succeeded()
                raise
            except RequestFailed as error:
                if probing:
                    self._breaker.succeeded()  # the Space is there
                raise RequestFailed(f"{self.name}: {error}") from None
            except Exception as error:  # whatever it is, the asker gets a 503 and the operator the reason
                self._fail(error)
                raise self._last_failure from None
            self._breaker.succeeded()
            return answer
        finally:
            self._slots.release()

    def _fail(self, error: Exception) -> None:
        """Count a failure of the Space, and remember it for those who find the Space left alone."""
        if isinstance(error, SpaceUnavailable):
            self._last_failure = type(error)(f"{self.name}: {error}")
        elif has_cause(error, ssl.SSLCertVerificationError):
            self._last_failure = SpaceMisconfigured(f"{self.name}: {describe(error)}; SSL_CERT_FILE names other CAs")
        else:
            self._last_failure = SpaceUnavailable(f"{self.name}: {describe(error)}")
        if self._found_by_id:
            self._url = None  # the Hub may know by now what is wrong with it
        self._breaker.failed()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; started with the first call, as a server may fork after the app is made."""
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="space", daemon=True).start()
                self._loop = loop
        return self._loop

    async def _call(self, endpoint: str, inputs: dict, probing: bool):
        accepted = False
        try:
            async with asyncio.timeout(min(self.timeout, PROBE_TIMEOUT) if probing else self.timeout) as limit:
                url = await self._post(endpoint, inputs)
                accepted = True
                if probing and endpoint in LONG:
                    self._breaker.succeeded()
                    limit.reschedule(asyncio.get_running_loop().time() + self.timeout)
                async with self._client(url).stream("GET", url, headers=self._headers) as stream:
                    stream.raise_for_status()
                    return await read_result(stream.aiter_lines())
        except TimeoutError:
            if accepted and endpoint in LONG:
                raise RequestFailed(f"no answer of /{endpoint} within {self.timeout} s") from None
            raise

    async def _post(self, endpoint: str, inputs: dict) -> str:
        """Call an endpoint and return the url of the call's result."""
        base = self._url or await self._find()
        for _ in range(2):
            url = f"{base}/gradio_api/call/v2/{endpoint}"
            response = await self._client(url).post(url, json=inputs, headers=self._headers)
            if not response.has_redirect_location:
                break
            base = self._url = follow_to_https(response).removesuffix(f"/gradio_api/call/v2/{endpoint}")
        check_status(response)
        return f"{base}/gradio_api/call/{endpoint}/{response.json()['event_id']}"

    async def _find(self) -> str:
        """Return the url of a Space by its Hub id. It is asked for anew until the Space has one that answers.

        A private Space gets the token that the Hub got, if it is reached by https.
        """
        try:
            info = await asyncio.to_thread(HfApi().space_info, self.name, timeout=self.timeout)
        except (HfHubHTTPError, ValueError) as error:  # ValueError: of the name, or of a proxy's address
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            if isinstance(error, json.JSONDecodeError) or (status and status not in DENIED):
                raise
            raise SpaceMisconfigured(f"the Hub does not show this Space ({describe(error)}); {TOKEN_ADVICE}") from None
        if info.runtime.stage not in ANSWERING:
            kind = SpaceUnavailable if info.runtime.stage in STARTING else SpaceMisconfigured
            raise kind(f"the Space's stage is {info.runtime.stage}")
        url, token = info.host.rstrip("/"), get_token()
        needs_token = token and info.private is not False and url.startswith("https://")
        self._headers = {"Authorization": f"Bearer {token}"} if needs_token else {}
        self._url = url
        return url

    def _client(self, url: str) -> httpx.AsyncClient:
        """Return the connections for a url: of this machine directly, of others as the environment says."""
        kind = httpx.URL(url).scheme, is_this_machine(httpx.URL(url).host)
        if kind not in self._clients:
            try:
                self._clients[kind] = httpx.AsyncClient(
                    timeout=None,
                    limits=httpx.Limits(max_connections=None),
                    trust_env=not kind[1],
                    verify=False if kind == ("http", True) else httpx.create_ssl_context(),
                )
            except Exception as error:  # libraries raise many kinds
                raise SpaceMisconfigured(
                    f"{describe(error)}; mend or unset ALL_PROXY, HTTP_PROXY, HTTPS_PROXY, SSL_CERT_FILE, SSL_CERT_DIR"
                ) from None
        return self._clients[kind]


def is_url(name: str) -> bool:
    """Tell whether a name is the url of a server."""
    try:
        url = urlsplit(name)
        return url.scheme in ("http", "https") and bool(httpx.URL(name).host and url.hostname) and " " not in name
    except (ValueError, httpx.InvalidURL):
        return False


def is_this_machine(host: str) -> bool:
    """Tell whether a url's host is this machine, which no proxy can reach."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def follow_to_https(response: httpx.Response) -> str:
    """Return where a redirection from http to https leads; another one is refused, as it may lead anywhere."""
    asked, target = response.url, response.url.join(response.headers.get("Location", ""))
    if (asked.scheme, target.scheme) != ("http", "https") or (asked.host, asked.path) != (target.host, target.path):
        shown = target.copy_with(query=None, fragment=None)
        raise SpaceMisconfigured(f"it redirects to {shown}; name the address of the Space itself in TAGGER_SPACE")
    return str(target.copy_with(query=None, fragment=None))


def check_status(response: httpx.Response) -> None:
    """Raise what the status of a call's answer means, unless it is a success."""
    status = response.status_code
    if status in DENIED:
        raise SpaceMisconfigured(f"it answers with status {status}; {TOKEN_ADVICE}")
    if status == 413:
        raise RequestRefused("The tagger's server takes no request that long: ask for fewer questions at a time.")
    if 400 <= status < 500 and status not in (408, 429):
        raise RequestFailed(f"it refuses the request with status {status}")
    response.raise_for_status()


async def read_result(lines) -> Any:
    """Return the result of a Gradio event from the lines of its stream of server-sent events.

    Raises
    ------
    RequestRefused : the Space says what is wrong with the inputs
    RequestFailed : the event failed otherwise
    ValueError : the stream ended without a result
    """
    event = None
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data" and event == "complete":
            return json.loads(value)[0]
        elif field == "data" and event == "error":
            problem = json.loads(value)
            if isinstance(problem, dict) and isinstance(problem.get("error"), str):
                raise RequestRefused(f"The tagger refused this: {problem['error'][:300]}")
            raise RequestFailed("it failed at the request; its own log tells why")
    raise ValueError("the stream ended without a result")


def has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Tell whether an error, or one that it came from, is of a kind."""
    while error and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def describe(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
