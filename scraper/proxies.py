"""Exempt this machine from the environment's proxies."""

import os

THIS_MACHINE = "localhost,127.0.0.1,::1"


def exempt_this_machine() -> None:
    """Make requests, Selenium and Chromium connect to this machine directly, without HTTP_PROXY and similar settings.

    Selenium controls its driver by HTTP on this machine, and the sample site runs here.
    """
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if THIS_MACHINE not in named:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (named, THIS_MACHINE)))
