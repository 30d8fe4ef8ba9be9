"""Both apps as their users meet them: real servers, real HTTP, a real browser."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

from tagging.served import ServedTagger
from tests.tiny_model import THRESHOLDS, add_index, build_model_folder
from webapp.app import create_app
from webapp.questions import MAX_DESCRIPTION, MAX_TITLE

ROOT = Path(__file__).parents[1]
SERVE_PYTHON = ROOT / ".venv-serve" / "bin" / "python"  # `make .venv-serve/installed` makes it
START_SECONDS = 120  # on a busy machine
# Both apps run with these: the Space asks no host at all, and the form only its Space, here on this machine.
UNUSABLE_NETWORK = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "socks4://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "",
    "no_proxy": "",
    "SSL_CERT_FILE": "/nowhere/ca.pem",
}
QUESTION = {"title": "python & <b>csv</b>", "description": "gradient in\nthe 'layers' of shrubbery"}
SUGGESTED = ["python", "deep-learning", "<script>", "neural-network", "pandas"]
OTHERS = ["optimization", "c++"]


# ---- servers ----


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(command: list, url: str, **options):
    """Start a server as a process of its own, wait until it answers, and stop it in the end.

    Yields the process, whose attribute ``log`` holds what it printed after the ``with`` block.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as process:
        try:
            end = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < end, f"{command} does not answer"
                try:
                    httpx.get(url)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.log, _ = process.communicate(timeout=START_SECONDS)


EXAMPLE = {"label": "Merge on the nearest date", "title": "Join two pandas data frames", "description": "by date"}


@pytest.fixture(scope="module")
def space_folder(tmp_path_factory):
    """deployment/ copied out alone, with a model where the app looks for it."""
    folder = tmp_path_factory.mktemp("space") / "copy"
    shutil.copytree(ROOT / "deployment", folder, ignore=shutil.ignore_patterns("model", "__pycache__"))
    build_model_folder(folder / "model", examples=[EXAMPLE])
    add_index(folder / "model", ["python", "layers of shrubbery", "gradient & csv"], show_titles=True)
    return folder


def space_server(folder: Path, port: int, python: Path = SERVE_PYTHON, **settings: str):
    environment = {name: value for name, value in os.environ.items() if name != "TAGGER_MODEL"}
    environment |= UNUSABLE_NETWORK | {"GRADIO_SERVER_PORT": str(port)} | settings
    return server([python, "app.py"], f"http://127.0.0.1:{port}", cwd=folder, env=environment)


