"""A headless Chromium, driven by Selenium; each worker uses one for all of its pages."""

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

# If none of these exists, as on Windows, Selenium uses an installed Chrome or downloads Chrome for Testing.
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
    # Chromium exits when the pipe to its driver closes, however the driver ended.
    "--remote-debugging-pipe",
)
BLOCK = 2  # value of a content setting that blocks this type of content
# The HTML contains the whole question. Scripts would only load advertisements and replace LaTeX by rendered formulas.
PREFERENCES = {
    "profile.managed_default_content_settings.images": BLOCK,
    "profile.managed_default_content_settings.javascript": BLOCK,
}
NOT_NEEDED = ["*.css", "*.css?*", "*.woff", "*.woff2", "*.ico", "*.ico?*"]
INSTALL = "install Chrome, or Chromium and its driver, e.g. with: apt-get install chromium chromium-driver"


class Browser:
    """One browser, started on the first request and restarted after a crash."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._driver: webdriver.Chrome | None = None
        self._folder: TemporaryDirectory | None = None

    def get(self, url: str, ready: str) -> Page:
        """Load ``url`` and return the page once the CSS selector ``ready`` matches or loading has finished.

        Raises
        ------
        RetryLater
            Timeout, connection error, or a crash of the browser.
        StopRun
            No browser is installed, or it does not start.
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
        """Quit the browser; only valid while no page is loading."""
        driver, self._driver = self._driver, None
        if driver:
            driver.quit()
            self._folder.cleanup()

    def kill(self) -> None:
        """Kill the browser at once; may be called from another thread while a page is loading."""
        driver, self._driver = self._driver, None
        if driver:
            kill_tree(driver.service.process)  # the driver and all of Chromium
            self._folder.cleanup()

    def _start(self) -> None:
        self._folder = TemporaryDirectory(prefix="question-tagger-", ignore_cleanup_errors=True)
        os.environ.setdefault("SE_AVOID_STATS", "true")  # disable Selenium Manager's telemetry
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
        driver.get_log("performance")  # discard the entries of the previous page
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
    # Selenium does not expose the status and headers of a page; Chromium's network log does.
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
    return options


def _service(folder: str) -> Service:
    """Return the driver installed on the system, or the one of Selenium Manager; temporary files go to ``folder``."""
    return Service(
        executable_path=shutil.which("chromedriver"),
        env=os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
        popen_kw=program_options(),
    )


def _document_response(driver: webdriver.Chrome) -> dict | None:
    """Return the response for the main document from the new entries of the network log, None if there is none."""
    found = None
    for entry in driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.responseReceived" and _is_main_document(event["params"], driver):
            found = event["params"]["response"]
    return found


def _is_main_document(parameters: dict, driver: webdriver.Chrome) -> bool:
    # The main frame's id is the window handle; frames inside the page have other ids.
    return parameters["type"] == "Document" and parameters["frameId"] == driver.current_window_handle


def _is_complete(driver: webdriver.Chrome) -> bool:
    return driver.execute_script("return document.readyState") == "complete"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "msg", None) or error).strip().partition("\n")[0] or type(error).__name__
