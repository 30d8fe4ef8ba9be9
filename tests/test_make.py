"""The make targets that a newcomer meets first."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from tests.tiny_model import build_model_folder

WITHOUT_OUTER_MAKE = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it


def test_help_lists_every_target():
    shown = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, env=WITHOUT_OUTER_MAKE).stdout
    for target in ("demo", "test", "pythons", "lint", "serve", "bench", "reproduce", "clean", "help"):
        assert f"make {target} " in shown


@pytest.mark.parametrize(("environment", "files"), [(".venv", "REQUIREMENTS"), (".venv-serve", "SERVE_REQUIREMENTS")])
def test_a_copied_folder_gets_an_environment_of_its_own(environment, files, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second (copy)"
    first.mkdir()
    shutil.copy("Makefile", first)
    (first / "none.txt").touch()
    command = ["make", f"{environment}/installed", f"{files}=none.txt", f"PYTHON={sys.executable}"]
    options = {"capture_output": True, "text": True, "check": True, "env": WITHOUT_OUTER_MAKE}
    subprocess.run(command, cwd=first, **options)
    assert "up to date" in subprocess.run(command, cwd=first, **options).stdout
    shutil.copytree(first, second, symlinks=True)
    subprocess.run(command, cwd=second, **options)
    assert "up to date" in subprocess.run(command, cwd=second, **options).stdout
    activate = f". {environment}/bin/activate; command -v python"
    activated = subprocess.run(["bash", "-euc", activate], cwd=second, **options)
    assert activated.stdout.strip() == str(second / environment / "bin/python")


@pytest.mark.parametrize("name", ["DATA", "MODELS", "REPORTS", "BENCH"])
def test_neither_demo_nor_clean_changes_a_folder_of_the_user(name, tmp_path):
    (tmp_path / "ques_details.csv").write_text("mine")
    for target in ("clean", "demo"):
        command = ["make", "--dry-run", target, f"{name}={tmp_path}"]
        done = subprocess.run(command, capture_output=True, text=True, env=WITHOUT_OUTER_MAKE)
        assert done.returncode != 0 and f"{name} is the demo's own folder" in done.stderr
        assert str(tmp_path) not in done.stdout


def test_serve_without_a_model_names_the_folder(tmp_path):
    done = subprocess.run(
        ["make", "serve", f"SERVED={tmp_path}"], capture_output=True, text=True, env=WITHOUT_OUTER_MAKE
    )
    assert done.returncode != 0
    assert f"{tmp_path} holds no model_quantized.onnx" in done.stderr


@pytest.mark.parametrize("page_is_built", [True, False])
def test_serve_starts_all_servers_and_ctrl_c_stops_them(page_is_built, tmp_path):
    ports = {"GRADIO_PORT": free_port(), "FORM_PORT": free_port(), "PAGE_PORT": free_port()}
    page = tmp_path / "page"
    if not page_is_built:  # a page is not built over other files
        page.mkdir()
        (page / "mine").touch()
    variables = ports | {"PAGE": page, "SERVED": build_model_folder(tmp_path / "model")}
    command = ["make", "serve", *(f"{name}={value}" for name, value in variables.items())]
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, start_new_session=True, env=WITHOUT_OUTER_MAKE, preexec_fn=heed_ctrl_c
        )
    served = [port for name, port in ports.items() if page_is_built or name != "PAGE_PORT"]
    try:
        deadline = time.monotonic() + 120
        while not all(map(is_open, served)):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        form, page_url = (f"http://127.0.0.1:{ports[name]}" for name in ("FORM_PORT", "PAGE_PORT"))
        answer = requests.post(f"{form}/api/tags", json={"title": "python"}, timeout=30)
        assert answer.json()["suggested"][0]["tag"] == "python"
        assert (f'href="{page_url}"' in requests.get(form, timeout=30).text) == page_is_built
        if page_is_built:
            assert requests.get(f"{page_url}/model/tag_types_encoded.json", timeout=30).json()["python"] == 0
        else:
            assert "could not be built" in log.read_text() and [path.name for path in page.iterdir()] == ["mine"]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to the whole group
        process.wait(timeout=20)  # less than the 30 s that gunicorn gives a stuck worker
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # which stops the servers too
    assert not any(map(is_open, ports.values()))
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert "Traceback" not in log.read_text()
