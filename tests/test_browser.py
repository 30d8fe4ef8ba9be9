"""The browser page as its users meet it: built, served as plain files under a sub-path, opened in a real browser."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

from tagging.explain import explain_tags
from tagging.tables import iter_texts
from tagging.tagger import Tagger
from tests.test_accessibility import check_page, screen  # noqa: F401
from tests.test_apps import OTHERS, QUESTION, ROOT, SUGGESTED, asked_hosts
from tests.tiny_model import build_model_folder

SHIPPED = ROOT / "deployment" / "model"
BUILD = ROOT / "deployment" / "build_browser.py"
PACKAGES = ROOT / "build" / "npm"  # of `make browser`, which installs them unless they are there
SITE = "https://cooking.stackexchange.com"
EXAMPLE = {"label": "Layers", "title": "gradient", "description": "in the layers"}
SETTINGS = {
    "title": "Cooking tagger",
    "site": SITE,
    "language": "de",
    "max_title": 40,
    "min_confidence": 0.01,
    "examples": [EXAMPLE],
}


def build(model: Path, page: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, BUILD, "--model", model, "--output", page, "--packages", PACKAGES, *options]
    return subprocess.run(command, capture_output=True, text=True)


class Quiet(SimpleHTTPRequestHandler):
    held: threading.Event | None = None  # until it is set, only the first half of the WebAssembly file is sent

    def copyfile(self, source, outputfile):
        content = source.read()
        if self.held and ".wasm" in self.path:
            outputfile.write(content[: len(content) // 2])
            outputfile.flush()
            self.held.wait(60)
            content = content[len(content) // 2 :]
        outputfile.write(content)

    def log_message(self, *args):
        pass


class Site:
    """Serves the folders below ``root``, each under a path of its own; can be stopped and started again."""

    def __init__(self, root: Path):
        self.root, self.port, self.server = root, 0, None

    def start(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Quiet, directory=self.root))
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}/"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("sites"))
    site.start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def built(site):
    """The folder of a page with a tiny model."""
    model = build_model_folder(site.root / "model", **SETTINGS)
    result = build(model, site.root / "built")
    assert result.returncode == 0, result.stderr
    return site.root / "built"


@pytest.fixture
def page(site, built, request):
    """The URL of a page under a path that no other test has, and so without anything in the browser's cache."""
    name = f"page-{abs(hash(request.node.nodeid))}"
    shutil.copytree(built, site.root / name)
    return site.url(name)


def folder_of(site: Site, url: str) -> Path:
    return site.root / url.split("/")[3]


def wait_until(browser, condition):
    return WebDriverWait(browser, 60).until(condition)


def type_into(browser, name: str, text: str) -> None:
    browser.find_element(By.ID, name).send_keys(text)


def suggested(browser) -> list[str]:
    """Return the suggested tags that are shown, read at once."""
    script = "return [...document.querySelectorAll('#result:not([hidden]) #suggested a')].map((link) => link.text)"
    return browser.execute_script(script)


def wait_for_tags(browser, expected_tags: list[str]) -> None:
    wait_until(browser, lambda _: suggested(browser) == expected_tags)


def problem(browser, name: str = "problem") -> str:
    wait_until(browser, expected.visibility_of_element_located((By.ID, name)))
    return browser.find_element(By.ID, name).text


def wait_for_cache(browser) -> None:
    """Wait until the page would start without its server."""
    script = """
    navigator.serviceWorker.ready.then(async () => {
      const cache = await caches.open(`question-tagger ${new URL("./", location)}`);
      return (await cache.keys()).length;
    }).then(arguments[0]);
    """
    wait_until(browser, lambda _: browser.execute_async_script(script) >= 15)


def kept_urls(browser) -> list[str]:
    script = """
    caches.open(`question-tagger ${new URL("./", location)}`).then((cache) => cache.keys())
      .then((keys) => keys.map(({ url }) => url)).then(arguments[0]);
    """
    return browser.execute_async_script(script)


# ---- a question ----


