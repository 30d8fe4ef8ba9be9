"""The serving files under each supported Python that this machine has: installed as a Space does it, and started.

Installing takes minutes, so these tests are run by `make pythons` alone.
"""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.test_apps import ROOT, free_port, server

VERSIONS = ["3.11", "3.12", "3.13"]
QUESTIONS = ["Which loss for a multi-label neural network?", "How to merge two pandas dataframes?", ""]
FOLDERS = ["deployment", "webapp"]
COMPILE_ALL = """
import pathlib, sys, warnings
warnings.simplefilter("error")
for path in pathlib.Path(sys.argv[1]).glob("*/**/*.py"):
    if not {".venv", ".venv-serve"} & set(path.parts):
        compile(path.read_text(encoding="utf-8"), path, "exec")
"""

pytestmark = pytest.mark.pythons


def find_python(version: str) -> Path | None:
    """Return a Python of ``version`` that can make virtual environments: one on the PATH, or one of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    named = shutil.which(f"python{version}")
    check = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
    for path in [*([Path(named)] if named else []), *pyenv.glob(f"{version}.*/bin/python")]:
        if not subprocess.run([path, "-c", check], capture_output=True).returncode:
            return path
    return None


@pytest.fixture(scope="module", params=VERSIONS)
def place(request, tmp_path_factory):
    """A Python with the serving files' dependencies and nothing else, and a folder with copies of these files."""
    python = find_python(request.param)
    if not python:
        pytest.skip(f"no Python {request.param} here")
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-m", "venv", folder / "environment"], check=True)
    python = folder / "environment/bin/python"
    requirements = [option for name in FOLDERS for option in ("-r", folder / name / "requirements.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *requirements], check=True)
    return python, folder


def test_the_shipped_model_gives_the_same_tags(place, tmp_path):
    python, folder = place
    with (tmp_path / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["title"], *([title] for title in QUESTIONS)])
    tagged = []
    for name, executable, script in (("own", python, folder), ("other", sys.executable, ROOT)):
        command = [executable, script / "deployment/predict.py", "--input", tmp_path / "questions.csv"]
        subprocess.run([*command, "--output", tmp_path / name], check=True, env=bare_environment())
        tagged.append((tmp_path / name).read_text(encoding="utf-8"))
    assert tagged[0] == tagged[1]


def test_both_apps_start_and_answer(place):
    python, folder = place
    space, form, own = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    environment = bare_environment() | {"TAGGER_SPACE": space}
    apps = [python, "deployment/app.py", "--port", space.rpartition(":")[2]]
    gunicorn = [python, "-m", "gunicorn", "--bind", form.removeprefix("http://"), "webapp.app:create_app()"]
    flask = [python, "webapp/app.py", "--port", own.rpartition(":")[2]]
    options = {"cwd": folder, "env": environment}
    with server(apps, space, **options), server(gunicorn, form, **options), server(flask, own, **options):
        for url in (form, own):
            answer = httpx.post(f"{url}/api/tags", json={"title": QUESTIONS[1]}, timeout=60).json()
            assert answer["suggested"][0]["tag"] == "pandas"


def test_the_app_starts_from_the_folder_that_is_published(place, tmp_path):
    python, folder = place
    options = {"cwd": tmp_path, "env": bare_environment(), "capture_output": True, "text": True}
    done = subprocess.run([python, folder / "deployment/publish.py", "zerogpu"], **options)
    assert done.returncode == 0, done.stderr
    assert "the app starts from this folder alone" in done.stdout


def test_the_endpoints_are_tools_of_an_mcp_server(place):
    """The last test that starts a server: it adds to the installed packages."""
    python, folder = place
    requirements = [option for name in ("", "-mcp") for option in ("-r", folder / f"deployment/requirements{name}.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *requirements], check=True)
    url = f"http://127.0.0.1:{free_port()}"
    app = [python, "app.py", "--port", url.rpartition(":")[2]]
    environment = bare_environment() | {"GRADIO_MCP_SERVER": "True"}
    with server(app, url, cwd=folder / "deployment", env=environment):
        tools = httpx.get(f"{url}/gradio_api/mcp/schema").json()
    assert {tool["name"] for tool in tools} == {"predict", "predict_batch", "explain", "tags"}


def test_every_file_of_the_repository_compiles_without_a_warning(place):
    subprocess.run([place[0], "-c", COMPILE_ALL, ROOT], check=True)


def test_no_library_for_training_is_needed(place):
    listed = subprocess.run([place[0], "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    installed = {line.split()[0].lower() for line in listed.splitlines()[2:]}
    assert "onnxruntime" in installed
    assert not {"torch", "transformers", "scikit-learn", "selenium"} & installed


def bare_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
