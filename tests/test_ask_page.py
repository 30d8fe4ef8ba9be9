"""The userscript of the ask page, in a real browser, on the sample site's ask page."""

import json
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from data.sample_site.server import SampleSite
from tests.test_accessibility import AXE
from tests.test_apps import ROOT, asked_hosts, form_server, free_port, wait_for
from tests.test_browser import Site as StaticSite
from tests.test_browser import build
from tests.tiny_model import build_model_folder

SCRIPT = ROOT / "deployment/browser/ask-page.user.js"
# A stand-in for the functions of a userscript manager that the script is granted; they keep everything in the page.
MANAGER = """
    window.stored = arguments[0];
    window.menu = {};
    window.GM_getValue = (key, otherwise) => key in stored ? stored[key] : otherwise;
    window.GM_setValue = (key, value) => { stored[key] = value; };
    window.GM_registerMenuCommand = (label, act) => { menu[label] = act; };
"""
EDITORS = {"stacks": "/questions/ask", "old": "/questions/ask?editor=old"}
TAG_INPUT = ".tag-editor input"
# Words of the tiny model: its answer to this question is python, deep-learning and neural-network, in this order.
TITLE, SUGGESTED = "python gradient layers", ["python", "deep-learning", "neural-network"]


@pytest.fixture(scope="module")
def site():
    with SampleSite(n=20) as site:
        yield site


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_model_folder(tmp_path_factory.mktemp("ask") / "model", min_confidence=0.6)


@pytest.fixture(scope="module")
def api(site, model):
    """A form whose REST API allows the sample site; a local model answers in place of its Space."""
    lost = f"http://127.0.0.1:{free_port()}"
    with form_server(lost, timeout=1, TAGGER_MODEL=str(model), TAGGER_ORIGINS=site.url) as url:
        yield url


@pytest.fixture(scope="module")
def tagger_pages(site, model, tmp_path_factory):
    """The server of built browser pages, from another origin than the sample site: "page" allows the sample site."""
    pages = StaticSite(tmp_path_factory.mktemp("pages"))
    result = build(model, pages.root / "other")
    assert result.returncode == 0, result.stderr
    shutil.copytree(pages.root / "other", pages.root / "page")
    embed = pages.root / "page/embed.html"
    text = embed.read_text(encoding="utf-8")
    assert text.count("http://127.0.0.1:8765") == 1
    embed.write_text(text.replace("http://127.0.0.1:8765", site.url), encoding="utf-8")
    pages.start()
    yield pages
    pages.stop()


@contextmanager
def stand_in_api(origin: str, status: int, body: object):
    """A server that gives every request the same answer, and allows one origin."""

    class Answer(BaseHTTPRequestHandler):
        def do_OPTIONS(self):
            self.reply(200, b"")

        def do_POST(self):
            self.reply(status, json.dumps(body).encode() if isinstance(body, dict) else body.encode())

        def reply(self, status: int, content: bytes):
            self.send_response(status)
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Headers", "Content-Type")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def host(url: str) -> str:
    return url.removeprefix("http://")


def open_ask_page(browser, url: str, path: str = EDITORS["stacks"], **settings: str) -> None:
    """Open a page of the sample site and run the userscript in it, with its settings for the site."""
    browser.get(url + path)
    run_script(browser, {host(url): settings} if settings else {})


def run_script(browser, stored: dict) -> None:
    browser.execute_script(MANAGER + SCRIPT.read_text(encoding="utf-8"), stored)


def row(browser):
    return browser.find_element(By.ID, "question-tagger-row").shadow_root


def line(browser) -> str:
    return row(browser).find_element(By.CSS_SELECTOR, "[role=status]").text


def chips(browser) -> list[str]:
    return browser.execute_script(
        "return [...document.getElementById('question-tagger-row')?.shadowRoot.querySelectorAll('#chips button') ?? []]"
        ".map((chip) => chip.textContent)"
    )


def numbered(tags: list[str], numbers=range(1, 6)) -> list[str]:
    return [f"{number}{tag}" for number, tag in zip(numbers, tags, strict=False)]


