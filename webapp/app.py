"""The tagger as a form and a JSON endpoint, for people who need not know that there is a Space behind it.

    python webapp/app.py --port 8000
    gunicorn --threads 8 "webapp.app:create_app()"

Environment: TAGGER_SPACE (Hub id or url of the Gradio app), TAGGER_TIMEOUT (seconds), TAGGER_SITE (url of the site
whose tag pages the results link to). The app starts without the Space, and works as soon as the Space does.
"""

import argparse
import os
from collections.abc import Mapping

from flask import Flask

DEFAULTS = {
    "TAGGER_SPACE": "http://127.0.0.1:7860",
    "TAGGER_TIMEOUT": "20",
    "TAGGER_SITE": "https://datascience.stackexchange.com",
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Return the WSGI application. ``config`` goes before the environment, and that before DEFAULTS.

    Raises
    ------
    ValueError : TAGGER_SPACE or TAGGER_TIMEOUT has a value that cannot be used
    """
    from webapp import views
    from webapp.space import Space

    app = Flask("webapp")
    app.config.from_mapping(
        # The longest question, every character of it escaped: as \uXXXX pairs in JSON, or by percent signs in a form.
        MAX_CONTENT_LENGTH=512 * 1024,
        MAX_FORM_MEMORY_SIZE=512 * 1024,
        **{name: os.environ.get(name) or default for name, default in DEFAULTS.items()},
    )
    app.config.from_mapping(config)
    app.json.sort_keys = False  # answers keep the Space's order: suggested tags first
    app.config["TAGGER_SITE"] = str(app.config["TAGGER_SITE"]).rstrip("/")
    app.extensions["space"] = Space(app.config["TAGGER_SPACE"], read_seconds(app.config["TAGGER_TIMEOUT"]))

    app.register_blueprint(views.pages)
    app.register_blueprint(views.api)
    app.register_error_handler(views.HTTPException, views.show_error)
    app.after_request(add_security_headers)
    return app


def read_seconds(value: object) -> float:
    """Return TAGGER_TIMEOUT as a number."""
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"TAGGER_TIMEOUT is {value!r}; it must be a positive number of seconds") from None


def add_security_headers(response):
    """Forbid what the pages do not need: other hosts, inline scripts and styles, frames; keep no answer in a cache."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    args = parser.parse_args(argv)
    try:
        app = create_app()
    except ValueError as error:
        raise SystemExit(str(error)) from None
    app.run(args.host, args.port)


if __name__ == "__main__":
    main()