@pytest.fixture(scope="module")
def space(space_folder):
    port = free_port()
    with space_server(space_folder, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(space):
    client = Client(space, verbose=False)
    yield client
    client.close()


@contextmanager
def form_server(space_url: str, timeout: float = 10, **settings: str):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    gunicorn = [SERVE_PYTHON, "-m", "gunicorn", "--threads", "8", "--bind", f"127.0.0.1:{port}"]
    environment = os.environ | UNUSABLE_NETWORK | {"TAGGER_SPACE": space_url, "TAGGER_TIMEOUT": str(timeout)} | settings
    with server([*gunicorn, "webapp.app:create_app()"], url, cwd=ROOT, env=environment):
        yield url


@pytest.fixture(scope="module")
def form(space):
    with form_server(space) as url:
        yield url


def wait_for(browser, condition):
    return WebDriverWait(browser, 20).until(condition)


def asked_hosts(browser) -> set[str]:
    """Return the hosts that the browser has asked for anything since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    return {httpx.URL(url).host for url in urls if url.startswith("http")}


def tags(rows) -> list[str]:
    return [row["tag"] for row in rows]


# ---- the Gradio app ----


def test_the_app_starts_whatever_proxies_and_certificates_the_environment_names(space):
    """Gradio asks the app itself by HTTP whether it has started."""
    assert httpx.get(space).status_code == 200


OTHER_SITE = {
    "site": "https://cooking.stackexchange.com",
    "language": "en-GB",
    "title": "Tags for cooks",
    "examples": [{"label": "Bread", "title": "Why does my bread not rise?", "description": "It stays flat."}],
}


def test_the_app_of_another_site_speaks_of_that_site_alone(space_folder, tmp_path):
    """As the page's configuration holds it, which the browser renders."""
    folder = tmp_path / "copy"
    shutil.copytree(space_folder, folder, ignore=shutil.ignore_patterns("model"))
    build_model_folder(folder / "model", **OTHER_SITE)
    port = free_port()
    with space_server(folder, port):
        shown = httpx.get(f"http://127.0.0.1:{port}/config").text
    for text in ("Tags for cooks", "cooking.stackexchange.com", "(language: en-GB)", "Why does my bread not rise?"):
        assert text in shown
    for text in ("data science", "datascience", "NaN", "pandas data frame", "Question tagger"):
        assert text not in shown


def test_a_zerogpu_space_finds_a_gpu_function(space_folder, tmp_path):
    """Without one it does not start. A stand-in for the package spaces, which such a Space has, notes what it gets."""
    stand_in = f"""
        def GPU(task):
            with open({str(tmp_path / "declared")!r}, "w") as file:
                file.write(str(task()))
            return task
    """
    (tmp_path / "spaces.py").write_text(textwrap.dedent(stand_in), encoding="utf-8")
    port = free_port()
    with space_server(space_folder, port, PYTHONPATH=str(tmp_path)):
        assert (tmp_path / "declared").read_text() == "None"


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "https://example.org"])
def test_the_app_redirects_to_no_other_host(space, host):
    assert httpx.get(f"{space}/gradio_api/file={host}/page").status_code == 403


def test_the_app_also_runs_in_the_environment_of_all_stages(space_folder):
    """Its Gradio is older: see requirements.txt."""
    port = free_port()
    with space_server(space_folder, port, Path(sys.executable)):
        client = create_app({"TAGGER_SPACE": f"http://127.0.0.1:{port}"}).test_client()
        assert tags(client.post("/api/tags", json=QUESTION).get_json()["suggested"]) == SUGGESTED


def test_the_serving_environment_has_what_its_files_pin_and_no_training_library():
    code = "from importlib.metadata import distributions as found; print(*(f'{d.name}=={d.version}' for d in found()))"
    command = [SERVE_PYTHON, "-c", code]
    installed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.lower().split()
    for folder in ("deployment", "webapp"):
        text = (ROOT / folder / "requirements.txt").read_text(encoding="utf-8").lower()
        assert [pin for pin in text.split() if "==" in pin and pin not in installed] == []
    names = {pin.partition("==")[0] for pin in installed}
    assert not {"torch", "transformers", "scikit-learn", "selenium", "pytest"} & names


def test_predict_gives_the_suggested_tags_and_the_runners_up(client):
    answer = client.predict(**QUESTION, api_name="/predict")
    assert answer["suggested"][0] == {"tag": "python", "probability": 0.982}
    assert tags(answer["suggested"]) == SUGGESTED
    assert tags(answer["others"]) == OTHERS


@pytest.mark.parametrize("question", [{"title": "csv"}, {"description": "csv"}, {"title": "csv", "description": " "}])
def test_predict_takes_a_title_or_a_description(client, question):
    answer = client.predict(**question, api_name="/predict")
    assert answer["suggested"] == [{"tag": "pandas", "probability": 0.586}]
    assert len(answer["others"]) == 5


@pytest.mark.parametrize(
    "title, description, complaint", [("", " \n", "the question is empty"), (1, None, "must be strings")]
)
def test_predict_rejects_invalid_questions(client, title, description, complaint):
    with pytest.raises(AppError, match=complaint):
        client.predict(title, description, api_name="/predict")