def entered(browser) -> list[str]:
    """Return the tags of the tag field, as the site would send them; they must be those that it shows."""
    shown, sent = browser.execute_script("""
        return [[...document.querySelectorAll(".tag-editor .rendered-element")].map((tag) => tag.textContent),
                document.getElementById("tagnames").value.split(" ").filter(Boolean)]""")
    assert shown == sent
    return sent


def write(browser, title: str, body: str = "") -> None:
    for field, text in (("title", title), ("wmd-input", body)):
        browser.find_element(By.ID, field).clear()
        browser.find_element(By.ID, field).send_keys(text)


def enter_tags(browser, *tags: str) -> None:
    for tag in tags:
        browser.find_element(By.CSS_SELECTOR, TAG_INPUT).send_keys(tag, " ")
    wait_for(browser, lambda _: set(tags) <= set(entered(browser)))


def click_chip(browser, number: int) -> None:
    row(browser).find_element(By.CSS_SELECTOR, f"#chips [data-number='{number}']").click()


def press_alt(browser, digit: int) -> None:
    key = {"key": str(digit), "code": f"Digit{digit}", "windowsVirtualKeyCode": 48 + digit, "modifiers": 1}
    for kind in ("rawKeyDown", "keyUp"):
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, **key})


def wait_for_chips(browser, expected: list[str]) -> None:
    wait_for(browser, lambda _: chips(browser) == expected)


def wait_for_line(browser, pattern: str) -> None:
    wait_for(browser, lambda _: re.search(pattern, line(browser)))


def posts_to(site) -> list[str]:
    return [entry.path for entry in site.log if entry.path.startswith("/questions/ask/")]


@pytest.fixture(params=EDITORS.values(), ids=EDITORS)
def page(request, browser, site, api):
    """The ask page with each of both tag editors, with the suggested tags of TITLE."""
    open_ask_page(browser, site.url, request.param, mode="api", address=api)
    write(browser, TITLE)
    wait_for_chips(browser, numbered(SUGGESTED))
    return browser


# ---- the header ----


def header() -> dict[str, list[str]]:
    block = SCRIPT.read_text(encoding="utf-8").partition("// ==/UserScript==")[0]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^// @([\w-]+) *(.*)$", block, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    "address, matches",
    [
        ("https://stackoverflow.com/questions/ask", True),
        ("https://pt.stackoverflow.com/questions/ask?title=x", True),
        ("https://datascience.stackexchange.com/questions/ask", True),
        ("https://mathoverflow.net/questions/ask", True),
        ("http://127.0.0.1:8765/questions/ask?editor=old", True),
        ("https://stackoverflow.com/questions/1/ask", False),
        ("https://stackoverflow.com/questions", False),
        ("https://stackoverflow.com.example.org/questions/ask", False),
        ("https://example.org/?https://stackoverflow.com/questions/ask", False),
    ],
)
def test_the_script_runs_on_ask_pages_only(address, matches):
    patterns = [re.escape(pattern).replace(r"\*\.", r"[\w.-]+\.").replace(r"\*", ".*") for pattern in header()["match"]]
    assert any(re.fullmatch(pattern, address) for pattern in patterns) is matches


def test_the_script_is_granted_what_it_uses_and_no_more():
    used = set(re.findall(r"\bGM_\w+", SCRIPT.read_text(encoding="utf-8").partition("*/")[2]))
    assert used == set(header()["grant"])
    assert {"name", "version", "license", "noframes"} <= header().keys()
    assert not {"require", "connect", "resource"} & header().keys()


# ---- suggested tags ----


def test_a_click_adds_exactly_that_tag(page):
    click_chip(page, 2)
    wait_for(page, lambda _: entered(page) == ["deep-learning"])
    assert chips(page) == ["1python", "3neural-network"]
    assert line(page) == "2 suggested tags:"


def test_alt_and_a_digit_add_exactly_that_tag_and_the_focus_stays(page):
    page.find_element(By.ID, "wmd-input").click()
    press_alt(page, 1)
    wait_for(page, lambda _: entered(page) == ["python"])
    press_alt(page, 3)
    wait_for(page, lambda _: entered(page) == ["python", "neural-network"])
    press_alt(page, 1)  # has been added
    press_alt(page, 5)  # there is no such tag
    wait_for_chips(page, ["2deep-learning"])
    assert entered(page) == ["python", "neural-network"]
    assert page.switch_to.active_element.get_property("id") == "wmd-input"
    assert page.find_element(By.ID, "wmd-input").get_property("value") == ""


