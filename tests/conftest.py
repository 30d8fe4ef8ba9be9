"""Fixtures that several test files share."""

import pytest
from selenium import webdriver

from data.sample_site.server import SampleSite
from scraper.proxies import exempt_this_machine

exempt_this_machine()  # every server of the tests runs here


@pytest.fixture(scope="session")
def sample_site():
    """The sample site without faults, 60 questions on two listing pages, one of them deleted."""
    with SampleSite(n=60) as site:
        yield site


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of 1280 by 1000 pixels that logs what it asks of the network."""
    options = webdriver.ChromeOptions()
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"):
        options.add_argument(f"--{switch}")
    for switch in ("disable-background-networking", "disable-component-update", "disable-sync"):
        options.add_argument(f"--{switch}")
    options.add_argument("--window-size=1280,1000")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()