def test_the_api_has_four_endpoints(client):
    api = client.view_api(print_info=False, return_format="dict")
    assert set(api["named_endpoints"]) == {"/predict", "/predict_batch", "/explain", "/tags"}
    assert not api["unnamed_endpoints"]
    parameters = api["named_endpoints"]["/predict"]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == ["title", "description"]


def test_predict_batch_answers_each_question_as_predict_does(client):
    questions = [QUESTION, {"description": "csv"}, {"title": "python"}]
    answers = client.predict(questions=questions, api_name="/predict_batch")
    assert answers == [client.predict(**question, api_name="/predict") for question in questions]


@pytest.mark.parametrize(
    "questions, complaint",
    [([], "1 to 64"), ([{"title": "csv"}] * 65, "1 to 64"), (["csv"], "an object"), ([{"title": ""}], "empty")],
)
def test_predict_batch_rejects_invalid_questions(client, questions, complaint):
    with pytest.raises(AppError, match=complaint):
        client.predict(questions=questions, api_name="/predict_batch")


def test_explain_marks_the_words_that_led_to_a_tag(client):
    explanation = client.predict(title="my python", description="gradient in layers", api_name="/explain")
    assert explanation["title"] == [
        {"text": "my ", "tag": None, "weight": 0},
        {"text": "python", "tag": "python", "weight": 1},
    ]
    carried = {piece["text"]: piece["tag"] for piece in explanation["description"]}
    assert carried == {"gradient": "deep-learning", " in ": None, "layers": "neural-network"}


def test_tags_lists_every_tag_with_the_threshold(client):
    assert client.predict(api_name="/tags") == [{"tag": tag, "threshold": 0.5} for tag in THRESHOLDS]


def test_html_in_a_description_is_rendered_and_a_title_is_plain_text(client):
    plain = client.predict(title="gradient", description="python csv", api_name="/predict")
    pasted = "<p>python <code>csv</code><script>shrubbery</script></p>"
    assert client.predict(title="gradient", description=pasted, api_name="/predict") == plain
    assert tags(client.predict(title="<shrubbery> **csv**", api_name="/predict")["suggested"]) == ["<script>", "pandas"]


@pytest.mark.parametrize(
    "question",
    [
        {"title": "List<python> and <csv>, __gradient__ or *layers*"},
        {
            "title": "<p>csv</p>",
            "description": "if a<python and csv>d then `gradient` [layers](http://shrubbery.example)",
        },
        {"title": "csv", "description": "<p>List<layers> in <shrubbery></p><script>python</script>"},
        {"description": "<div class='python'>" + "<p>csv</p>" * 2900 + "gradient</div>"},
    ],
)
def test_the_space_the_form_and_predict_py_clean_a_question_in_the_same_way(space, space_folder, tmp_path, question):
    asked = {"title": "", "description": ""} | question
    forms = ({"TAGGER_SPACE": space}, {"TAGGER_SPACE": missing_url(), "TAGGER_MODEL": str(space_folder / "model")})
    clients = [create_app(settings).test_client() for settings in forms]
    by_rest = [client.post("/api/tags", json=asked).get_json() for client in clients]
    assert [answer.pop("source") for answer in by_rest] == ["space", "local"]
    assert by_rest[0] == by_rest[1]
    expected = [[row["tag"], row["probability"]] for row in by_rest[0]["suggested"]]

    source, target = tmp_path / "questions.csv", tmp_path / "tagged.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([asked.keys(), asked.values()])
    predict = [sys.executable, space_folder / "predict.py", "--model", space_folder / "model"]
    subprocess.run([*predict, "--input", source, "--output", target], check=True, capture_output=True)
    with target.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    found = zip(json.loads(row["tags"]), json.loads(row["scores"]), strict=True)
    assert [list(pair) for pair in found] == expected