def test_the_keyboard_reaches_every_tag_and_the_focus_goes_on_to_the_next(page):
    page.find_element(By.CSS_SELECTOR, TAG_INPUT).send_keys(Keys.TAB)
    for tag in SUGGESTED:
        assert page.execute_script("return document.activeElement.shadowRoot.activeElement.dataset.tag") == tag
        page.switch_to.active_element.send_keys(Keys.ENTER)
        wait_for(page, lambda _, tag=tag: entered(page)[-1:] == [tag])
    wait_for_line(page, "All suggested tags are there")
    assert page.switch_to.active_element == page.find_element(By.CSS_SELECTOR, TAG_INPUT)


def test_tags_that_are_there_are_not_offered_until_they_are_removed(page):
    enter_tags(page, "python")
    wait_for_chips(page, ["2deep-learning", "3neural-network"])
    page.find_element(By.CSS_SELECTOR, ".tag-editor .rendered-element > *").click()
    wait_for_chips(page, numbered(SUGGESTED))


def test_no_tag_is_offered_beyond_five(page):
    enter_tags(page, "a", "b", "c", "d")
    click_chip(page, 1)
    wait_for_line(page, r"has 5 tags, which is the limit\.$")
    assert chips(page) == []
    press_alt(page, 2)
    page.find_element(By.CSS_SELECTOR, ".tag-editor .rendered-element > *").click()  # removes a
    wait_for_chips(page, ["2deep-learning", "3neural-network"])
    assert entered(page) == ["b", "c", "d", "python"]


def test_half_a_word_in_the_tag_field_stays_there(page):
    field = page.find_element(By.CSS_SELECTOR, TAG_INPUT)
    field.send_keys("pan")
    click_chip(page, 2)
    wait_for(page, lambda _: entered(page) == ["deep-learning"])
    wait_for(page, lambda _: field.get_property("value") == "pan")
    field.send_keys(Keys.BACKSPACE * 3, "py")
    press_alt(page, 1)  # py was the start of python
    wait_for(page, lambda _: entered(page) == ["deep-learning", "python"])
    wait_for(page, lambda _: field.get_property("value") == "")


def test_a_field_that_does_not_take_the_tag_keeps_its_text(page):
    page.execute_script("const f = document.querySelector(arguments[0]); f.replaceWith(f.cloneNode())", TAG_INPUT)
    page.find_element(By.CSS_SELECTOR, TAG_INPUT).send_keys("own")
    click_chip(page, 1)
    wait_for_line(page, r"does not take python: type it there\.$")
    assert page.find_element(By.CSS_SELECTOR, TAG_INPUT).get_property("value") == "own"
    assert chips(page) == numbered(SUGGESTED)


def test_a_plain_tag_field_is_filled_as_well(browser, site, api):
    """The page without its own script, as while that has not loaded."""
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/static/ask.js"]})
    try:
        open_ask_page(browser, site.url, mode="api", address=api)
        browser.find_element(By.ID, "tagnames").send_keys("statistics python")
        write(browser, TITLE)
        wait_for_chips(browser, ["2deep-learning", "3neural-network"])
        click_chip(browser, 2)
        wait_for_chips(browser, ["3neural-network"])
        assert browser.find_element(By.ID, "tagnames").get_property("value") == "statistics python deep-learning"
    finally:
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def test_the_tags_follow_the_title_and_the_body(page):
    write(page, "nothing known", "gradient")
    wait_for_chips(page, ["1deep-learning"])
    page.find_element(By.ID, "wmd-input").send_keys(" everything python")
    wait_for(page, lambda _: len(chips(page)) == 5)
    assert chips(page)[:2] == ["1python", "2deep-learning"]
    write(page, "", "")
    wait_for(page, lambda _: not chips(page) and not line(page))