def test_tags_appear_while_one_writes_and_no_other_host_is_asked(page, browser):
    asked_hosts(browser)
    browser.get(page)
    type_into(browser, "title", QUESTION["title"])
    type_into(browser, "description", QUESTION["description"])
    wait_for_tags(browser, SUGGESTED)
    links = browser.find_elements(By.CSS_SELECTOR, "#suggested a")
    assert links[2].get_attribute("href") == f"{SITE}/questions/tagged/%3Cscript%3E"
    assert [link.text for link in browser.find_elements(By.CSS_SELECTOR, "#others a")] == OTHERS
    first = browser.find_element(By.CSS_SELECTOR, "#suggested li")
    assert first.text.split() == ["python", "98", "%"]
    bar = first.find_element(By.CLASS_NAME, "bar")
    assert 0.95 < bar.find_element(By.TAG_NAME, "rect").rect["width"] / bar.rect["width"] < 1
    names = browser.find_element(By.ID, "all-tags")
    assert names.get_property("value") == " ".join(SUGGESTED)
    assert browser.switch_to.active_element.get_attribute("id") == "description", "writing goes on"
    for box in (0, -1):
        browser.find_elements(By.CSS_SELECTOR, ".tick")[box].click()
    assert names.get_property("value") == " ".join([*SUGGESTED[1:], OTHERS[-1]])
    assert browser.find_element(By.ID, "said").get_property("textContent") == f"Suggested tags: {', '.join(SUGGESTED)}"
    assert asked_hosts(browser) == {"127.0.0.1"}


def test_a_bar_shows_how_much_has_been_loaded_and_a_question_waits_for_the_rest(page, browser, monkeypatch):
    monkeypatch.setattr(Quiet, "held", threading.Event())
    try:
        browser.get(page)
        type_into(browser, "title", "python" + Keys.ENTER)
        bar = wait_until(browser, expected.visibility_of_element_located((By.ID, "loaded")))
        wait_until(browser, lambda _: 0.4 < float(bar.get_property("value")) < 1)
        assert browser.find_element(By.ID, "loading").text == "Loading the tagger"
        assert browser.find_element(By.ID, "ask").text == "Looking for tags…"
    finally:
        Quiet.held.set()
    wait_for_tags(browser, ["python"])
    assert not bar.is_displayed()
    assert browser.find_element(By.ID, "ask").text == "Suggest tags"


def test_a_blank_question_is_named_only_if_tags_are_asked_for(page, browser):
    browser.get(page)
    type_into(browser, "title", "csv")
    wait_for_tags(browser, ["pandas"])
    type_into(browser, "title", Keys.BACKSPACE * 3 + " ")
    wait_for_tags(browser, [])
    assert not browser.find_element(By.ID, "problem").is_displayed()
    browser.find_element(By.ID, "ask").click()
    assert problem(browser) == "Write a title or a description first."
    type_into(browser, "title", "python")
    wait_for_tags(browser, ["python"])
    assert not browser.find_element(By.ID, "problem").is_displayed()


def test_the_last_of_several_questions_is_the_one_that_is_answered(page, browser):
    browser.get(page)
    script = """
    const field = document.getElementById("title");
    for (const word of ["csv", "gradient", "python"]) {
      field.value = word;
      document.getElementById("question").requestSubmit();
    }
    """
    browser.execute_script(script)
    wait_for_tags(browser, ["python"])


