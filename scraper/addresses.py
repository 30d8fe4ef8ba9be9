"""What makes an address: pure functions on urls."""

import re
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
NO_HOST = re.compile(r"[\s\x00-\x20\x7f\\^|<>\"{}`\ud800-\udfff]")


def web_address(text: str) -> str:
    """Return an address without the blanks around it.

    Raises
    ------
    ValueError : it is not of http or https, or names no host that could be asked, such as ``http://[``.
    """
    address = text.strip()
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0  # the port raises, too
    except ValueError:
        named = False
    if not named or parts.scheme not in DEFAULT_PORTS or NO_HOST.search(parts.netloc):
        raise ValueError(f"{text[:80]!r} is no address that starts with https:// or http:// and names a host")
    return address


def host_of(url: str) -> str:
    """Return the host of an address and its port unless that is the scheme's own: two such are one site."""
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix(DEFAULT_PORTS.get(parts.scheme, ""))


def is_of_site(url: str, site: str) -> bool:
    """Whether an address, or what is taken for one, has the site's host."""
    try:
        return host_of(web_address(url)) == host_of(site)
    except ValueError:
        return False