def test_a_draft_that_the_site_restores_is_read_without_a_keystroke(browser, site, api):
    browser.get(site.url + EDITORS["stacks"])
    browser.execute_script("document.getElementById('title').value = arguments[0]", TITLE)
    run_script(browser, {host(site.url): {"mode": "api", "address": api}})
    wait_for_chips(browser, numbered(SUGGESTED))


def test_one_line_says_that_no_tag_fits(page):
    write(page, "csv")  # its only tag is less probable than the model's min_confidence
    wait_for_line(page, r"^No tag clearly fits\.$")
    assert chips(page) == []


# ---- the tagger page in a frame ----


@pytest.mark.parametrize("end", ["", "index.html"])
def test_the_tagger_page_gives_the_tags_in_the_browser(browser, site, tagger_pages, end):
    open_ask_page(browser, site.url, mode="page", address=tagger_pages.url("page") + end)
    before = len(site.log)
    write(browser, TITLE, "shrubbery")
    wait_for_chips(browser, numbered(["python", "deep-learning", "<script>", "neural-network"]))
    click_chip(browser, 4)
    press_alt(browser, 1)
    wait_for(browser, lambda _: entered(browser) == ["neural-network", "python"])
    write(browser, "gradient")
    wait_for_chips(browser, ["1deep-learning"])
    write(browser, "csv")
    wait_for_line(browser, r"^No tag clearly fits\.$")
    assert site.log[before:] == []


def test_the_tagger_page_keeps_its_model_for_the_next_question(browser, site, tagger_pages):
    shutil.copytree(tagger_pages.root / "page", tagger_pages.root / "kept")
    for _ in range(2):
        open_ask_page(browser, site.url, mode="page", address=tagger_pages.url("kept"))
        write(browser, TITLE)
        wait_for_chips(browser, numbered(SUGGESTED))
        shutil.rmtree(tagger_pages.root / "kept/model", ignore_errors=True)


def test_the_frame_is_neither_seen_nor_reached_by_the_keyboard(browser, site, tagger_pages):
    open_ask_page(browser, site.url, mode="page", address=tagger_pages.url("page"))
    write(browser, TITLE)
    wait_for_chips(browser, numbered(SUGGESTED))
    (frame,) = browser.find_elements(By.TAG_NAME, "iframe")
    assert not frame.is_displayed()
    assert findings(browser, "body") == []
    browser.execute_script("menu['Suggested tags: settings']()")
    save_settings(browser, "off")
    assert browser.find_elements(By.TAG_NAME, "iframe") == []


def test_a_tagger_page_that_does_not_allow_the_site_says_so(browser, site, tagger_pages):
    address = tagger_pages.url("other")
    open_ask_page(browser, site.url, mode="page", address=address)
    write(browser, TITLE)
    wait_for_line(browser, f"^{re.escape(address)} does not allow this site\\.$")


def test_a_tagger_page_without_its_model_says_so_and_answers_once_it_is_back(browser, site, tagger_pages):
    shutil.copytree(tagger_pages.root / "page", tagger_pages.root / "damaged")
    model = tagger_pages.root / "damaged/model"
    model.rename(tagger_pages.root / "away")
    open_ask_page(browser, site.url, mode="page", address=tagger_pages.url("damaged"))
    write(browser, TITLE)
    wait_for_line(browser, r"^The tagger cannot be loaded: model/\S+ cannot be loaded: the server answers 404\.$")
    (tagger_pages.root / "away").rename(model)
    browser.find_element(By.ID, "title").send_keys(" ")
    wait_for_chips(browser, numbered(SUGGESTED))


def test_an_asterisk_allows_the_hosts_below_a_name_and_no_other(browser, site, tagger_pages):
    """Chromium leads each name below localhost to this machine."""
    port = site.url.rpartition(":")[2]
    shutil.copytree(tagger_pages.root / "page", tagger_pages.root / "below")
    embed = tagger_pages.root / "below/embed.html"
    embed.write_text(embed.read_text("utf-8").replace(site.url, f"http://*.localhost:{port}"), encoding="utf-8")
    settings = {"mode": "page", "address": tagger_pages.url("below")}
    open_ask_page(browser, f"http://localhost:{port}", **settings)
    write(browser, TITLE)
    wait_for_line(browser, r"does not allow this site\.$")
    open_ask_page(browser, f"http://ask.localhost:{port}", **settings)
    write(browser, TITLE)
    wait_for_chips(browser, numbered(SUGGESTED))


