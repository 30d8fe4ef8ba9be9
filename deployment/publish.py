"""Publish the tagger as a Space of the Hugging Face Hub: make the folder, check it, and upload it (see README.md).

    python deployment/publish.py zerogpu                     # make and check the folder, upload nothing
    python deployment/publish.py zerogpu --push OWNER/NAME   # upload it as well

    zerogpu   the Gradio app, hosted as a ZeroGPU Space, of which a free account may have two; it uses no GPU
    static    the page that tags in the browser, which `make browser` builds; free for every account
    cpu       the Gradio app, hosted on a CPU; needs a paid plan

The token is taken from HF_TOKEN or from `hf auth login`, and must have write access.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tagging.console import run_script
from tagging.model_folder import (
    RULES,
    SETTINGS,
    TAGS,
    THRESHOLDS,
    TOKENIZER,
    ModelFolder,
    ModelFolderError,
    add_model_folder_option,
)
from tagging.options import script_parser
from tagging.similar import SIMILAR
from tagging.tiers import TIERS

HERE = Path(__file__).parent
OF_OTHER_PAGES = ["browser", "build_browser.py", "favicon.svg", "form.css", "ticks.js"]
NO_PART_OF_THE_APP = ["__pycache__", "model", "publish.py", *OF_OTHER_PAGES]
MAX_BYTES = 1_000_000_000  # of a Space's repository
START_SECONDS = 180  # on a busy machine
# https://huggingface.co/docs/hub/spaces-config-reference
KEYS = {
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware"),
    *("suggested_storage", "app_file", "app_build_command", "app_port", "base_path", "fullWidth", "header"),
    *("short_description", "models", "datasets", "tags", "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes"),
    *("hf_oauth_expiration_minutes", "hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout"),
    *("custom_headers", "preload_from_hub", "license"),
}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
MAX_SHORT_DESCRIPTION = 60  # characters
ZEROGPU_PYTHONS = {"3.12.12", "3.10.13"}
FREE_KINDS = (
    "free are static Spaces and, for an account that is older than 30 days and has a verified email address, two "
    "zerogpu Spaces"
)


@dataclass(frozen=True)
class Kind:
    """A kind of Space: its SDK, and the hardware that is asked for when it is created."""

    sdk: str
    hardware: str | None


KINDS = {"zerogpu": Kind("gradio", "zero-a10g"), "static": Kind("static", None), "cpu": Kind("gradio", "cpu-basic")}


class PublishError(Exception):
    """The folder cannot be published. The message is one line for the user."""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("kind", choices=KINDS, help="kind of Space")
    add_model_folder_option(parser)
    parser.add_argument("--page", type=Path, default="build/browser", help="folder of the page, for a static Space")
    parser.add_argument("--output", type=Path, help="keep the folder here; by default it is temporary")
    parser.add_argument("--push", metavar="OWNER/NAME", type=space_name, help="upload the folder as this Space")
    parser.add_argument("--private", action="store_true", help="create the Space as a private one")
    parser.add_argument("--update", action="store_true", help="replace the files of a Space that exists")
    return parser.parse_args(argv)


def space_name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form OWNER/NAME")
    return text


# ---- the folder ----


def make_app_folder(model_folder: Path, target: Path) -> None:
    """Copy the Gradio app and a model into ``target``; title and description of the Space are those of the model.

    Raises
    ------
    ModelFolderError
        If the model folder is not complete.
    """
    import yaml

    model = ModelFolder.read(model_folder)
    shutil.copytree(HERE, target, ignore=shutil.ignore_patterns(*NO_PART_OF_THE_APP))
    onnx_file = model.model_path.relative_to(model.path)
    for name in (onnx_file, TOKENIZER, TAGS, THRESHOLDS, SETTINGS, RULES, TIERS, SIMILAR, "README.md"):
        if (model.path / name).is_file():
            (target / "model" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(model.path / name, target / "model" / name)
    header, text = split_front_matter(target / "README.md")
    host = urlsplit(model.settings.site).netloc
    header |= {"title": model.settings.title, "short_description": f"Suggests tags for questions of {host}"}
    if len(header["short_description"]) > MAX_SHORT_DESCRIPTION:
        header["short_description"] = "Suggests the tags of a question"
    shown = yaml.safe_dump(header, allow_unicode=True, sort_keys=False)
    (target / "README.md").write_text(f"---\n{shown}---\n{text}", encoding="utf-8", newline="\n")


def copy_page(page: Path, target: Path) -> None:
    """Copy the page that `make browser` builds. Raises PublishError if it is not there or not as it was built."""
    if not (page / "files.json").is_file():
        raise PublishError(f"{page} is no built page: run  make browser  or name its folder with --page")
    listed = json.loads((page / "files.json").read_text(encoding="utf-8"))["files"]
    for name, about in listed.items():
        file = page / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != about["sha256"]:
            raise PublishError(f"{file} is not as it was built: run  make browser  again")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / name)
    shutil.copy(page / "files.json", target)


def split_front_matter(readme: Path) -> tuple[dict, str]:
    """Return the front matter of a README.md, and the text below it. Raises PublishError if there is none."""
    import yaml

    parts = re.split(r"^---\n", readme.read_text(encoding="utf-8"), maxsplit=2, flags=re.MULTILINE)
    try:
        header = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    except yaml.YAMLError as error:
        raise PublishError(f"{readme}: the front matter is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(header, dict):
        raise PublishError(f"{readme} does not begin with the front matter of a Space")
    return header, parts[2]


# ---- checks ----


def check_front_matter(folder: Path, kind: str) -> None:
    """Raise PublishError if the Hub would not build the Space from the front matter of README.md."""
    header, _ = split_front_matter(folder / "README.md")
    faults = [f"the Hub knows no key {key!r}" for key in header if key not in KEYS]
    faults += [f"{key!r} is missing" for key in ("title", "sdk", "app_file", "license") if not header.get(key)]
    if header.get("sdk") != KINDS[kind].sdk:
        faults.append(f"'sdk' is {header.get('sdk')!r}, but it must be {KINDS[kind].sdk!r}")
    if not (folder / str(header.get("app_file"))).is_file():
        faults.append(f"there is no app_file {header.get('app_file')!r}")
    faults += [
        f"{key!r} is {header[key]!r}, but it must be one of {', '.join(sorted(COLOURS))}"
        for key in ("colorFrom", "colorTo")
        if header.get(key, "red") not in COLOURS
    ]
    if len(str(header.get("short_description", ""))) > MAX_SHORT_DESCRIPTION:
        faults.append(f"'short_description' has more than {MAX_SHORT_DESCRIPTION} characters")
    if KINDS[kind].sdk == "gradio":
        pins = re.findall(r"^gradio==(\S+)", (folder / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
        if pins != [header.get("sdk_version")]:
            faults.append(f"'sdk_version' is {header.get('sdk_version')!r}, but requirements.txt has {', '.join(pins)}")
    if kind == "zerogpu" and header.get("python_version") not in ZEROGPU_PYTHONS:
        faults.append(f"'python_version' must be one of {', '.join(sorted(ZEROGPU_PYTHONS))} for ZeroGPU")
    if faults:
        raise PublishError(f"README.md of the Space: {'; '.join(faults)}")


def check_sizes(folder: Path) -> str:
    """Return the number of files and their sizes for the user. Raises PublishError if they are too large."""
    sizes = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        raise PublishError(f"the folder has {total / 1e6:.0f} MB; a Space has room for {MAX_BYTES / 1e6:.0f} MB")
    largest = max(sizes, key=lambda path: sizes[path])
    return f"{len(sizes)} files, {total / 1e6:.1f} MB; the largest is {largest} with {sizes[largest] / 1e6:.1f} MB"


def check_start(folder: Path) -> None:
    """Start the app of a folder with this interpreter, and stop it. Raises PublishError if it does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TAGGER_MODEL")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # leave the folder as it is
    command = [sys.executable, "app.py", "--port", str(port)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(f"http://127.0.0.1:{port}/config"):
                if process.poll() is not None:
                    log.seek(0)
                    lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
                    raise PublishError(f"the app does not start alone: {lines[-1]}")
                if time.monotonic() > deadline:
                    raise PublishError(f"the app does not start within {START_SECONDS} seconds")
                time.sleep(0.2)
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Return whether a server of this machine answers; no proxy is asked."""
    import httpx  # comes with gradio

    try:
        return httpx.get(url, timeout=10, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


# ---- the Hub ----


def push(folder: Path, name: str, kind: str, private: bool, update: bool) -> str:
    """Upload a folder as a Space, which is created if there is none, and return its URL.

    Raises
    ------
    PublishError
        If there is no token, if the Space exists and ``update`` is not set, or if the Hub refuses or is not reached.
    """
    from huggingface_hub import HfApi, SpaceHardware, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if not get_token():
        raise PublishError("there is no token for the Hub: set HF_TOKEN, or run  hf auth login")
    api = HfApi()
    with hub_errors(name):
        try:
            present = api.space_info(name)
        except RepositoryNotFoundError:
            present = None
    if present and not update:
        raise PublishError(f"{name} exists: give --update to replace its files, or choose another name")
    if present and present.sdk != KINDS[kind].sdk:
        raise PublishError(f"{name} is a Space of the kind {present.sdk}: choose another name")
    if not present:
        flavour = KINDS[kind].hardware
        hardware = SpaceHardware(flavour) if flavour else None
        with hub_errors(name):
            api.create_repo(
                name, repo_type="space", space_sdk=KINDS[kind].sdk, space_hardware=hardware, private=private
            )
    try:
        with hub_errors(name):
            api.upload_folder(repo_id=name, repo_type="space", folder_path=folder, commit_message="Publish the tagger")
    except PublishError as error:
        created = "" if present else "; the Space was created: once this is mended, run the command with --update"
        raise PublishError(f"{error}{created}") from None
    return f"{api.endpoint}/spaces/{name}"


@contextlib.contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Turn an error of a call to the Hub into a PublishError that says what to do."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = " ".join((error.server_message or str(error)).split())[:300]
        advice = {
            401: "the token is not valid: make one with write access on https://huggingface.co/settings/tokens",
            402: f"this kind of Space needs a paid plan; {FREE_KINDS}",
            403: f"the token may not write to {name.partition('/')[0]}: it needs write access there",
        }
        raise PublishError(f"the Hub refuses {name} with status {status}: {advice.get(status, reason)}") from None
    except ValueError as error:  # also of the Hub's own check of the front matter
        raise PublishError(" ".join(str(error).split())[:300]) from None
    except (OSError, httpx.HTTPError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise PublishError(f"the Hub cannot be reached ({reason}); no file was uploaded") from None


def publish(args: argparse.Namespace, folder: Path) -> None:
    """Make the folder, check it and, if asked, upload it."""
    if KINDS[args.kind].sdk == "static":
        copy_page(args.page, folder)
    else:
        make_app_folder(args.model, folder)
    check_front_matter(folder, args.kind)
    print(check_sizes(folder))
    if KINDS[args.kind].sdk == "gradio":
        check_start(folder)
        print("the app starts from this folder alone")
    if args.push:
        print(push(folder, args.push, args.kind, args.private, args.update))
    else:
        print(f"nothing was uploaded; --push OWNER/NAME creates a {args.kind} Space from this folder")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.output and args.output.exists():
        sys.exit(f"{args.output} exists: choose another --output")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "space"
        try:
            publish(args, folder)
        except (PublishError, ModelFolderError) as error:
            sys.exit(str(error))
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, args.output)


if __name__ == "__main__":
    run_script(main)
