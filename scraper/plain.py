"""Pages by plain HTTP, for sites that serve them whole to a polite client: the Browser's place without a browser."""

import requests

from scraper.pages import Page
from scraper.politeness import ask, redirect_target


class PlainClient:
    """One HTTP session, which a worker keeps for all of its pages."""

    def __init__(self, agent: str) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = agent

    def get(self, url: str, ready: str) -> Page:
        """Return the page at ``url`` as the server sent it; ``ready`` is for browsers, whose pages come bit by bit.

        Raises
        ------
        RetryLater, FetchError : as :func:`ask`.
        """
        response = ask(self._session, url)
        if "charset" not in response.headers.get("Content-Type", ""):
            response.encoding = response.apparent_encoding
        return Page(response.url, response.status_code, response.headers, response.text, redirect_target(response))

    def close(self) -> None:
        """End the session."""
        self._session.close()

    kill = close
