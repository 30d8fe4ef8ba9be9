"""Pages by plain HTTP, for sites that serve them whole to a polite client: the Browser's place without a browser."""

import requests

from scraper.pages import Page
from scraper.politeness import TIMEOUT_S, RetryLater


class PlainClient:
    """One HTTP session, which a worker keeps for all of its pages."""

    def __init__(self, agent: str) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = agent

    def get(self, url: str, ready: str) -> Page:
        """Return the page at ``url`` as the server sent it; ``ready`` is for browsers, whose pages come bit by bit.

        Raises
        ------
        RetryLater : no answer in time, or no connection.
        """
        try:
            response = self._session.get(url, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            raise RetryLater(type(error).__name__) from error
        if "charset" not in response.headers.get("Content-Type", ""):
            response.encoding = response.apparent_encoding
        return Page(response.url, response.status_code, response.headers, response.text)

    def close(self) -> None:
        """End the session."""
        self._session.close()

    kill = close