def test_the_built_page_offers_the_script_for_installation(tagger_pages):
    assert (tagger_pages.root / "page/ask-page.user.js").read_bytes() == SCRIPT.read_bytes()


# ---- what the script leaves alone ----


def test_the_site_gets_no_request_and_nothing_is_submitted(page, site):
    before, _ = len(site.log), asked_hosts(page)
    click_chip(page, 1)
    page.find_element(By.CSS_SELECTOR, TAG_INPUT).send_keys(Keys.ENTER)
    write(page, "gradient")
    wait_for_chips(page, ["1deep-learning"])
    assert [entry.path for entry in site.log[before:]] == []
    assert posts_to(site) == []
    assert asked_hosts(page) == {"127.0.0.1"}


def test_the_page_is_otherwise_as_it_was(page):
    """Without the row, the document and the style of its elements are those of the page without the script."""
    measure = """
        document.getElementById("question-tagger-row")?.remove();
        const styled = [...document.querySelectorAll("button, p, input, .row, span, h1")];
        return [document.documentElement.outerHTML, styled.map((one) => JSON.stringify(
          ["font", "color", "margin", "padding", "border"].map((name) => getComputedStyle(one)[name])))];
    """
    with_script = page.execute_script(measure)
    page.refresh()
    write(page, TITLE)
    assert page.execute_script(measure) == with_script


def test_the_pages_style_does_not_reach_the_row(page):
    sizes = "return [...arguments[0].querySelectorAll('.row, .row *')].map((one) => getComputedStyle(one).fontSize)"
    before = page.execute_script(sizes, row(page))
    page.execute_script("""
        const style = document.createElement("style");
        style.textContent = "* { font-size: 40px } button, p, span { padding: 50px; text-transform: uppercase }";
        document.head.append(style)""")
    assert page.execute_script(sizes, row(page)) == before
    assert chips(page) == numbered(SUGGESTED)


def test_on_a_page_without_a_tag_field_the_script_writes_one_line_to_the_console(browser, site, api):
    browser.get(site.url + "/questions")
    before = browser.execute_script("""
        window.said = [];
        console.info = (text) => said.push(text);
        return document.body.outerHTML""")
    run_script(browser, {host(site.url): {"mode": "api", "address": api}})
    wait_for(browser, lambda _: browser.execute_script("return said"))
    assert browser.execute_script("return said") == ["Question tagger: no tag field was found on this page."]
    assert browser.execute_script("return document.body.outerHTML") == before


# ---- when there is no answer ----


@pytest.mark.parametrize("mode", ["api", "page"])
def test_one_line_says_that_the_tagger_is_away(browser, site, mode):
    lost = f"http://127.0.0.1:{free_port()}"
    open_ask_page(browser, site.url, mode=mode, address=lost)
    write(browser, TITLE)
    wait_for_line(browser, f"^The tagger at {lost} does not answer\\.$")
    assert chips(browser) == []


def test_the_tags_come_once_the_form_answers_again(browser, site, api, tmp_path):
    open_ask_page(browser, site.url, mode="api", address=f"http://127.0.0.1:{free_port()}")
    write(browser, TITLE)
    wait_for_line(browser, "does not answer")
    browser.execute_script("menu['Suggested tags: settings']()")
    save_settings(browser, "api", api)
    wait_for_chips(browser, numbered(SUGGESTED))


def test_a_form_that_does_not_allow_the_site_gives_no_tags(browser, api):
    with SampleSite(n=3) as other:
        open_ask_page(browser, other.url, mode="api", address=api)
        write(browser, TITLE)
        wait_for_line(browser, r"^The tagger at .* does not answer\.$")


