"""The Stack Exchange API over HTTP, with its manners: backoff, quota, throttling, and a pause between two calls."""

import os
import sys
import time
from collections.abc import Sequence

import requests
from tqdm import tqdm

from scraper.addresses import host_of
from scraper.api_answers import backoff, parse_wrapper
from scraper.politeness import (
    LONGEST_PAUSE_S,
    FetchError,
    HostGate,
    StopRun,
    ask,
    check_status,
    redirect_target,
    user_agent,
)
from scraper.proxies import exempt_this_machine

ADDRESS = "https://api.stackexchange.com/2.3"
KEY_VARIABLE = "STACK_EXCHANGE_KEY"
PAGE_SIZE = 100  # the most that the API gives
KEYLESS_PAGES = 25  # from the next on, a list without a key is refused


class Api:
    """The methods of the API, for one site.

    Attributes
    ----------
    quota : calls left for today as the last answer told, None before the first.
    """

    def __init__(self, address: str, site: str, delay_s: float, contact: str | None) -> None:
        """Prepare the calls; the environment's STACK_EXCHANGE_KEY raises the quota.

        Parameters
        ----------
        address : where the API is, such as ADDRESS.
        site : the site's address; the API knows it by its host.
        delay_s : least seconds between two calls.
        contact : address or mail that the User-Agent carries.
        """
        exempt_this_machine()
        self.quota: int | None = None
        self._address = address
        self._common = {"site": host_of(site), "pagesize": PAGE_SIZE}
        if key := os.environ.get(KEY_VARIABLE):
            self._common["key"] = key
        self._gate = HostGate(delay_s)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = user_agent(contact)
        self._open_at: dict[str, float] = {}  # method: time.monotonic() before which it must not be called

    def get(self, method: str, ids: Sequence[int] = (), **parameters: object) -> dict:
        """Call a method, again and again while its errors pass, and return the answer's wrapper.

        Parameters
        ----------
        method : such as "questions".
        ids : what the method is asked for, at most PAGE_SIZE; without any it lists all.
        parameters : further ones of the method.

        Raises
        ------
        StopRun : the quota is spent, the API refuses the call, or its errors do not pass.
        """
        if self.quota == 0:
            mend = "" if "key" in self._common else f"; a key in {KEY_VARIABLE} raises it"
            raise StopRun(f"the API's quota of today is used up: run again tomorrow to go on from here{mend}")
        host = host_of(self._address)
        path = f"{method}/{';'.join(map(str, ids))}" if ids else method
        try:
            answer = self._gate.retrying(host)(self._call, method, path, parameters, host)
        except FetchError as error:
            raise StopRun(f"{self._address}/{method} does not answer ({error}): run again later") from error
        self.quota = answer.get("quota_remaining", self.quota)
        pause_s = backoff(answer)
        if pause_s > LONGEST_PAUSE_S:
            raise StopRun(f"{host} asks not to call {method} for {pause_s / 60:.0f} minutes: run again after that")
        if pause_s >= 1:
            tqdm.write(f"{host} asks not to call {method} for {pause_s:.0f} s", file=sys.stderr)
        self._open_at[method] = time.monotonic() + pause_s
        return answer

    def _call(self, method: str, path: str, parameters: dict, host: str) -> dict:
        time.sleep(max(0.0, self._open_at.get(method, 0.0) - time.monotonic()))
        with self._gate.turn(host):
            # A redirect is not followed: to another host, the key would go with it.
            response = ask(self._session, f"{self._address}/{path}", params={**self._common, **parameters})
            if response.is_redirect:
                target = redirect_target(response).partition("?")[0].removesuffix(f"/{path}")
                raise StopRun(f"{self._address} sends on to {target}: give that as --api if you trust it")
            if "challenge" in response.headers.get("cf-mitigated", ""):
                raise StopRun(f"{host} asks for a proof of being human: wait some hours, then run again to go on")
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            if not is_json and response.status_code != 400:  # errors of the API itself are JSON with status 400
                check_status(response.status_code, response.headers.get("Retry-After"))
            return parse_wrapper(response.text, f"{self._address}/{method}")
