"""axe-core (https://github.com/dequelabs/axe-core) in a real browser finds nothing serious on any page of both apps."""

import os
import re
import sys
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as expected

from app import CSS
from tests.test_apps import QUESTION, ROOT, form, form_server, free_port, space, space_folder, wait_for  # noqa: F401

AXE = Path(sys.prefix) / "axe.min.js"
SIZES, SCHEMES = {"phone": 360, "desktop": 1400}, ("light", "dark")
SERIOUS = {"serious", "critical"}
COLOURS = """
const style = (selector) => getComputedStyle(document.querySelector(selector));
return [style("#suggested .tag").backgroundColor, style("#suggested .tag").color, style("#suggested .bar").fill,
        style(".note").color, style("#question button, #ask").backgroundColor];
"""


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in SCHEMES], ids="-".join)
def screen(request, browser):
    """The browser at a width and in a colour scheme."""
    size, scheme = request.param
    metrics = {"width": SIZES[size], "height": 900, "deviceScaleFactor": 1, "mobile": size == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_feature]})
    browser.tag_scheme = scheme
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def check_page(screen, state: str) -> None:
    """Fail on a serious finding, or if the page is wider than the screen; keep a picture where TAGGER_PICTURES says."""
    screen.execute_script(AXE.read_text(encoding="utf-8"))
    found = screen.execute_async_script("axe.run().then(arguments[arguments.length - 1])")["violations"]
    serious = [
        f"{state}: {finding['id']}, {finding['impact']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
        for finding in found
        if finding["impact"] in SERIOUS
        for node in finding["nodes"]
    ]
    assert not serious, "\n".join(serious)
    assert screen.execute_script("return document.documentElement.scrollWidth <= innerWidth"), state
    if folder := os.environ.get("TAGGER_PICTURES"):
        width = screen.execute_script("return innerWidth")
        screen.save_screenshot(str(Path(folder) / f"{state}-{width}-{screen.tag_scheme}.png"))


def send(screen, title: str, description: str = "") -> None:
    for name, text in (("title", title), ("description", description)):
        screen.find_element(By.ID, name).clear()
        screen.find_element(By.ID, name).send_keys(text)
    screen.find_element(By.CSS_SELECTOR, "#question button").click()


def test_the_form_in_every_state(form, screen):  # noqa: F811
    screen.get(form)
    check_page(screen, "form-empty")
    send(screen, **QUESTION)
    wait_for(screen, expected.presence_of_element_located((By.ID, "suggested")))
    check_page(screen, "form-answer")
    screen.find_element(By.ID, "why").click()
    wait_for(screen, expected.presence_of_element_located((By.CSS_SELECTOR, ".words mark")))
    screen.find_element(By.CSS_SELECTOR, "#history summary").click()
    check_page(screen, "form-explanation")
    send(screen, " ")
    wait_for(screen, expected.presence_of_element_located((By.ID, "problem")))
    check_page(screen, "form-problem")
    screen.get(f"{form}/nowhere")
    check_page(screen, "form-not-found")


def test_the_form_without_its_space_and_without_an_answer_that_fits(screen, tmp_path):
    from tests.tiny_model import build_model_folder

    lost = f"http://127.0.0.1:{free_port()}"
    with form_server(lost, timeout=1, TAGGER_BROWSER_PAGE="http://127.0.0.1:8080") as url:
        screen.get(url)
        send(screen, "python")
        wait_for(screen, expected.presence_of_element_located((By.ID, "retry")))
        check_page(screen, "form-unavailable")
    model = build_model_folder(tmp_path / "model", min_confidence=0.9)
    with form_server(lost, timeout=1, TAGGER_MODEL=str(model)) as url:
        screen.get(url)
        send(screen, "csv")
        wait_for(screen, expected.presence_of_element_located((By.ID, "stand-in")))
        assert "No tag clearly fits" in screen.find_element(By.ID, "doubt").text
        check_page(screen, "form-doubt")


def test_the_gradio_page_in_every_state(space, screen):  # noqa: F811
    screen.get(f"{space}/?__theme={screen.tag_scheme}")
    ask = wait_for(screen, expected.element_to_be_clickable((By.ID, "ask")))
    check_page(screen, "gradio-empty")
    ask.click()
    wait_for(screen, expected.text_to_be_present_in_element((By.TAG_NAME, "body"), "Write a title or a description"))
    check_page(screen, "gradio-problem")
    screen.find_element(By.CSS_SELECTOR, "#title :is(input, textarea)").send_keys(QUESTION["title"])
    screen.find_element(By.CSS_SELECTOR, "#description textarea").send_keys(QUESTION["description"])
    ask.click()
    wait_for(screen, expected.presence_of_element_located((By.ID, "suggested")))
    screen.find_element(By.ID, "why").click()
    wait_for(screen, expected.presence_of_element_located((By.CSS_SELECTOR, "#words mark")))
    check_page(screen, "gradio-answer")


def test_both_apps_have_the_same_colours(form, space, screen):  # noqa: F811
    colours = []
    for url in (form, f"{space}/?__theme={screen.tag_scheme}"):
        screen.get(url)
        field = (By.CSS_SELECTOR, "input#title, #title :is(input, textarea)")
        wait_for(screen, expected.element_to_be_clickable(field)).send_keys(QUESTION["title"], Keys.ENTER)
        wait_for(screen, expected.presence_of_element_located((By.ID, "suggested")))
        colours.append(screen.execute_script(COLOURS))
    assert colours[0] == colours[1]


def test_colours_are_defined_in_one_file():
    styles = {path.name: path for folder in ("deployment", "webapp") for path in (ROOT / folder).rglob("*.css")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in styles.items()} | {"app.py": CSS}
    assert [name for name, text in texts.items() if re.search("#[0-9a-f]{3}|rgb|hsl", text)] == ["colours.css"]
