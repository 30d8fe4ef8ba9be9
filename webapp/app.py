"""The tagger as a form and a REST API, for people who need not know that there is a Space behind it.

    python webapp/app.py --port 8000
    gunicorn --threads 16 "webapp.app:create_app()"

The app starts without the Space, and works as soon as the Space does. Environment:

    TAGGER_SPACE        Hub id or url of the Gradio app
    TAGGER_MODEL        a model folder to answer from, in this process, while the Space is away (default: none)
    TAGGER_SITE         url of the site whose tag pages the results link to
    TAGGER_TIMEOUT      seconds that the Space may take for an answer
    TAGGER_IN_FLIGHT    calls to the Space at one time
    TAGGER_RATE_LIMIT   questions of one address, such as "240 per minute"; a batch counts as its questions, an
                        explanation as up to 45
    TAGGER_PROXIES      reverse proxies in front, whose X-Forwarded-For, -Proto, -Host, -Port and -Prefix are believed:
                        1 on Render
    HF_TOKEN            a token of the Hub that may read the Space, if it is private and named by its id
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from flask import Flask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from tagging.console import run_script
from tagging.options import port

from webapp.questions import QUESTION_BYTES

DEFAULTS = {
    "TAGGER_SPACE": "http://127.0.0.1:7860",
    "TAGGER_MODEL": "",
    "TAGGER_SITE": "https://datascience.stackexchange.com",
    "TAGGER_TIMEOUT": "20",
    "TAGGER_IN_FLIGHT": "32",
    "TAGGER_RATE_LIMIT": "240 per minute",
    "TAGGER_PROXIES": "0",
}
ANSWER_FILES = Path(__file__).parents[1] / "deployment"  # answer.html and answer.css, which the Gradio app shows too


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Return the WSGI application. ``config`` goes before the environment, and that before DEFAULTS.

    Raises
    ------
    ValueError : a setting has a value that cannot be used
    """
    from jinja2 import ChoiceLoader, FileSystemLoader
    from werkzeug.middleware.proxy_fix import ProxyFix

    from webapp import guards, views
    from webapp.answers import LocalTagger, Tagging
    from webapp.space import Space

    app = Flask("webapp")
    configure(app, config)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # answers keep the Space's order: suggested tags first
    own, shared = app.jinja_loader, FileSystemLoader(ANSWER_FILES)
    app.jinja_loader = ChoiceLoader([own, shared])  # type: ignore[list-item]
    if proxies := read_number(app.config, "TAGGER_PROXIES", int):
        forwarded = dict.fromkeys(("x_for", "x_proto", "x_host", "x_port", "x_prefix"), proxies)
        app.wsgi_app = ProxyFix(app.wsgi_app, **forwarded)  # type: ignore[method-assign]

    guards.init_app(app)
    timeout, in_flight = (
        read_number(app.config, name, kind) for name, kind in (("TAGGER_TIMEOUT", float), ("TAGGER_IN_FLIGHT", int))
    )
    model = app.config["TAGGER_MODEL"]
    app.extensions["tagging"] = Tagging(
        Space(str(app.config["TAGGER_SPACE"]), timeout, in_flight),
        LocalTagger(Path(model)) if model else None,
        app.logger,
    )
    app.register_blueprint(views.pages)
    app.register_blueprint(views.api)
    app.register_error_handler(views.HTTPException, views.show_error)
    return app


def configure(app: Flask, config: Mapping[str, object] | None) -> None:
    """Fill ``app.config`` as create_app says."""
    app.config.from_mapping(
        MAX_CONTENT_LENGTH=QUESTION_BYTES,  # webapp/views.py allows a batch more
        MAX_FORM_MEMORY_SIZE=QUESTION_BYTES,
    )
    app.config.from_mapping({name: os.environ.get(name) or default for name, default in DEFAULTS.items()})
    app.config.from_mapping(config)
    app.config["TAGGER_SITE"] = str(app.config["TAGGER_SITE"]).rstrip("/")


def read_number(config: Mapping[str, object], name: str, kind: Callable):
    """Return a setting as a number of ``kind``, int or float."""
    try:
        return kind(config[name])
    except ValueError:
        unit = {"TAGGER_TIMEOUT": "a positive number of seconds"}.get(name, "a whole number")
        raise ValueError(f"{name} is {config[name]!r}; it must be {unit}") from None


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        app = create_app()
    except ValueError as error:
        raise SystemExit(str(error)) from None
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # webapp/guards.py writes the log of requests
    print(f"listening on http://{args.host}:{args.port}", flush=True)
    app.run(args.host, args.port)


if __name__ == "__main__":
    run_script(main)