def test_title_site_language_limits_and_examples_are_those_of_the_model(page, browser):
    browser.get(page)
    wait_until(browser, expected.title_is("Cooking tagger"))
    assert browser.find_element(By.CLASS_NAME, "brand").text == "Cooking tagger"
    assert browser.find_element(By.CSS_SELECTOR, "footer a").get_attribute("href") == f"{SITE}/"
    assert browser.find_element(By.ID, "title").get_attribute("lang") == "de"
    wait_until(browser, expected.element_to_be_clickable((By.XPATH, "//button[.='Layers']"))).click()
    wait_for_tags(browser, ["deep-learning", "neural-network"])
    assert browser.find_element(By.ID, "description").get_property("value") == EXAMPLE["description"]
    emoji = "\\u{1f600}"  # one character, as Python counts them
    browser.find_element(By.ID, "description").clear()
    browser.execute_script(f'document.getElementById("title").value = "{emoji}".repeat(40)')
    browser.find_element(By.ID, "ask").click()
    wait_until(browser, expected.visibility_of_element_located((By.ID, "doubt")))
    type_into(browser, "title", "x")
    assert problem(browser) == "The title has 41 characters; at most 40 are allowed."


def test_the_words_that_led_to_a_tag_are_those_of_the_tagger(page, site, browser):
    browser.get(page)
    type_into(browser, "title", QUESTION["title"])
    type_into(browser, "description", QUESTION["description"])
    wait_for_tags(browser, SUGGESTED)
    browser.find_element(By.ID, "why").click()
    wait_until(browser, expected.presence_of_element_located((By.CSS_SELECTOR, "#words mark")))
    marks = "return [...document.querySelectorAll('#words mark')].map((mark) => mark.textContent)"
    explanation = explain_tags(Tagger(site.root / "model"), **QUESTION)
    pieces = [piece for name in QUESTION for piece in explanation[name] if piece["tag"]]
    assert browser.execute_script(marks) == [f"{piece['text']} {piece['tag']}" for piece in pieces]


def test_the_page_is_used_with_the_keyboard_alone(page, browser):
    browser.get(page)
    wait_until(browser, expected.title_is("Cooking tagger"))

    def press(*keys: str) -> str:
        """Press keys and return the id, the text or the label of the element that has the focus then."""
        ActionChains(browser).send_keys(*keys).perform()
        focused = browser.switch_to.active_element
        return focused.get_attribute("id") or focused.text or focused.get_attribute("aria-label")

    assert [press(Keys.TAB) for _ in range(4)] == ["Cooking tagger", "title", "description", "ask"]
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    press("python")
    ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    wait_until(browser, lambda _: browser.switch_to.active_element.get_attribute("id") == "result-heading")
    assert [press(Keys.TAB) for _ in range(2)] == ["Use python", "python"]
    reached = {press(Keys.TAB) for _ in range(14)}
    assert {"all-tags", "copy", "why", "file"} <= reached


# ---- the cache ----


def test_the_second_visit_needs_no_server(page, site, browser):
    browser.get(page)
    type_into(browser, "title", "python")
    wait_for_tags(browser, ["python"])
    wait_for_cache(browser)
    site.stop()
    try:
        browser.get(f"{page}?theme=dark")  # as hosts add parameters of their own
        type_into(browser, "title", "gradient")
        wait_for_tags(browser, ["deep-learning"])
    finally:
        site.start()


def test_a_newer_model_replaces_the_one_in_the_cache(page, site, browser, tmp_path):
    browser.get(page)
    type_into(browser, "title", "csv")
    wait_for_tags(browser, ["pandas"])
    wait_for_cache(browser)
    before = kept_urls(browser)

    model = build_model_folder(tmp_path / "model", title="Newer tagger")
    thresholds = json.loads((model / "thresholds.json").read_text())
    thresholds["per_tag"] |= {"optimization": 0.001}
    (model / "thresholds.json").write_text(json.dumps(thresholds))
    assert build(model, folder_of(site, page), "--force").returncode == 0
    browser.get(page)
    wait_until(browser, expected.title_is("Newer tagger"))
    type_into(browser, "title", "csv")
    wait_for_tags(browser, ["optimization", "pandas"])
    wait_until(browser, lambda _: len(kept_urls(browser)) == len(before))
    changed = set(before) - set(kept_urls(browser))
    assert {url.partition("?")[0].rpartition("/")[2] for url in changed} == {"tagger.json", "thresholds.json"}


