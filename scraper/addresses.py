"""Validate and compare URLs. Pure functions."""

import re
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
NO_HOST = re.compile(r"[\s\x00-\x20\x7f\\^|<>\"{}`\ud800-\udfff]")


def web_address(text: str) -> str:
    """Return a URL without surrounding whitespace.

    Raises
    ------
    ValueError
        The scheme is not http or https, or the host is missing or invalid, as in ``http://[``.

    Examples
    --------
    >>> web_address(" https://cooking.stackexchange.com ")
    'https://cooking.stackexchange.com'
    """
    address = text.strip()
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0  # the port may raise, too
    except ValueError:
        named = False
    if not named or parts.scheme not in DEFAULT_PORTS or NO_HOST.search(parts.netloc):
        raise ValueError(f"{text[:80]!r} is not a URL that starts with https:// or http:// and has a host")
    return address


def host_of(url: str) -> str:
    """Return the host of a URL, with its port unless it is the scheme's default port.

    Examples
    --------
    >>> host_of("https://Example.org:443/questions")
    'example.org'
    """
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix(DEFAULT_PORTS.get(parts.scheme, ""))


def is_of_site(url: str, site: str) -> bool:
    """Return whether ``url`` is a valid URL on the host of ``site``."""
    try:
        return host_of(web_address(url)) == host_of(site)
    except ValueError:
        return False
