"""Serve suggested tags as a web form and a REST API, by calling the Gradio app in deployment/.

    python webapp/app.py --port 8000
    gunicorn --threads 16 "webapp.app:create_app()"

The app starts without the Space, and works as soon as the Space does. The settings are environment variables:
see webapp/settings.py and webapp/README.md.
"""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from jinja2 import ChoiceLoader, FileSystemLoader
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from tagging.console import run_script
from tagging.options import port, script_parser
from webapp import guards, views
from webapp.answers import LocalTagger, Tagging
from webapp.questions import MAX_QUESTION_BYTES
from webapp.settings import ANSWER_FILES, read_settings
from webapp.space import Space


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Create the WSGI application.

    Parameters
    ----------
    config : mapping, optional
        Settings by name, which take precedence over the environment: see :func:`webapp.settings.read_settings`.

    Raises
    ------
    ValueError
        If a setting has an invalid value.
    """
    settings = read_settings(config)
    app = Flask("webapp")
    app.config.from_mapping(
        MAX_CONTENT_LENGTH=MAX_QUESTION_BYTES,  # webapp/views.py raises it for a batch
        MAX_FORM_MEMORY_SIZE=MAX_QUESTION_BYTES,
    )
    app.config.from_mapping(settings)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # keep the order of the fields
    own, shared = app.jinja_loader, FileSystemLoader(ANSWER_FILES)
    app.jinja_loader = ChoiceLoader([own, shared])  # type: ignore[list-item]
    if proxies := settings["TAGGER_PROXIES"]:
        forwarded = dict.fromkeys(("x_for", "x_proto", "x_host", "x_port", "x_prefix"), proxies)
        app.wsgi_app = ProxyFix(app.wsgi_app, **forwarded)  # type: ignore[method-assign]

    guards.init_app(app)
    model = settings["TAGGER_MODEL"]
    app.extensions["tagging"] = Tagging(
        Space(settings["TAGGER_SPACE"], settings["TAGGER_TIMEOUT"], settings["TAGGER_IN_FLIGHT"]),
        LocalTagger(Path(model)) if model else None,
        app.logger,
    )
    app.register_blueprint(views.pages)
    app.register_blueprint(views.api)
    app.register_error_handler(HTTPException, views.show_error)
    return app


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        app = create_app()
    except ValueError as error:
        raise SystemExit(str(error)) from None
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # webapp/guards.py logs the requests
    print(f"listening on http://{args.host}:{args.port}", flush=True)
    app.run(args.host, args.port)


if __name__ == "__main__":
    run_script(main)
