"""Fixtures that several test files share."""

import os
import sys

import pytest
from selenium import webdriver

from data.sample_site.server import SampleSite
from scraper.proxies import exempt_this_machine

# One thread for each worker of pytest-xdist, and for each process that it starts: threads of OpenMP that wait in a loop
# would take the cores from the other workers. torch and onnxruntime read it when they are imported, below the tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Containers often forbid to write bytecode. Each of hundreds of processes would then compile the libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

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