def missing_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_the_curl_calls_of_the_readme_work(space):
    readme = (ROOT / "deployment" / "README.md").read_text(encoding="utf-8")
    script = "URL=" + readme.partition("    URL=")[2].partition("\n\n")[0]
    script = script.replace("http://127.0.0.1:7860", space).replace("Join two data frames", "python")
    result = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert "event: complete" in result.stdout
    assert tags(json.loads(result.stdout.partition("data: ")[2])[0]["suggested"]) == ["python"]


def test_the_python_calls_of_the_readme_work(space, tmp_path):
    readme = (ROOT / "deployment" / "README.md").read_text(encoding="utf-8")
    block = "from gradio_client" + readme.partition("    from gradio_client")[2].partition("\n\nWith curl")[0]
    code = textwrap.dedent(f"    {block}").replace("http://127.0.0.1:7860", space)
    namespace = {}
    exec(code, namespace)
    assert set(namespace) >= {"answer", "answers", "words", "known"}
    assert [len(namespace[name]) for name in ("answers", "words", "known")] == [2, 2, len(THRESHOLDS)]
    assert namespace["answer"]["suggested"] and namespace["answer"] == namespace["answers"][0]


def test_concurrent_questions_get_their_own_tags(space):
    words = {"python": ["python"], "gradient": ["deep-learning"], "csv": ["pandas"], "shrubbery": ["<script>"]}
    client = create_app({"TAGGER_SPACE": space, "TAGGER_TIMEOUT": 30}).test_client
    results = []

    def ask(word):
        results.extend((word, client().post("/api/tags", json={"title": word}).get_json()) for _ in range(4))

    threads = [threading.Thread(target=ask, args=[word]) for word in words for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 32
    assert [tags(answer["suggested"]) for _, answer in results] == [words[word] for word, _ in results]


def test_the_gradio_page_suggests_tags(space, browser):
    browser.get(space)
    ask = wait_for(browser, expected.element_to_be_clickable((By.ID, "ask")))
    ask.click()
    wait_for(browser, expected.text_to_be_present_in_element((By.TAG_NAME, "body"), "Write a title or a description"))

    browser.find_element(By.CSS_SELECTOR, "#title :is(input, textarea)").send_keys(QUESTION["title"])
    browser.find_element(By.CSS_SELECTOR, "#description textarea").send_keys(QUESTION["description"])
    ask.click()
    names = browser.find_element(By.CSS_SELECTOR, "#all-tags textarea")
    wait_for(browser, lambda _: names.get_property("value") == " ".join(SUGGESTED))
    links = browser.find_elements(By.CSS_SELECTOR, "#suggested a")
    assert [link.text for link in links] == SUGGESTED
    assert links[2].get_attribute("href") == "https://datascience.stackexchange.com/questions/tagged/%3Cscript%3E"
    assert [link.text for link in browser.find_elements(By.CSS_SELECTOR, "#others a")] == OTHERS
    assert browser.find_element(By.CSS_SELECTOR, "#suggested li").text.split() == ["python", "98", "%"]
    similar = browser.find_element(By.CSS_SELECTOR, "#similar a")
    assert similar.get_attribute("href").startswith("https://datascience.stackexchange.com/questions/")

    boxes = browser.find_elements(By.CSS_SELECTOR, "#ticks input")
    assert [box.is_selected() for box in boxes] == [True] * len(SUGGESTED) + [False] * len(OTHERS)
    boxes[0].click()
    wait_for(browser, lambda _: names.get_property("value") == " ".join(SUGGESTED[1:]))
    boxes[-1].click()
    wait_for(browser, lambda _: names.get_property("value") == " ".join([*SUGGESTED[1:], OTHERS[-1]]))

    browser.find_element(By.ID, "why").click()
    marks = (By.CSS_SELECTOR, "#words mark")
    wait_for(browser, expected.presence_of_element_located(marks))
    assert "python" in browser.find_element(*marks).text


def test_a_clicked_example_is_tagged_and_kept_in_the_browsers_history(space, browser):
    browser.get(space)
    browser.execute_script("localStorage.clear()")
    browser.get(space)
    example = (By.XPATH, "//button[contains(., 'Merge on the nearest date')]")
    wait_for(browser, expected.element_to_be_clickable(example)).click()
    names = browser.find_element(By.CSS_SELECTOR, "#all-tags textarea")
    wait_for(browser, lambda _: names.get_property("value"))
    title = browser.find_element(By.CSS_SELECTOR, "#title :is(input, textarea)")
    assert "pandas" in title.get_property("value")

    browser.get(space)
    history = (By.XPATH, "//button[contains(., 'Your last questions')]")
    wait_for(browser, expected.element_to_be_clickable(history)).click()
    remembered = (By.XPATH, "//button[starts-with(normalize-space(.), 'Join two pandas data frames')]")
    wait_for(browser, expected.element_to_be_clickable(remembered)).click()
    title = browser.find_element(By.CSS_SELECTOR, "#title :is(input, textarea)")
    wait_for(browser, lambda _: "pandas" in title.get_property("value"))


def test_the_gradio_page_takes_title_limits_and_examples_from_the_model_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deployment"))
    import app

    bread = {"label": "Flat bread", "title": "Why does my bread stay flat?", "description": ""}
    own = {"title": "Kitchen tags", "max_title": 80, "max_description": 900, "max_tags": 3, "examples": [bread]}
    texts = {}
    for name, settings in {"own": own, "none": {}}.items():
        config = app.build_app(ServedTagger(build_model_folder(tmp_path / name, **settings))).get_config_file()
        texts[name] = json.dumps(config["components"])
        limits = [part["props"]["max_length"] for part in config["components"] if part["props"].get("max_length")]
        assert limits == [settings.get("max_title", 300), settings.get("max_description", 30_000)]
        assert config["title"] == settings.get("title", "Question tagger")
    assert "# Kitchen tags" in texts["own"] and "the one to three that fit best" in texts["own"]
    assert "Flat bread" in texts["own"] and "Why does my bread stay flat?" in texts["own"]
    assert "Try one of these" not in texts["none"], "no examples of another site"


def test_the_gradio_page_links_the_site_of_the_model_folder_unless_another_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deployment"))
    monkeypatch.delenv("TAGGER_SITE", raising=False)
    import app

    served = ServedTagger(build_model_folder(tmp_path / "model", site="https://cooking.stackexchange.com/"))
    show, _ = app.make_handlers(served)
    assert 'href="https://cooking.stackexchange.com/questions/tagged/python"' in show("python", "", [])[0]
    monkeypatch.setenv("TAGGER_SITE", "https://bread.example")
    show, _ = app.make_handlers(served)
    assert 'href="https://bread.example/questions/tagged/python"' in show("python", "", [])[0]


def test_the_gradio_page_needs_no_other_host_and_fits_a_phone(space, browser):
    asked_hosts(browser)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        browser.get(space)
        wait_for(browser, expected.element_to_be_clickable((By.ID, "ask")))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert asked_hosts(browser) == {"127.0.0.1"}


def test_the_app_reports_a_missing_or_damaged_model_in_one_line(space_folder, tmp_path):
    def start(model):
        return subprocess.run(
            [sys.executable, "app.py"],
            cwd=space_folder,
            env=os.environ | {"TAGGER_MODEL": str(model)},
            capture_output=True,
            text=True,
        )

    missing = start(tmp_path / "nowhere")
    broken_folder = build_model_folder(tmp_path / "broken")
    (broken_folder / "model_quantized.onnx").write_bytes(b"\x08\x07 no graph")
    broken = start(broken_folder)
    for result, complaint in ((missing, "nowhere is no model folder"), (broken, "not a readable ONNX model")):
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert complaint in result.stderr


def test_the_front_matter_has_the_pinned_gradio_version():
    """A Space installs the sdk_version of its README; another than the pinned gradio would not start."""
    _, header, _ = (ROOT / "deployment" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    declared = dict(line.split(": ", 1) for line in header.splitlines())
    pinned = dict(
        line.split("==") for line in (ROOT / "deployment" / "requirements.txt").read_text().split() if "==" in line
    )
    assert (declared["sdk"], declared["sdk_version"]) == ("gradio", pinned["gradio"])
    assert (ROOT / "deployment" / declared["app_file"]).is_file()


@pytest.mark.parametrize(
    "code, folder, unwanted",
    [
        (
            "import app; from pathlib import Path; from tagging.served import ServedTagger; "
            "served = ServedTagger(Path('model')); app.build_app(served); served.now.answer('python', '')",
            None,
            {"torch", "transformers"},
        ),
        (
            "from webapp.app import create_app; create_app().test_client().post('/api/tags', json={'title': 'python'})",
            ROOT,
            {"torch", "transformers", "onnxruntime", "tokenizers", "gradio", "numpy"},
        ),
    ],
    ids=["space", "form"],
)
def test_serving_needs_no_training_library(space_folder, code, folder, unwanted):
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        cwd=folder or space_folder,
        env=os.environ | {"TAGGER_SPACE": f"http://127.0.0.1:{free_port()}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not unwanted & set(result.stdout.split())


# ---- the form, with a Space ----


def test_the_form_shows_the_tags_of_a_question(form, browser):
    browser.get(form)
    asked_hosts(browser)
    browser.find_element(By.ID, "title").send_keys(QUESTION["title"])
    browser.find_element(By.ID, "description").send_keys(QUESTION["description"])
    browser.find_element(By.CSS_SELECTOR, "#question button").click()
    wait_for(browser, expected.presence_of_element_located((By.ID, "suggested")))

    links = browser.find_elements(By.CSS_SELECTOR, "#suggested a")
    assert [link.text for link in links] == SUGGESTED
    assert [link.text for link in browser.find_elements(By.CSS_SELECTOR, "#others a")] == OTHERS
    assert links[2].get_attribute("href") == "https://datascience.stackexchange.com/questions/tagged/%3Cscript%3E"
    first = browser.find_element(By.CSS_SELECTOR, "#suggested li")
    assert first.text.split() == ["python", "98", "%"]
    bar = first.find_element(By.CLASS_NAME, "bar")
    assert 0.95 < bar.find_element(By.TAG_NAME, "rect").rect["width"] / bar.rect["width"] < 1
    assert browser.switch_to.active_element.text == "Suggested tags"
    names = browser.find_element(By.ID, "all-tags")
    assert names.get_property("value") == " ".join(SUGGESTED)
    for box in (0, -1):
        browser.find_elements(By.CSS_SELECTOR, "#suggested .tick, #others .tick")[box].click()
    assert names.get_property("value") == " ".join([*SUGGESTED[1:], OTHERS[-1]])
    assert browser.find_element(By.CSS_SELECTOR, "#similar a").text == "layers of shrubbery"
    assert browser.find_element(By.ID, "title").get_property("value") == QUESTION["title"]
    assert browser.find_element(By.ID, "description").get_property("value") == QUESTION["description"]
    assert asked_hosts(browser) == {"127.0.0.1"}


def test_the_form_reports_missing_fields(form, browser):
    browser.get(form)
    browser.find_element(By.ID, "title").send_keys("  ")
    browser.find_element(By.CSS_SELECTOR, "#question button").click()
    problem = wait_for(browser, expected.presence_of_element_located((By.ID, "problem")))
    assert problem.text == "Write a title or a description first."
    assert httpx.post(form, data={"title": " "}).status_code == 400


def test_json_answers_equal_those_of_the_space(form, client):
    response = httpx.post(f"{form}/api/tags", json=QUESTION, timeout=30)
    assert response.status_code == 200
    assert response.json() == client.predict(**QUESTION, api_name="/predict") | {"source": "space"}
    assert tags(httpx.post(f"{form}/api/tags", json={"description": "csv"}).json()["suggested"]) == ["pandas"]


@pytest.mark.parametrize(
    "status, complaint, request_",
    [
        (400, "Write a title or a description first.", {"json": {}}),
        (400, "Write a title or a description first.", {"json": {"title": "\n", "description": " "}}),
        (400, "A JSON object was expected", {"json": ["python"]}),
        (400, "The title must be a string.", {"json": {"title": 5, "description": "python"}}),
        (400, "The description must be a string.", {"json": {"title": "python", "description": None}}),
        (400, "The title has 301 characters", {"json": {"title": "x" * (MAX_TITLE + 1)}}),
        (400, "The description has 30,001 characters", {"json": {"description": "x" * (MAX_DESCRIPTION + 1)}}),
        (400, "half of a surrogate pair", {"content": b'{"title": "\\ud800"}'}),
        (400, "", {"content": b'{"title": '}),
        (400, "", {"content": b"\xff\xfe"}),
        (400, "nested too deeply", {"content": b"[" * 100_000}),
        (413, "at most 356 KiB", {"json": {"description": "x" * 600_000}}),
        (415, "", {"data": {"title": "python"}}),
        (405, "", {"method": "DELETE"}),
        (404, "", {"path": "/api/tag", "json": {"title": "python"}}),
    ],
)
def test_json_errors_say_what_is_wrong_with_a_request(form, status, complaint, request_):
    request_ = {"method": "POST", "path": "/api/tags", "headers": {"Content-Type": "application/json"}} | request_
    if "data" in request_:
        del request_["headers"]
    response = httpx.request(request_.pop("method"), form + request_.pop("path"), **request_)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert complaint in response.json()["detail"]
    if status == 405:
        assert "POST" in response.headers["Allow"]


def test_the_longest_question_fits_through_every_limit(form):
    """Each character takes 12 bytes of a form, and of JSON as well."""
    longest = {"title": "\U0001f600" * MAX_TITLE, "description": "\U0001f600" * MAX_DESCRIPTION}
    assert httpx.post(form, data=longest).status_code == 200
    assert httpx.post(
        f"{form}/api/tags", content=json.dumps(longest), headers={"Content-Type": "application/json"}
    ).is_success


@pytest.mark.parametrize("path", ["/", "/nowhere", "/form.css", "/api/tags"])
def test_every_response_forbids_foreign_scripts_and_frames(form, path):
    response = httpx.get(form + path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Traceback" not in response.text


def test_the_404_page_links_to_the_form(form):
    response = httpx.get(f"{form}/nowhere")
    assert response.status_code == 404
    assert "Back to the form" in response.text


# ---- the form, without a Space ----


class Rubbish(BaseHTTPRequestHandler):
    """Answers everything with a page that is no Gradio app."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Parked</title>")

    do_POST = do_GET

    def log_message(self, *args):
        pass


class Hub(BaseHTTPRequestHandler):
    """Stands in for the Hub: the Space owner/building is being built, owner/running lives at ``host``."""

    host = ""

    def do_GET(self):
        name = self.path.removeprefix("/api/spaces/")
        stage = {"owner/building": "BUILDING", "owner/running": "RUNNING"}[name]
        runtime = {"stage": stage, "hardware": {"current": None, "requested": None}}
        body = json.dumps({"id": name, "host": self.host, "runtime": runtime}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def http_server(handler):
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=[0.02])
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


@contextmanager
def hanging_space():
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def missing_space():
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def rubbish_space():
    with http_server(Rubbish) as url:
        yield url


@pytest.fixture(params=[missing_space, hanging_space, rubbish_space], ids=["down", "hangs", "rubbish"])
def lost_space(request):
    with request.param() as url:
        yield url


def assert_unavailable(form_client):
    """Both ways in answer 503, say when to come back, and the page keeps the text."""
    page = form_client.post("/", data=QUESTION)
    assert (page.status_code, page.headers["Retry-After"]) == (503, "10")
    assert "python &amp; &lt;b&gt;csv&lt;/b&gt;" in page.text
    assert "Try again" in page.text and "Traceback" not in page.text
    answer = form_client.post("/api/tags", json=QUESTION)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.content_type == "application/problem+json"
    assert "cannot be reached" in answer.get_json()["detail"]


def test_an_unreachable_space_is_a_503(lost_space):
    app = create_app({"TAGGER_SPACE": lost_space, "TAGGER_TIMEOUT": 1})
    assert app.test_client().get("/").status_code == 200
    assert_unavailable(app.test_client())


def test_an_app_with_another_answer_format_is_a_503():
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    code = (
        "import gradio as gr\nwith gr.Blocks() as app:\n"
        "    def predict(title: str, description: str) -> str: return 'a poem'\n"
        f"    gr.api(predict, api_name='predict')\napp.launch(server_port={port}, ssr_mode=False)"
    )
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    with server([SERVE_PYTHON, "-c", code], url, env=environment):
        assert_unavailable(create_app({"TAGGER_SPACE": url}).test_client())


def test_a_space_of_the_hub_is_found_by_its_id_and_a_running_build_is_not_awaited(space, monkeypatch):
    monkeypatch.setattr(Hub, "host", space)
    with http_server(Hub) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
        assert_unavailable(create_app({"TAGGER_SPACE": "owner/building"}).test_client())
        found = create_app({"TAGGER_SPACE": "owner/running"}).test_client().post("/api/tags", json=QUESTION)
        assert tags(found.get_json()["suggested"]) == SUGGESTED


def test_the_form_recovers_when_its_space_is_back(space_folder, browser):
    """No Space, then one that stalls for a while, then none, then another in its place: the form runs through all."""
    port = free_port()
    with form_server(f"http://127.0.0.1:{port}", timeout=5) as form:

        def ask(title):
            return httpx.post(f"{form}/api/tags", json={"title": title}, timeout=30)

        browser.get(form)
        browser.find_element(By.ID, "title").send_keys("python")
        browser.find_element(By.CSS_SELECTOR, "#question button").click()
        problem = wait_for(browser, expected.presence_of_element_located((By.ID, "problem")))
        assert "please try again in a moment" in problem.text

        with space_server(space_folder, port) as space:
            browser.find_element(By.ID, "retry").click()
            wait_for(browser, expected.presence_of_element_located((By.ID, "suggested")))
            assert browser.find_element(By.CSS_SELECTOR, "#suggested a").text == "python"
            space.send_signal(signal.SIGSTOP)
            try:
                assert ask("csv").status_code == 503
            finally:
                space.send_signal(signal.SIGCONT)
            assert ask("csv again").status_code == 200
        assert ask("csv once more").status_code == 503
        assert ask("csv again").status_code == 200, "a known answer needs no Space"
        with space_server(space_folder, port):
            deadline = time.monotonic() + 60
            while (answer := ask("csv at last")).status_code == 503:  # as long as a busy machine answers too slowly
                assert time.monotonic() < deadline
            assert tags(answer.json()["suggested"]) == ["pandas"]


@pytest.mark.parametrize(
    "setting, value",
    [
        ("TAGGER_SPACE", "nowhere"),
        ("TAGGER_TIMEOUT", "soon"),
        ("TAGGER_TIMEOUT", "-1"),
        ("TAGGER_BROWSER_PAGE", "build/browser"),
    ],
)
def test_an_invalid_setting_is_reported_at_start(setting, value):
    result = subprocess.run(
        [sys.executable, ROOT / "webapp" / "app.py", "--port", str(free_port())],
        env=os.environ | {setting: value},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"{setting} is ")
    assert result.stderr.count("\n") == 1