# ---- what goes wrong ----


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def overwrite(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def list_as(name: str, content: bytes):
    """Overwrite a file and list it in files.json as it is."""

    def replace(folder: Path) -> None:
        (folder / name).write_bytes(content)
        listed = json.loads((folder / "files.json").read_text(encoding="utf-8"))
        listed["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (folder / "files.json").write_text(json.dumps(listed), encoding="utf-8")

    return replace


def damage_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model/onnx/model_quantized.onnx").read_bytes())
    content[100] ^= 1
    (folder / "model/onnx/model_quantized.onnx").write_bytes(content)


@pytest.mark.parametrize(
    "break_, complaint",
    [
        (remove("model/tokenizer.json"), "model/tokenizer.json cannot be loaded: the server answers 404."),
        (remove("model/tagger.json"), "model/tagger.json cannot be loaded: the server answers 404."),
        (remove("model/onnx/model_quantized.onnx"), "model_quantized.onnx cannot be loaded: the server answers 404."),
        (remove("ort-wasm-simd-threaded.wasm"), "ort-wasm-simd-threaded.wasm cannot be loaded: the server answers 404"),
        (remove("files.json"), "files.json cannot be loaded"),
        (remove("worker.js"), "load this page again"),
        (overwrite("model/thresholds.json", b"{}"), "model/thresholds.json is damaged"),
        (damage_a_bit, "model/onnx/model_quantized.onnx is damaged"),
        (
            list_as("model/onnx/model_quantized.onnx", b"\x08\x07 no graph"),
            "model_quantized.onnx is no readable ONNX model",
        ),
        (list_as("model/tokenizer.json", b"{}"), "tokenizer.json is no readable tokenizer"),
        (list_as("model/thresholds.json", b"{"), "thresholds.json is no readable JSON"),
        (list_as("model/tag_types_encoded.json", b'{"other": 0}'), "do not belong together"),
    ],
    ids=[
        *("no tokenizer", "no settings", "no model", "no wasm", "no list", "no worker", "cut short", "a bit"),
        *("model", "tokenizer", "JSON", "tags"),
    ],
)
def test_a_missing_or_damaged_file_is_named_in_one_line(page, site, browser, break_, complaint):
    break_(folder_of(site, page))
    browser.get(page)
    said = problem(browser)
    assert complaint in said and "\n" not in said
    assert not browser.find_element(By.ID, "loading").is_displayed()
    assert not browser.find_elements(By.ID, "not-started")
    kept = [url.partition("?")[0].removeprefix(page) for url in kept_urls(browser)]
    assert "damaged" not in said or not [name for name in kept if name in said]
    type_into(browser, "title", "python" + Keys.ENTER)
    assert complaint in problem(browser)


def test_a_page_whose_script_does_not_run_says_so(page, site, browser):
    (folder_of(site, page) / "page.js").unlink()
    browser.get(page)
    assert problem(browser, "not-started").startswith("This page cannot start: it needs a current browser")


def test_a_browser_without_webassembly_is_told_so(page, browser):
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete globalThis.WebAssembly"}
    )
    try:
        browser.get(page)
        assert problem(browser).startswith("This browser has no WebAssembly, which the tagger needs")
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_the_page_works_where_the_browser_forbids_cache_and_service_worker(page, browser):
    forbid = """
    const forbidden = { get() { throw new DOMException("forbidden", "SecurityError"); } };
    Object.defineProperty(navigator, "serviceWorker", forbidden);
    Object.defineProperty(self, "caches", forbidden);
    """
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        browser.get(page)
        type_into(browser, "title", "python")
        wait_for_tags(browser, ["python"])
        assert not browser.find_element(By.ID, "problem").is_displayed()
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_a_model_that_does_not_fit_into_memory_is_named_in_one_line(page, browser):
    """The page's own report of what onnxruntime says if an allocation fails."""
    browser.get(page)
    script = """
    const done = arguments[0];
    import("./tagger.js").then(({ isOutOfMemory }) => done([
      isOutOfMemory(new Error("failed to call OrtRun(). error code = 6, error message: std::bad_alloc")),
      isOutOfMemory(new RangeError("WebAssembly.Memory(): could not allocate memory")),
      isOutOfMemory(new RangeError("Array buffer allocation failed")),
      isOutOfMemory(new Error("no such file")),
    ]));
    """
    assert browser.execute_async_script(script) == [True, True, True, False]


# ---- a file ----


@pytest.fixture
def downloads(browser, tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    return folder


def choose(browser, path: Path) -> None:
    browser.find_element(By.ID, "file").send_keys(str(path))


def download(browser, folder: Path) -> list[dict]:
    """Download the result and return its rows."""
    link = wait_until(browser, expected.element_to_be_clickable((By.CSS_SELECTOR, "#file-result .download")))
    target = folder / link.get_attribute("download")
    link.click()
    wait_until(browser, lambda _: target.is_file() and target.stat().st_size)
    with target.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_gets_the_rows_that_predict_py_writes(page, site, browser, downloads, tmp_path):
    source = tmp_path / "questions.csv"
    rows = [
        [f"{number}é", f'{word}, "quoted"', f"two\r\nlines 漢字 {'x ' * (number % 7)}", "=1+1"]
        for number, word in enumerate(["python", "gradient", "layers", "csv", "everything", '5" disk'] * 10)
    ]
    rows += [["", "", "", ""], ["a", " ", "<p>csv <script>python</script></p>", "-2"]]
    with source.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["id", " Title", "description", "n", ""], *([*row, ""] for row in rows)])
    browser.get(page)
    choose(browser, source)
    written = download(browser, downloads)
    result = browser.find_element(By.ID, "file-result").text
    assert "61 questions tagged, 1 blank ones left without tags." in result
    assert "questions.csv: the column ' Title' is read as title" in result
    assert "questions.csv: 1 empty columns without a name are left out" in result
    predict = [sys.executable, ROOT / "deployment/predict.py", "--model", site.root / "model"]
    target = tmp_path / "tagged.csv"
    subprocess.run([*predict, "--input", source, "--output", target], check=True, capture_output=True)
    with target.open(encoding="utf-8", newline="") as file:
        expected_rows = list(csv.DictReader(file))
    assert list(written[0]) == ["id", " Title", "description", "n", "tags", "scores"]
    for row, expected_row in zip(written, expected_rows, strict=True):
        scores, expected_scores = (json.loads(each.pop("scores")) for each in (row, expected_row))
        assert row == expected_row
        assert scores == pytest.approx(expected_scores, abs=1e-4)