@pytest.mark.parametrize(
    "status, body, said",
    [
        (429, {"detail": "Please wait a little."}, "Please wait a little."),
        (200, {"tags": []}, "{url} does not answer as a tagger: check the settings."),
        (200, "<html>", "{url} does not answer as a tagger: check the settings."),
        (500, "<html>", "{url} does not answer as a tagger: check the settings."),
    ],
)
def test_what_another_server_answers_is_said_in_one_line(browser, site, status, body, said):
    with stand_in_api(site.url, status, body) as url:
        open_ask_page(browser, site.url, mode="api", address=url)
        write(browser, TITLE)
        wait_for_line(browser, f"^{re.escape(said.format(url=url))}$")
        assert chips(browser) == []


# ---- settings ----


def settings_dialog(browser):
    return browser.find_element(By.ID, "question-tagger-settings").shadow_root


def save_settings(browser, mode: str, address: str | None = None, button: str = "save") -> None:
    dialog = settings_dialog(browser)
    dialog.find_element(By.CSS_SELECTOR, f"[value={mode}]").click()
    if address is not None:
        field = dialog.find_element(By.CSS_SELECTOR, "[name=address]")
        field.clear()
        field.send_keys(address)
    dialog.find_element(By.CSS_SELECTOR, f"[value={button}]").click()


def test_without_settings_nothing_is_asked_until_an_address_is_chosen(browser, site, api):
    open_ask_page(browser, site.url)
    assert line(browser) == "Choose in the settings where suggested tags come from."
    asked_hosts(browser)
    write(browser, TITLE)
    row(browser).find_element(By.CSS_SELECTOR, ".settings").click()
    assert asked_hosts(browser) == set()
    save_settings(browser, "api", api)
    wait_for_chips(browser, numbered(SUGGESTED))
    assert browser.execute_script("return stored") == {host(site.url): {"mode": "api", "address": api}}


def test_the_row_can_be_switched_off_and_on_by_the_menu(page, site, api):
    page.execute_script("menu['Suggested tags: settings']()")
    save_settings(page, "off")
    wait_for(page, lambda _: not page.find_elements(By.ID, "question-tagger-row"))  # the dialog closes later
    write(page, "gradient")
    page.execute_async_script("setTimeout(arguments[0], 1000)")  # longer than the script waits for the next key
    assert page.find_elements(By.ID, "question-tagger-row") == []
    page.execute_script("menu['Suggested tags: settings']()")
    save_settings(page, "api", api)
    wait_for_chips(page, ["1deep-learning"])


def test_a_dialog_that_is_cancelled_changes_nothing(page):
    stored = page.execute_script("return JSON.stringify(stored)")
    page.execute_script("menu['Suggested tags: settings']()")
    save_settings(page, "page", "not an address", button="cancel")
    wait_for(page, lambda _: not page.find_elements(By.ID, "question-tagger-settings"))
    page.execute_script("menu['Suggested tags: settings']()")
    save_settings(page, "page", "javascript:alert(1)")  # refused by the field
    assert page.find_elements(By.ID, "question-tagger-settings")
    press_alt(page, 1)  # the row is behind the dialog
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for(page, lambda _: not page.find_elements(By.ID, "question-tagger-settings"))
    assert page.execute_script("return JSON.stringify(stored)") == stored
    assert entered(page) == []
    assert chips(page) == numbered(SUGGESTED)


# ---- accessibility ----


def findings(browser, *context: str) -> list[str]:
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    run = "const done = arguments[arguments.length - 1]; axe.run(arguments[0]).then(done)"
    found = browser.execute_async_script(run, context[0] if context else "html")["violations"]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_row_and_in_the_dialog(page, width, scheme):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        assert findings(page, "#question-tagger-row") == []
        row(page).find_element(By.CSS_SELECTOR, ".settings").click()
        assert findings(page, "#question-tagger-settings") == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_screen_reader_is_told_the_number_of_tags_and_their_keys(page):
    node = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {(one["role"]["value"], one.get("name", {}).get("value")) for one in node if "role" in one}
    assert ("button", "python") in named
    assert line(page) == "3 suggested tags:"
    first = row(page).find_element(By.CSS_SELECTOR, "#chips button")
    assert first.get_attribute("aria-keyshortcuts") == "Alt+1"
