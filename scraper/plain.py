"""Fetch pages by plain HTTP: the alternative to Browser for sites that serve complete pages without JavaScript."""

import requests

from scraper.pages import Page
from scraper.politeness import ask, redirect_target


class PlainClient:
    """One HTTP session; each worker uses one for all of its pages."""

    def __init__(self, agent: str) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = agent

    def get(self, url: str, ready: str) -> Page:
        """Return the page at ``url`` as the server sent it; ``ready`` is ignored, only browsers need it.

        Raises
        ------
        RetryLater, FetchError
            As :func:`ask`.
        """
        response = ask(self._session, url)
        if "charset" not in response.headers.get("Content-Type", ""):
            response.encoding = response.apparent_encoding
        return Page(response.url, response.status_code, response.headers, response.text, redirect_target(response))

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    kill = close