BROKEN_FILES = (
    b"",
    b"title,description\n",
    b"question,body\na,b\n",
    b"title,tags\na,b\n",
    b"title,title\na,b\n",
    b'title,description\n"a\nb",c\n\nd\n',
    b"title,description\r\na,b,c\r\n",
    b'title\na\n"never closed\nb\nc\n',
    b'title,description\na,b\n"c" d,e\n',
    b"title\nna\xc3\xafve\nna\xefve\n",
    b"title\nlost \xef\xbf\xbd before\r\rx\xe4\n",
    b"title;description\na;b\n",
    b"title\tdescription\na\tb\n",
    b"title,Title\na,b\n",
    b"title,descripton\na,b\n",
    b"description,titel\na,b\n",
    b"description,Question Title\na,b\n",
    b"title,,\na,b,c\n",
    b",,\na,b,c\n",
)


def test_broken_files_are_named_as_predict_py_names_them(page, browser, tmp_path):
    browser.get(page)
    for number, content in enumerate(BROKEN_FILES):
        path = tmp_path / f"questions{number}.csv"
        path.write_bytes(content)
        try:
            said = "no row below the header" if not list(iter_texts(path)) else ""
        except ValueError as error:
            said = str(error).removeprefix(f"{path}")
        choose(browser, path)
        wait_until(browser, expected.text_to_be_present_in_element((By.ID, "file-problem"), path.name))
        shown = browser.find_element(By.ID, "file-problem").text
        assert said in shown and "\n" not in shown, content
        assert not browser.find_elements(By.CSS_SELECTOR, ".download")


