"""Build the browser page: a folder of static files that tags questions without a server (see browser/README.md).

    python deployment/build_browser.py --output build/browser

Input:  the sources in deployment/browser/, a model folder, and the packages of deployment/browser/package-lock.json,
        which npm fetches into --packages and whose hashes it checks
Output: the page, the model and onnxruntime's WebAssembly; files.json lists them with their sizes and hashes
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tagging.console import run_script
from tagging.model_folder import (
    INT8_MODEL,
    SETTINGS,
    TAGS,
    THRESHOLDS,
    TOKENIZER,
    ModelFolder,
    add_model_folder_option,
)
from tagging.options import add_force_option, script_parser
from tagging.tiers import TIERS

HERE = Path(__file__).parent
SOURCES = HERE / "browser"
PAGE = ["index.html", "page.css", "service-worker.js", "embed.html", "ask-page.user.js", "README.md"]
STYLES = ["answer.css", "colours.css", "form.css", "favicon.svg"]
MODULES = ["page.js", "embed.js", "worker.js", "tagger.js"]  # each becomes one file with all that it imports
WASM = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"
FILE_LIST = "files.json"
INSTALLED = "installed.json"  # the package-lock.json that the installed packages come from


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--output", type=Path, default="build/browser", help="folder of the page")
    parser.add_argument("--packages", type=Path, default="build/npm", help="folder for the packages from npm")
    add_force_option(parser, "replace the page that is in --output")
    return parser.parse_args(argv)


def install_packages(folder: Path) -> None:
    """Install the locked packages into ``folder``, without running any script of theirs, unless they are there."""
    lock = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    installed = folder / INSTALLED
    if installed.is_file() and installed.read_text(encoding="utf-8") == lock:
        return
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        sys.exit("node and npm are missing: install them (Debian: apt install nodejs npm)")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCES / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=folder).returncode:
        sys.exit(f"npm could not install the packages of {SOURCES / 'package-lock.json'}: see its message above")
    installed.write_text(lock, encoding="utf-8", newline="\n")


def bundle_modules(packages: Path, target: Path) -> None:
    """Write each of MODULES with all that it imports: import maps, which name packages, do not reach workers."""
    command: list[str | Path] = [
        "node",
        packages / "node_modules/esbuild/bin/esbuild",
        *(SOURCES / name for name in MODULES),
    ]
    options = ["--bundle", "--format=esm", "--minify", "--target=es2022", "--charset=utf8", "--log-level=warning"]
    environment = os.environ | {"NODE_PATH": str((packages / "node_modules").resolve())}
    if subprocess.run([*command, *options, f"--outdir={target}"], env=environment).returncode:
        sys.exit(f"esbuild could not bundle the modules in {SOURCES}: see its message above")


def licences(packages: Path) -> str:
    """Return the licences of the packages that the page contains."""
    texts = []
    for about in sorted((packages / "node_modules").glob("**/package.json")):
        own = [path for path in about.parent.glob("LICEN[CS]E*") if path.is_file()]
        package = json.loads(about.read_text(encoding="utf-8"))
        if "name" in package and "version" in package and "esbuild" not in package["name"]:
            header = f"{package['name']} {package['version']}: {package.get('license', 'see below')}"
            texts.append("\n\n".join([header, *(path.read_text(encoding="utf-8").strip() for path in own)]))
    return f"\n\n{'-' * 80}\n\n".join(texts) + "\n"


def copy_model(folder: Path, target: Path) -> None:
    """Copy the files of a model folder that the page reads; settings, rules and tiers are written in full, as JSON.

    Raises
    ------
    ModelFolderError
        If a file is missing or damaged.
    """
    model = ModelFolder.read(folder)
    (target / "onnx").mkdir(parents=True)
    shutil.copy(model.model_path, target / "onnx" / INT8_MODEL)
    for name in (TAGS, THRESHOLDS, TOKENIZER):
        shutil.copy(model.path / name, target)
    settings = json.dumps(model.settings.as_json(), ensure_ascii=False, indent=1)
    (target / SETTINGS).write_text(settings, encoding="utf-8", newline="\n")
    rules = json.dumps(model.rules.as_json(), ensure_ascii=False)
    (target / "rules.json").write_text(rules, encoding="utf-8", newline="\n")
    tiers = json.dumps(model.tiers and asdict(model.tiers), ensure_ascii=False)
    (target / TIERS).write_text(tiers, encoding="utf-8", newline="\n")
    if (card := model.path / "README.md").is_file():
        shutil.copy(card, target)


def list_files(folder: Path) -> dict:
    """Return {"files": {name: {"bytes": ..., "sha256": ...}}} of all files in a folder."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return {"files": files}


def build(model: Path, packages: Path, target: Path) -> None:
    """Write the page into ``target``, a folder that does not exist yet."""
    target.mkdir(parents=True)
    copy_model(model, target / "model")
    install_packages(packages)
    bundle_modules(packages, target)
    for path in [*(SOURCES / name for name in PAGE), *(HERE / name for name in STYLES), packages / WASM]:
        shutil.copy(path, target)
    (target / "LICENCES.txt").write_text(licences(packages), encoding="utf-8", newline="\n")
    files = json.dumps(list_files(target), indent=1)
    (target / FILE_LIST).write_text(files, encoding="utf-8", newline="\n")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    present = args.output.is_dir() and any(args.output.iterdir())
    if present and not (args.output / FILE_LIST).is_file():
        sys.exit(f"{args.output} holds something else than a page: choose another --output")
    if present and not args.force:
        sys.exit(f"{args.output} already there: give --force to replace it, or choose another --output")
    temporary = args.output.with_name(f".{args.output.name}.{os.getpid()}.tmp")
    try:
        build(args.model, args.packages, temporary)
        if args.output.is_dir():
            shutil.rmtree(args.output)
        temporary.rename(args.output)
    except ValueError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB -> {args.output}; to try it: python -m http.server --directory {args.output}")


if __name__ == "__main__":
    run_script(main)
