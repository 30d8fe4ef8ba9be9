"""The Stack Exchange API over HTTP, with its manners: backoff, quota, throttling, and a pause between two calls."""

import os
import sys
import time
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from scraper.api_answers import parse_wrapper
from scraper.politeness import LONGEST_PAUSE_S, TIMEOUT_S, HostGate, RetryLater, StopRun, check_status, user_agent
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
        self._address = address.rstrip("/")
        self._common = {"site": urlsplit(site).netloc, "pagesize": PAGE_SIZE}
        if key := os.environ.get(KEY_VARIABLE):
            self._common["key"] = key
        self._gate = HostGate(delay_s)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = user_agent(contact)
        self._open_at: dict[str, float] = {}  # method: time.monotonic() before which it must not be called

    def get(self, method: str, **parameters: object) -> dict:
        """Call a method, again and again while its errors pass, and return the answer's wrapper.

        Raises
        ------
        StopRun : the quota is spent, the API refuses the call, or its errors do not pass.
        """
        if self.quota == 0:
            mend = "" if "key" in self._common else f"; a key in {KEY_VARIABLE} raises it"
            raise StopRun(f"the API's quota of today is used up: run again tomorrow to go on from here{mend}")
        host = urlsplit(self._address).netloc
        try:
            answer = self._gate.retrying(host)(self._call, method, parameters, host)
        except RetryLater as error:
            raise StopRun(f"{self._address}/{method} does not answer ({error}): run again later") from error
        self.quota = answer.get("quota_remaining", self.quota)
        pause_s = float(answer.get("backoff", 0))
        if pause_s > LONGEST_PAUSE_S:
            raise StopRun(f"{host} asks not to call {method} for {pause_s / 60:.0f} minutes: run again after that")
        if pause_s >= 1:
            tqdm.write(f"{host} asks not to call {method} for {pause_s:.0f} s", file=sys.stderr)
        self._open_at[method] = time.monotonic() + pause_s
        return answer

    def _call(self, method: str, parameters: dict, host: str) -> dict:
        time.sleep(max(0.0, self._open_at.get(method, 0.0) - time.monotonic()))
        with self._gate.turn(host):
            try:
                response = self._session.get(
                    f"{self._address}/{method}", params={**self._common, **parameters}, timeout=TIMEOUT_S
                )
            except requests.RequestException as error:
                raise RetryLater(type(error).__name__) from error
            if "challenge" in response.headers.get("cf-mitigated", ""):
                raise StopRun(f"{host} asks for a proof of being human: wait some hours, then run again to go on")
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            if not is_json and response.status_code != 400:  # errors of the API itself are JSON with status 400
                check_status(response.status_code, response.headers.get("Retry-After"))
            return parse_wrapper(response.text, f"{self._address}/{method}")