def test_thousands_of_rows_can_be_stopped_and_what_is_done_is_kept(page, browser, downloads, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("title\n" + "python and csv\n" * 100_000, encoding="utf-8")
    browser.get(page)
    choose(browser, path)
    wait_until(browser, lambda _: float(browser.find_element(By.ID, "tagged").get_property("value")) > 0)
    type_into(browser, "title", "gradient")  # the page answers meanwhile
    wait_for_tags(browser, ["deep-learning"])
    browser.find_element(By.ID, "stop").click()
    written = download(browser, downloads)
    said = browser.find_element(By.ID, "file-result").text
    assert f"Stopped after {len(written):,} of 100,000 rows." in said
    assert 0 < len(written) < 100_000
    assert {row["tags"] for row in written} == {'["python", "pandas"]'}


def test_a_file_can_be_dropped(page, browser):
    browser.get(page)
    script = """
    const transfer = new DataTransfer();
    transfer.items.add(new File(["title\\npython\\n"], "dropped.csv"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    """
    browser.execute_script(script)
    link = wait_until(browser, expected.element_to_be_clickable((By.CSS_SELECTOR, "#file-result .download")))
    assert link.text == "Download dropped.tagged.csv"


# ---- looks ----


def test_the_page_in_every_state(page, site, screen, tmp_path):  # noqa: F811
    screen.get(page)
    wait_until(screen, expected.title_is("Cooking tagger"))
    check_page(screen, "browser-empty")
    type_into(screen, "title", QUESTION["title"])
    type_into(screen, "description", QUESTION["description"])
    wait_for_tags(screen, SUGGESTED)
    check_page(screen, "browser-answer")
    screen.find_element(By.ID, "why").click()
    wait_until(screen, expected.presence_of_element_located((By.CSS_SELECTOR, "#words mark")))
    (tmp_path / "questions.csv").write_text("title,body\npython,x\n", encoding="utf-8")
    choose(screen, tmp_path / "questions.csv")
    wait_until(screen, expected.presence_of_element_located((By.CLASS_NAME, "download")))
    check_page(screen, "browser-explanation-and-file")
    (tmp_path / "broken.csv").write_text("question\npython\n", encoding="utf-8")
    choose(screen, tmp_path / "broken.csv")
    screen.find_element(By.ID, "title").clear()
    screen.find_element(By.ID, "description").clear()
    screen.find_element(By.ID, "ask").click()
    problem(screen)
    problem(screen, "file-problem")
    check_page(screen, "browser-problem")
    type_into(screen, "title", "nothing that it knows")
    wait_until(screen, expected.visibility_of_element_located((By.ID, "result")))
    screen.execute_script('for (const id of ["loading", "tagging"]) document.getElementById(id).hidden = false')
    check_page(screen, "browser-loading-and-tagging")


# ---- the script that builds it ----


def test_the_built_folder_lists_its_files_and_names_no_other_host(built):
    listed = json.loads((built / "files.json").read_text(encoding="utf-8"))["files"]
    there = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()} - {"files.json"}
    assert set(listed) == there
    html = (built / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html and "unsafe-inline" not in html and "'unsafe-eval'" not in html
    assert "onnxruntime-web 1." in (built / "LICENCES.txt").read_text(encoding="utf-8")


def test_the_page_is_replaced_only_by_force_and_nothing_else_ever(built, site, tmp_path):
    result = build(site.root / "model", built)
    assert result.returncode == 1 and "give --force to replace it" in result.stderr
    (tmp_path / "mine.txt").write_text("mine")
    result = build(site.root / "model", tmp_path, "--force")
    assert result.returncode == 1 and "holds something else than a page" in result.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_without_a_model_is_named_in_one_line_and_leaves_nothing(tmp_path):
    result = build(tmp_path / "nowhere", tmp_path / "page")
    assert result.returncode == 1
    assert "nowhere is no model folder" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
