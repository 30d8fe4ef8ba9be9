"""Serve the queue in which moderators decide about suggested changes of tags, one question at a time.

    reports/retag_worklist.jsonl, data/ques_filtered.csv  ->  data/moderation.sqlite3

    python webapp/moderation.py                                     # on http://127.0.0.1:8001
    python webapp/moderation.py --export data/decisions.jsonl       # or .csv, or .json for Label Studio

The decisions are kept when training/retag_worklist.py has made the worklist anew: nothing that was decided is shown
again. Start this script again to read the new one. The site is never edited.

For others than this machine, --host needs a token of 16 characters or more in the environment variable
MODERATION_TOKEN.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from flask import Flask
from jinja2 import ChoiceLoader, FileSystemLoader
from werkzeug.exceptions import HTTPException

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import iter_rows, refuse_overwrite, require
from data.options import add_folder_options
from data.worklist_file import read_worklist
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import read_tags
from tagging.options import add_force_option, port, script_parser, whole_number
from webapp import guards, moderation_views
from webapp.moderation_queue import ModerationQueue
from webapp.settings import ANSWER_FILES

HERE = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 16  # characters


def create_app(review: moderation_views.Review) -> Flask:
    """Create the WSGI application."""
    app = Flask("webapp")
    app.secret_key = review.queue.secret()
    app.config.from_mapping(
        MAX_CONTENT_LENGTH=64 * 1024,
        SESSION_COOKIE_NAME="moderation",
        SESSION_COOKIE_SAMESITE="Lax",
        TAGGER_ORIGINS=set(),
        # A page of another site could have its name resolved to this machine, and would then be this site to a browser.
        TRUSTED_HOSTS=None if review.token else ["127.0.0.1", "localhost", "[::1]"],
    )
    own, shared = app.jinja_loader, FileSystemLoader(ANSWER_FILES)
    app.jinja_loader = ChoiceLoader([own, shared])  # type: ignore[list-item]
    guards.protect(app)
    app.extensions["review"] = review
    app.register_blueprint(moderation_views.pages)
    app.register_error_handler(HTTPException, moderation_views.show_error)
    return app


def read_descriptions(path: Path) -> dict[str, str]:
    """Return the descriptions of questions by their urls; none if there is no such file."""
    return {row["url"]: row["description"] for row in iter_rows(path)} if path.is_file() else {}


def read_presets(path: Path | None, tags: frozenset[str]) -> list[tuple[str, ...]]:
    """Read sets of tags, one a line, separated by blanks.

    Raises
    ------
    ValueError
        The file cannot be read, or names a tag that is not in ``tags``; the message gives file and line.
    """
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--presets {path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if unknown := set(line.split()) - tags:
            raise ValueError(f"{path}, line {number}: {sorted(unknown)[0]!r} is no tag of the site")
    return [tuple(line.split()) for line in lines if line.strip()]


def write_export(path: Path, queue: ModerationQueue, force: bool) -> None:
    ending = path.suffix.removeprefix(".")
    if ending not in moderation_views.EXPORTS:
        raise ValueError(f"--export {path}: name a file that ends with .csv, .jsonl, or .json (for Label Studio)")
    refuse_overwrite(path, force=force)
    with atomic_path(path) as temporary:
        temporary.write_text(moderation_views.exported(queue, ending), encoding="utf-8", newline="\n")
    print(f"{len(queue.decisions())} decisions written: {path}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(
        parser,
        data_dir="folder of the output of filter_tags.py, and of the queue, moderation.sqlite3",
        reports_dir="folder of retag_worklist.jsonl",
    )
    parser.add_argument("--queue", type=Path, help="another file for the queue (default: in --data-dir)")
    parser.add_argument("--presets", type=Path, help="file of sets of tags, one a line, that replace a question's tags")
    parser.add_argument(
        "--budget", type=whole_number(0), default=50, help="decisions of a reviewer on a day; 0: no limit"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; others need MODERATION_TOKEN")
    parser.add_argument("--port", type=port, default=8001, help="port to listen on")
    parser.add_argument("--export", type=Path, help="write all decisions to this .csv, .jsonl or .json, and end")
    add_force_option(parser, "overwrite the file of --export")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    token = os.environ.get("MODERATION_TOKEN", "")
    if (token or args.host not in HERE) and len(token) < MIN_TOKEN:
        sys.exit(
            f"--host {args.host}: set the environment variable MODERATION_TOKEN to a secret of at least {MIN_TOKEN} "
            "characters, which every reviewer gives once"
        )
    try:
        queue = ModerationQueue(args.queue or args.data_dir / "moderation.sqlite3")
        if args.export:
            write_export(args.export, queue, args.force)
            return
        worklist = require(args.reports_dir / "retag_worklist.jsonl", "python training/retag_worklist.py")
        tags = frozenset(read_tags(require(args.data_dir / "tag_types_encoded.json", "python training/filter_tags.py")))
        presets = read_presets(args.presets, tags)
        descriptions = read_descriptions(args.data_dir / "ques_filtered.csv")
        rows = [row | {"description": descriptions.get(row["url"], "")} for row in read_worklist(worklist)]
    except ValueError as error:
        sys.exit(str(error))
    waiting = queue.replace_worklist(rows)
    app = create_app(moderation_views.Review(queue, tags, presets, args.budget, token))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # webapp/guards.py logs the requests
    print(f"{waiting} of {len(rows)} questions of {worklist} are to be decided")
    print(f"listening on http://{args.host}:{args.port}", flush=True)
    app.run(args.host, args.port, threaded=True)


if __name__ == "__main__":
    run_script(main)
