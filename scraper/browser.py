"""A headless Chromium that a worker keeps for all of its pages, driven by Selenium."""

import json
import os
import shutil
import sys
from tempfile import TemporaryDirectory
from typing import Any

from requests.structures import CaseInsensitiveDict
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from urllib3.exceptions import HTTPError

from scraper.pages import Page
from scraper.politeness import TIMEOUT_S, RetryLater, StopRun
from scraper.processes import kill_tree, program_options

# Where none of these is, as on Windows, Selenium finds Chrome in its usual place, or fetches a Chrome for Testing.
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
ARGUMENTS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Chromium ends when the pipe to its driver does, however the driver ended.
    "--remote-debugging-pipe",
)
BLOCK = 2  # Chromium's "never" for a kind of content
# Questions come whole with the page. Scripts would only load advertisements and replace LaTeX by its picture.
PREFERENCES = {
    "profile.managed_default_content_settings.images": BLOCK,
    "profile.managed_default_content_settings.javascript": BLOCK,
}
NOT_NEEDED = ["*.css", "*.css?*", "*.woff", "*.woff2", "*.ico", "*.ico?*"]
INSTALL = "install Chrome, or Chromium and its driver, e.g. with: apt-get install chromium chromium-driver"


class Browser:
    """One browser, started at its first page and started anew after a crash."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._driver: webdriver.Chrome | None = None
        self._folder: TemporaryDirectory | None = None

    def get(self, url: str, ready: str) -> Page:
        """Return the page at ``url``, once an element of the CSS selector ``ready`` is there or nothing more comes.

        Raises
        ------
        RetryLater : no answer in time, no connection, or a crash of the browser.
        StopRun : there is no browser, or it does not start.
        """
        if self._driver is None:
            self._start()
        try:
            return self._load(url, ready)
        except TimeoutException as error:
            self.kill()
            raise RetryLater(f"no answer within {TIMEOUT_S} s") from error
        except WebDriverException as error:
            reason = _first_line(error)
            if "net::ERR_" not in reason:
                self.kill()
                reason = f"the browser crashed: {reason}"
            raise RetryLater(reason) from error
        except (HTTPError, OSError) as error:
            self.kill()
            raise RetryLater("the browser crashed") from error

    def close(self) -> None:
        """Quit the browser; for a browser at rest."""
        driver, self._driver = self._driver, None
        if driver:
            driver.quit()
            self._folder.cleanup()

    def kill(self) -> None:
        """End the browser at once, also from another thread while a page is loading."""
        driver, self._driver = self._driver, None
        if driver:
            kill_tree(driver.service.process)  # the driver and all of Chromium
            self._folder.cleanup()

    def _start(self) -> None:
        self._folder = TemporaryDirectory(prefix="question-tagger-", ignore_cleanup_errors=True)
        os.environ.setdefault("SE_AVOID_STATS", "true")  # Selenium Manager would report its use
        try:
            self._driver = webdriver.Chrome(options=_options(self._agent), service=_service(self._folder.name))
        except (WebDriverException, OSError) as error:
            self._folder.cleanup()
            raise StopRun(f"no browser could be started ({_first_line(error)}): {INSTALL}") from error
        self._driver.set_page_load_timeout(TIMEOUT_S)
        self._driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": NOT_NEEDED})
        self._driver.command_executor.client_config.timeout = 2 * TIMEOUT_S

    def _load(self, url: str, ready: str) -> Page:
        driver = self._driver
        assert driver is not None  # get() has started it
        driver.get_log("performance")  # what the page before has left
        driver.get(url)
        wait = WebDriverWait(driver, TIMEOUT_S, poll_frequency=0.05)
        response: Any = wait.until(_document_response)  # type: ignore[arg-type]
        wait.until(lambda _: driver.find_elements(By.CSS_SELECTOR, ready) or _is_complete(driver))
        headers = CaseInsensitiveDict(response["headers"])
        return Page(driver.current_url, response["status"], headers, driver.page_source)


def _options(agent: str) -> webdriver.ChromeOptions:
    options = webdriver.ChromeOptions()
    options.page_load_strategy = "eager"
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)), "")
    for argument in (*ARGUMENTS, f"--user-agent={agent}"):
        options.add_argument(argument)
    if sys.platform != "win32" and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.add_experimental_option("prefs", PREFERENCES)
    # Selenium tells neither status nor headers of a page; Chromium's log of the network does.
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
    return options


def _service(folder: str) -> Service:
    """The driver: the system's, or else the one that Selenium Manager finds; its temporary files go into ``folder``."""
    return Service(
        executable_path=shutil.which("chromedriver"),
        env=os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
        popen_kw=program_options(),
    )


def _document_response(driver: webdriver.Chrome) -> dict | None:
    """The response to the main frame's document in the log since it was last read."""
    found = None
    for entry in driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.responseReceived" and _is_main_document(event["params"], driver):
            found = event["params"]["response"]
    return found


def _is_main_document(parameters: dict, driver: webdriver.Chrome) -> bool:
    # The main frame has the id of its window; a frame inside the page has another.
    return parameters["type"] == "Document" and parameters["frameId"] == driver.current_window_handle


def _is_complete(driver: webdriver.Chrome) -> bool:
    return driver.execute_script("return document.readyState") == "complete"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "msg", None) or error).strip().partition("\n")[0] or type(error).__name__
