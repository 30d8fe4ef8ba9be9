"""HTTP client of the Stack Exchange API: respects backoff, quota and throttling, and waits between calls."""

import os
import sys
import time
from collections.abc import Sequence

import requests
from tqdm import tqdm

from scraper.addresses import host_of
from scraper.api_answers import backoff, parse_wrapper
from scraper.politeness import (
    MAX_PAUSE_S,
    FetchError,
    HostGate,
    StopRun,
    ask,
    check_status,
    redirect_target,
    user_agent,
)
from scraper.proxies import exempt_this_machine
from tagging.stack_exchange import API_PAGE_SIZE

KEY_VARIABLE = "STACK_EXCHANGE_KEY"
KEYLESS_PAGES = 25  # without a key, the API rejects later pages


class Api:
    """Client of the API for one site.

    Attributes
    ----------
    quota
        Remaining calls of today according to the last response, None before the first call.
    """

    def __init__(self, address: str, site: str, delay_s: float, contact: str | None) -> None:
        """Create a client; a key in the environment variable STACK_EXCHANGE_KEY raises the quota.

        Parameters
        ----------
        address
            Base URL of the API, such as tagging.stack_exchange.API.
        site
            URL of the site; the API identifies it by its host.
        delay_s
            Minimum delay between two calls, in seconds.
        contact
            URL or e-mail address for the User-Agent header.
        """
        exempt_this_machine()
        self.quota: int | None = None
        self._address = address
        self._common = {"site": host_of(site), "pagesize": API_PAGE_SIZE}
        if key := os.environ.get(KEY_VARIABLE):
            self._common["key"] = key
        self._gate = HostGate(delay_s)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = user_agent(contact)
        self._open_at: dict[str, float] = {}  # method: time.monotonic() before which it must not be called

    def get(self, method: str, ids: Sequence[int] = (), **parameters: object) -> dict:
        """Call a method, retrying temporary errors, and return the wrapper of the response.

        Parameters
        ----------
        method
            Name of the method, such as "questions".
        ids
            Ids to request, at most API_PAGE_SIZE; if empty, the method lists everything.
        parameters
            Further parameters of the method.

        Raises
        ------
        StopRun
            The quota is exhausted, the API rejects the call, or all retries failed.
        """
        if self.quota == 0:
            hint = "" if "key" in self._common else f"; a key in {KEY_VARIABLE} raises the quota"
            raise StopRun(f"the API's daily quota is used up: run again tomorrow to resume{hint}")
        host = host_of(self._address)
        path = f"{method}/{';'.join(map(str, ids))}" if ids else method
        try:
            answer = self._gate.retrying(host)(self._call, method, path, parameters, host)
        except FetchError as error:
            raise StopRun(f"{self._address}/{method} does not answer ({error}): run again later") from error
        self.quota = answer.get("quota_remaining", self.quota)
        pause_s = backoff(answer)
        if pause_s > MAX_PAUSE_S:
            raise StopRun(f"{host} asks not to call {method} for {pause_s / 60:.0f} minutes: run again after that")
        if pause_s >= 1:
            tqdm.write(f"{host} asks not to call {method} for {pause_s:.0f} s", file=sys.stderr)
        self._open_at[method] = time.monotonic() + pause_s
        return answer

    def _call(self, method: str, path: str, parameters: dict, host: str) -> dict:
        time.sleep(max(0.0, self._open_at.get(method, 0.0) - time.monotonic()))
        with self._gate.turn(host):
            # Redirects are not followed: the key would be sent to the other host.
            response = ask(self._session, f"{self._address}/{path}", params={**self._common, **parameters})
            if response.is_redirect:
                target = redirect_target(response).partition("?")[0].removesuffix(f"/{path}")
                raise StopRun(f"{self._address} redirects to {target}: pass that as --api if you trust it")
            if "challenge" in response.headers.get("cf-mitigated", ""):
                raise StopRun(f"{host} shows a bot check (CAPTCHA): wait some hours, then run again to resume")
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            if not is_json and response.status_code != 400:  # the API reports its own errors as JSON with status 400
                check_status(response.status_code, response.headers.get("Retry-After"))
            return parse_wrapper(response.text, f"{self._address}/{method}")
