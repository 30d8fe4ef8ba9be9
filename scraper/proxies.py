"""The environment's proxies, which cannot reach this machine."""

import os

THIS_MACHINE = "localhost,127.0.0.1,::1"


def exempt_this_machine() -> None:
    """Have requests, Selenium and Chromium ask this machine directly, whatever HTTP_PROXY and its kin say.

    Selenium speaks with its driver by HTTP on this machine, and the sample site runs here.
    """
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if THIS_MACHINE not in named:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (named, THIS_MACHINE)))
