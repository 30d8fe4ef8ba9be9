"""The documents: every command in them is one that its script takes, and every link leads to a file."""

import doctest
import importlib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += [f"{folder}/README.md" for folder in ("scraper", "data", "training", "onnx_export", "deployment", "webapp")]
PAGES += ["assets/refresh/README.md", "deployment/browser/README.md", "onnx_export/evaluation/model_card.md"]
# `python folder/script.py options`, up to a comment, an arrow, the end of code or of the line
COMMAND = re.compile(r"(?:python|torchrun [^`\n]*?|accelerate launch [^`\n]*?) ?((?:\w+/)+\w+\.py)([^`#\n]*)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")

EXAMPLES = [  # modules with examples in their docstrings
    path.with_suffix("").as_posix().removeprefix("deployment/").replace("/", ".")
    for package in ("deployment/tagging", "data", "scraper", "training", "onnx_export", "webapp")
    for path in sorted(Path(package).glob("**/*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_in_docstrings_print_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


def commands():
    for page in PAGES:
        text = Path(page).read_text(encoding="utf-8").replace("\\\n", " ")
        for script, options in COMMAND.findall(text):
            if "{" not in options and "..." not in options:
                yield pytest.param(script, options, id=f"{page}: {script}{options.rstrip()}")


@pytest.mark.parametrize(("script", "options"), list(commands()))
def test_a_command_is_one_that_its_script_takes(script, options, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(script).parent.resolve())  # as python does with a script
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    (tmp_path / "shards").mkdir()  # an example that needs its folder
    monkeypatch.chdir(tmp_path)
    module.parse_args(shlex.split(options))


def test_every_documentation_page_has_commands():
    assert len({param.values[0] for param in commands()}) >= 15


@pytest.mark.parametrize("page", [*PAGES[:-1], "SECURITY.md", "deployment/model/README.md"])
def test_links_point_to_files(page):
    links = LINK.findall(Path(page).read_text(encoding="utf-8"))
    assert [link for link in links if not (Path(page).parent / link).exists()] == []


@pytest.mark.parametrize("notebook", sorted(Path("notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_as_executed_from_top_to_bottom(notebook):
    cells = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run  make notebooks"
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)


def test_every_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", Path("Makefile").read_text(), flags=re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|^    )make ([a-z]+)", Path(page).read_text(), re.M)}
    assert named and named <= targets


def without_make() -> str:
    """The README's section "Without make"."""
    return Path("README.md").read_text(encoding="utf-8").partition("\n## Without make\n")[2].partition("\n## ")[0]


def options_of(command: str) -> list[str]:
    """A script and its options in order, without those that the demo gives on top."""
    words = shlex.split(command.replace("$site", "http://127.0.0.1:8765"))
    for extra, values in (("--force", 0), ("--workers", 1), ("--port-file", 1), ("--description", 1)):
        while extra in words:
            del words[words.index(extra) : words.index(extra) + 1 + values]
    return sorted(words)


def test_the_demo_without_make_is_the_one_of_make():
    command, own = ["make", "--dry-run", "--always-make", "demo"], os.environ | {"MAKEFLAGS": ""}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=own).stdout
    shown = re.sub(r"^echo .*$", "", shown, flags=re.M)  # what to try next
    made = re.findall(r"\.venv/bin/python ((?:\w+/)+\w+\.py[^;&\n]*)", shown.replace("\\\n", " "))
    written = re.findall(r"^    python ((?:\w+/)+\w+\.py.*)", without_make(), re.M)
    assert len(made) == 10
    assert [command for command in map(options_of, made) if command not in list(map(options_of, written))] == []


def test_both_shells_have_the_same_commands():
    rows = re.findall(r"^\| [^|]+ \| `(.+)` \| `(.+)` \|$", without_make(), re.M)
    assert len(rows) == 3
    for sh, powershell in rows:
        own = re.sub(r'\$env:(\w+) = "(.*?)";', r"\1=\2", powershell).replace("py -3.11", "python3.11")
        assert own.replace("\\", "/").replace("Scripts/Activate.ps1", "bin/activate") == sh.removeprefix(". ")


def test_the_pages_install_from_files_that_are_there():
    named = {
        (page, name)
        for page in PAGES
        for options in re.findall(r"pip install ([^`\n#]*)", Path(page).read_text("utf-8"))
        for name in re.findall(r"-r (\S+)", options)
    }
    assert {("README.md", "requirements.txt"), ("webapp/README.md", "webapp/requirements.txt")} <= named
    own_folder = "deployment/README.md"  # its commands are run in the copied folder
    root = {page: Path(page).parent if page == own_folder else Path() for page in PAGES}
    assert [file for page, name in named if not (file := root[page] / name).is_file()] == []


@pytest.mark.parametrize(
    ("lock", "files"),
    [
        ("requirements.lock", ["requirements-stages.txt", "requirements.txt"]),
        ("requirements-serve.lock", ["deployment/requirements.txt", "webapp/requirements.txt"]),
    ],
)
def test_the_lock_holds_what_is_required_with_hashes(lock, files):
    required = re.findall(r"^[^#\s]+==\S+", "\n".join(Path(file).read_text() for file in files), flags=re.MULTILINE)
    lock = Path(lock).read_text()
    pinned = re.findall(r"^(\S+==\S+)[^\n]* \\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert set(map(canonical, required)) <= set(map(canonical, pinned))


def canonical(pin):
    """Return a pin with its name as package indexes compare it (PEP 503)."""
    name, version = pin.split("==")
    return re.sub(r"[-_.]+", "-", name).lower(), version
