"""Publishing a Space: the folder that is made, what is checked, and what reaches the Hub (a stand-in)."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

import publish
from tests.test_apps import OTHER_SITE, ROOT, SERVE_PYTHON, free_port, http_server
from tests.tiny_model import build_model_folder

NAME, TOKEN = "owner/tagger", "hf_secret"
NEEDS_PRO = "hosting Gradio and Docker Spaces on free cpu-basic requires a PRO subscription"


class Hub(BaseHTTPRequestHandler):
    """Stands in for the Hub: keeps what is created and committed. ``sdk`` is that of the Space that exists, if any."""

    sdk: str | None = None
    refusals: dict[str, tuple[int, str]]  # path: status and message
    created: list[dict]
    commits: list[dict[str, bytes]]
    tokens: set[str | None]

    def do_GET(self):
        if self.sdk:
            self.reply({"id": NAME, "sdk": self.sdk, "runtime": {"stage": "RUNNING", "hardware": {}}})
        else:
            self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self):
        self.tokens.add(self.headers["Authorization"])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in self.refusals:
            status, message = self.refusals[self.path]
            self.reply({"error": message}, status)
        elif self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            self.reply({"url": f"http://{self.headers['Host']}/spaces/{NAME}"})
        elif self.path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif self.path == f"/api/spaces/{NAME}/preupload/main":
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.reply({"files": [file | {"shouldIgnore": False} for file in files]})
        elif self.path == f"/api/spaces/{NAME}/commit/main":
            values = [line["value"] for line in map(json.loads, body.splitlines()) if line["key"] == "file"]
            self.commits.append({value["path"]: base64.b64decode(value["content"]) for value in values})
            self.reply({"commitUrl": f"http://{self.headers['Host']}/spaces/{NAME}/commit/1", "commitOid": "1"})
        else:
            self.reply({"error": f"unexpected {self.path}"}, 500)

    def reply(self, content: dict, status: int = 200, headers: dict | None = None):
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def hub(**attributes):
    """Run a stand-in for the Hub; yield its URL and its handler, which keeps what it got."""
    parts = {"refusals": {}, "created": [], "commits": [], "tokens": set()} | attributes
    handler = type("Handler", (Hub,), parts)
    with http_server(handler) as url:
        yield url, handler


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_model_folder(tmp_path_factory.mktemp("model"), **OTHER_SITE)


@pytest.fixture
def page(tmp_path):
    """A folder in the form of the one that `make browser` builds."""
    folder = tmp_path / "page"
    shutil.copytree(ROOT / "deployment/browser", folder, ignore=shutil.ignore_patterns("*.js*", "*.sh"))
    files = {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in folder.iterdir()}
    (folder / "files.json").write_text(json.dumps({"files": files}), encoding="utf-8")
    return folder


def run_publish(*arguments, hub_url: str, home: Path, token: str | None = TOKEN) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_TOKEN")}
    environment |= {"HF_ENDPOINT": hub_url, "HF_HOME": str(home)} | ({"HF_TOKEN": token} if token else {})
    command = [SERVE_PYTHON, ROOT / "deployment/publish.py", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def assert_one_line(done: subprocess.CompletedProcess, said: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert said in done.stderr


# ---- the folder ----


def test_without_push_the_folder_is_made_and_checked_and_nothing_uploaded(model, tmp_path):
    with hub() as (url, handler):
        done = run_publish("zerogpu", "--model", model, "--output", tmp_path / "space", hub_url=url, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the app starts from this folder alone" in done.stdout and "nothing was uploaded" in done.stdout
    assert not handler.created and not handler.commits
    made = {path.relative_to(tmp_path / "space").as_posix() for path in (tmp_path / "space").rglob("*")}
    assert {"app.py", "requirements.txt", "colours.css", "model/tagger.json", "model/model_quantized.onnx"} <= made
    assert not {"publish.py", "browser", "build_browser.py", "__pycache__"} & made
    header = yaml.safe_load((tmp_path / "space/README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert header["title"] == "Tags for cooks"
    assert header["short_description"] == "Suggests tags for questions of cooking.stackexchange.com"
    assert header["python_version"] == "3.12.12"
    again = run_publish("zerogpu", "--model", model, "--output", tmp_path / "space", hub_url=url, home=tmp_path)
    assert_one_line(again, "exists: choose another --output")


def test_an_app_that_does_not_start_is_not_uploaded(tmp_path):
    broken = build_model_folder(tmp_path / "broken")
    (broken / "model_quantized.onnx").write_bytes(b"\x08\x07 no graph")
    with hub() as (url, handler):
        done = run_publish("cpu", "--model", broken, "--push", NAME, hub_url=url, home=tmp_path)
    assert_one_line(done, "the app does not start alone: ")
    assert "not a readable ONNX model" in done.stderr
    assert not handler.created


def test_a_page_that_is_missing_or_was_changed_is_not_uploaded(page, tmp_path):
    with hub() as (url, handler):
        missing = run_publish("static", "--page", tmp_path / "no", "--push", NAME, hub_url=url, home=tmp_path)
        (page / "index.html").write_text("changed")
        changed = run_publish("static", "--page", page, "--push", NAME, hub_url=url, home=tmp_path)
    assert_one_line(missing, "run  make browser")
    assert_one_line(changed, "index.html is not as it was built")
    assert not handler.created


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: ", "titel: ", "the Hub knows no key 'titel'; 'title' is missing"),
        ("sdk: gradio", "sdk: static", "'sdk' is 'static', but it must be 'gradio'"),
        ("app_file: app.py", "app_file: main.py", "there is no app_file 'main.py'"),
        ("colorTo: blue", "colorTo: cyan", "'colorTo' is 'cyan'"),
        ("short_description: ", f"short_description: {'x' * 60}", "more than 60 characters"),
        ("sdk_version: ", "sdk_version: 5", "but requirements.txt has"),
        ("python_version: ", "python_version: 3.11 # ", "'python_version' must be one of 3.10.13, 3.12.12"),
        ("---\n", "", "does not begin with the front matter"),
        ("title: ", "title: [", "is not YAML"),
    ],
)
def test_a_front_matter_that_the_hub_would_refuse_is_reported(old, new, said, tmp_path):
    for name in ("README.md", "requirements.txt", "app.py"):
        shutil.copy(ROOT / "deployment" / name, tmp_path)
    publish.check_front_matter(tmp_path, "zerogpu")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(publish.PublishError, match=re.escape(said)):
        publish.check_front_matter(tmp_path, "zerogpu")


def test_a_folder_with_more_than_a_space_has_room_for_is_reported(tmp_path, monkeypatch):
    (tmp_path / "large").write_bytes(b"x" * 2000)
    monkeypatch.setattr(publish, "MAX_BYTES", 1999)
    with pytest.raises(publish.PublishError, match="a Space has room for"):
        publish.check_sizes(tmp_path)


# ---- the Hub ----


def test_push_creates_a_zerogpu_space_and_commits_the_app(model, tmp_path):
    with hub() as (url, handler):
        done = run_publish("zerogpu", "--model", model, "--push", NAME, "--private", hub_url=url, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{url}/spaces/{NAME}"
    (created,) = handler.created
    expected = {"name": "tagger", "organization": "owner", "type": "space", "sdk": "gradio", "hardware": "zero-a10g"}
    assert expected.items() <= created.items()
    assert created.get("private") is True or created.get("visibility") == "private"
    (commit,) = handler.commits
    assert {"app.py", "README.md", "tagging/tagger.py", "model/model_quantized.onnx"} <= set(commit)
    assert commit["app.py"] == (ROOT / "deployment/app.py").read_bytes()
    assert not [name for name in commit if "__pycache__" in name]
    assert handler.tokens == {f"Bearer {TOKEN}"}


def test_push_uploads_the_page_as_a_static_space(page, tmp_path):
    with hub() as (url, handler):
        done = run_publish("static", "--page", page, "--push", NAME, hub_url=url, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert handler.created[0]["sdk"] == "static" and not handler.created[0].get("hardware")
    assert set(handler.commits[0]) == {path.name for path in page.iterdir()}


def test_a_space_that_exists_is_updated_only_when_asked(page, tmp_path):
    with hub(sdk="static") as (url, handler):
        refused = run_publish("static", "--page", page, "--push", NAME, hub_url=url, home=tmp_path)
        assert_one_line(refused, f"{NAME} exists: give --update")
        assert not handler.commits
        done = run_publish("static", "--page", page, "--push", NAME, "--update", hub_url=url, home=tmp_path)
        assert done.returncode == 0 and len(handler.commits) == 1 and not handler.created
    with hub(sdk="gradio") as (url, handler):
        other = run_publish("static", "--page", page, "--push", NAME, "--update", hub_url=url, home=tmp_path)
        assert_one_line(other, "is a Space of the kind gradio")
        assert not handler.commits


CREATE, COMMIT = "/api/repos/create", f"/api/spaces/{NAME}/commit/main"


@pytest.mark.parametrize(
    ("path", "status", "message", "said"),
    [
        (CREATE, 401, "Invalid username or password.", "the token is not valid"),
        (CREATE, 402, NEEDS_PRO, "needs a paid plan; free are static Spaces and"),
        (CREATE, 403, "Forbidden", "the token may not write to owner"),
        (CREATE, 418, "Short and stout", "status 418: "),
        (COMMIT, 403, "Forbidden", "the Space was created: once this is mended, run the command with --update"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line(path, status, message, said, page, tmp_path):
    with hub(refusals={path: (status, message)}) as (url, handler):
        done = run_publish("static", "--page", page, "--push", NAME, hub_url=url, home=tmp_path)
    assert_one_line(done, said)
    assert not handler.commits


def test_no_token_and_no_network_are_one_line(page, tmp_path):
    with hub() as (url, handler):
        done = run_publish("static", "--page", page, "--push", NAME, hub_url=url, home=tmp_path, token=None)
        assert_one_line(done, "set HF_TOKEN, or run  hf auth login")
        assert not handler.tokens
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = run_publish("static", "--page", page, "--push", NAME, hub_url=nowhere, home=tmp_path)
    assert_one_line(done, "the Hub cannot be reached")
