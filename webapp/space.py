"""A client of the Gradio app, with timeout and circuit breaker.

A Space may be down, asleep, being built, slow, restarted, private, or another app altogether. All of this ends in
:class:`SpaceUnavailable` within the timeout. A call is one POST, which returns the id of an event, and one GET, which
streams the result of the event (see deployment/README.md). Both run on an event loop in a thread of its own, where the
timeout can cancel a call whatever it waits for. gradio_client is not used for this reason: its Client waits without
limit for a Space that is being built, and its timeouts do not bound a whole call.
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

MAX_FAILURES, RECOVERY_TIMEOUT = 5, 3.0  # of the circuit breaker: consecutive failed calls, and seconds
PROBE_TIMEOUT = 5.0  # seconds; together with RECOVERY_TIMEOUT, the time until a recovered Space is noticed
SLOW_ENDPOINTS = {"predict_batch", "explain"}  # their duration depends on the request; a timeout is no failure
# Stages in which a Space answers or is woken by a request; and those that pass by themselves.
ANSWERING = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING", "SLEEPING"}
STARTING = {"BUILDING", "APP_STARTING"}
DENIED = (401, 403, 404)
TOKEN_ADVICE = (
    "check TAGGER_SPACE; a private Space is named by its Hub id (owner/name), with a token that may read it as HF_TOKEN"
)


class SpaceUnavailable(RuntimeError):
    """The Space gave no usable answer. The message gives the reason, for the operator's log.

    Attributes
    ----------
    user_message : str
    is_temporary : bool
        Whether the same request may succeed later without any action of the operator.
    """

    user_message = "The tagger cannot be reached just now. It may be waking up: please try again in a moment."
    is_temporary = True


class SpaceMisconfigured(SpaceUnavailable):
    """Retrying does not help: the operator must fix the address, the token, the Space or the network settings."""

    user_message = (
        "The tagger's address or access is not set up correctly on this server, so trying again will not help. "
        "The server's log gives the reason."
    )
    is_temporary = False


class RequestFailed(SpaceUnavailable):
    """The Space is reachable, but failed to answer this request in time or at all."""

    user_message = (
        "The tagger could not answer this request. Please send a shorter text or fewer questions, or try again."
    )


class RequestRefused(RuntimeError):
    """The Space rejects the request. The message is meant for the user."""


class Space:
    """Client of a Space. Thread-safe.

    Parameters
    ----------
    name : str
        A Hub id (owner/name) or the URL of a Gradio app.
    timeout : float
        Seconds that a call may take, including the connection.
    in_flight : int
        Maximum number of concurrent calls; a further one fails at once.

    Raises
    ------
    ValueError
        If the name is neither, or a number is not positive.
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
        self._breaker = CircuitBreaker(MAX_FAILURES, RECOVERY_TIMEOUT)
        self._last_failure = SpaceUnavailable("never asked")
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: dict[tuple[str, bool], httpx.AsyncClient] = {}
        self._found_by_id = not is_url(name)
        self._url = None if self._found_by_id else name.rstrip("/")
        self._headers: dict[str, str] = {}

    def call(self, endpoint: str, check: Callable, **inputs):
        """Call an endpoint of the Space.

        Parameters
        ----------
        endpoint : str
            Its name, such as "predict".
        check : callable
            Validates the result and returns it; raises any exception if it does not have the documented form.
        **inputs
            The inputs of the endpoint.

        Returns
        -------
        object
            The result of ``check``.

        Raises
        ------
        SpaceUnavailable
            If there is no answer within the timeout, too many calls are in flight, or the circuit breaker is open.
        RequestRefused
            If the Space rejects these inputs.
        """
        if not self._slots.acquire(blocking=False):
            raise SpaceUnavailable(f"{self.name}: the maximum number of concurrent calls is reached")
        try:
            admitted = self._breaker.admit()
            if not admitted:
                last = self._last_failure
                raise type(last)(f"not called, since the last calls failed; {last}")
            probing = admitted == "probe"
            try:
                loop = self._running_loop()
                answer = check(asyncio.run_coroutine_threadsafe(self._call(endpoint, inputs, probing), loop).result())
            except RequestRefused:
                self._breaker.succeeded()
                raise
            except RequestFailed as error:
                if probing:
                    self._breaker.succeeded()  # the Space is reachable
                raise RequestFailed(f"{self.name}: {error}") from None
            except Exception as error:  # whatever it is: status 503 for the user, the reason for the operator
                self._fail(error)
                raise self._last_failure from None
            self._breaker.succeeded()
            return answer
        finally:
            self._slots.release()

    def _fail(self, error: Exception) -> None:
        """Record a failure of the Space; calls give it as their reason while the circuit breaker is open."""
        if isinstance(error, SpaceUnavailable):
            self._last_failure = type(error)(f"{self.name}: {error}")
        elif has_cause(error, ssl.SSLCertVerificationError):
            self._last_failure = SpaceMisconfigured(
                f"{self.name}: {describe(error)}; SSL_CERT_FILE sets other certificate authorities"
            )
        else:
            self._last_failure = SpaceUnavailable(f"{self.name}: {describe(error)}")
        if self._found_by_id:
            self._url = None  # look it up again: the Hub may give another URL or the reason
        self._breaker.failed()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop. It starts with the first call, since a server may fork after the app is created."""
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
                if probing and endpoint in SLOW_ENDPOINTS:
                    self._breaker.succeeded()
                    limit.reschedule(asyncio.get_running_loop().time() + self.timeout)
                async with self._client(url).stream("GET", url, headers=self._headers) as stream:
                    stream.raise_for_status()
                    return await read_result(stream.aiter_lines())
        except TimeoutError:
            if accepted and endpoint in SLOW_ENDPOINTS:
                raise RequestFailed(f"no answer of /{endpoint} within {self.timeout} s") from None
            raise

    async def _post(self, endpoint: str, inputs: dict) -> str:
        """Call an endpoint and return the URL of the result."""
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
        """Look up the URL of a Space by its Hub id.

        A private Space is called with the same token as the Hub, over HTTPS only.
        """
        try:
            info = await asyncio.to_thread(HfApi().space_info, self.name, timeout=self.timeout)
        except (HfHubHTTPError, ValueError) as error:  # ValueError: an invalid name or proxy URL
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
        """Return the HTTP client for a URL. The environment's proxies and certificates apply to other machines only."""
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
                    f"{describe(error)}; fix or unset ALL_PROXY, HTTP_PROXY, HTTPS_PROXY, SSL_CERT_FILE, SSL_CERT_DIR"
                ) from None
        return self._clients[kind]


def is_url(name: str) -> bool:
    """Return whether a name is an HTTP URL.

    Examples
    --------
    >>> is_url("https://example.org"), is_url("owner/name")
    (True, False)
    """
    try:
        url = urlsplit(name)
        return url.scheme in ("http", "https") and bool(httpx.URL(name).host and url.hostname) and " " not in name
    except (ValueError, httpx.InvalidURL):
        return False


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine, which no proxy can reach.

    Examples
    --------
    >>> is_this_machine("127.0.0.1"), is_this_machine("example.org")
    (True, False)
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def follow_to_https(response: httpx.Response) -> str:
    """Return the target of a redirect from HTTP to HTTPS of the same host.

    Raises
    ------
    SpaceMisconfigured
        If it redirects elsewhere, where the request must not be sent.
    """
    asked, target = response.url, response.url.join(response.headers.get("Location", ""))
    if (asked.scheme, target.scheme) != ("http", "https") or (asked.host, asked.path) != (target.host, target.path):
        shown = target.copy_with(query=None, fragment=None)
        raise SpaceMisconfigured(f"it redirects to {shown}; set TAGGER_SPACE to the address of the Space itself")
    return str(target.copy_with(query=None, fragment=None))


def check_status(response: httpx.Response) -> None:
    """Raise the exception for the status of a response, unless it is a success."""
    status = response.status_code
    if status in DENIED:
        raise SpaceMisconfigured(f"it answers with status {status}; {TOKEN_ADVICE}")
    if status == 413:
        raise RequestRefused("The request is too long for the tagger's server: send fewer questions at a time.")
    if 400 <= status < 500 and status not in (408, 429):
        raise RequestFailed(f"it refuses the request with status {status}")
    response.raise_for_status()


async def read_result(lines) -> Any:
    """Read the result of a Gradio event from the lines of its server-sent events.

    Raises
    ------
    RequestRefused
        If the Space rejects the inputs; with its message.
    RequestFailed
        If the event failed otherwise.
    ValueError
        If the stream ended without a result.
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
            raise RequestFailed("it failed to answer; see its own log")
    raise ValueError("the stream ended without a result")


def has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Return whether an error, or one in its chain of causes, is an instance of ``kind``."""
    while error and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def describe(error: Exception) -> str:
    """Return an error as one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
