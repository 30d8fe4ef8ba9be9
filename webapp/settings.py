"""The settings of the app, from the environment.

TAGGER_SPACE        Hub id or url of the Gradio app
TAGGER_MODEL        a model folder to answer from, in this process, while the Space is away (default: none)
TAGGER_SITE         url of the site whose tag pages the results link to
TAGGER_TIMEOUT      timeout of a call to the Space, in seconds
TAGGER_IN_FLIGHT    maximum number of concurrent calls to the Space
TAGGER_RATE_LIMIT   questions per client address, such as "240 per minute"; a batch counts as its questions, an
                    explanation as up to 45
TAGGER_PROXIES      number of reverse proxies in front, whose X-Forwarded-For, -Proto, -Host, -Port and -Prefix are
                    trusted: 1 on Render
HF_TOKEN            a token of the Hub that may read the Space, if the Space is private and given by its id
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DEFAULTS = {
    "TAGGER_SPACE": "http://127.0.0.1:7860",
    "TAGGER_MODEL": "",
    "TAGGER_SITE": "https://datascience.stackexchange.com",
    "TAGGER_TIMEOUT": "20",
    "TAGGER_IN_FLIGHT": "32",
    "TAGGER_RATE_LIMIT": "240 per minute",
    "TAGGER_PROXIES": "0",
}
NUMBERS: dict[str, tuple[Callable, str]] = {
    "TAGGER_TIMEOUT": (float, "a positive number of seconds"),
    "TAGGER_IN_FLIGHT": (int, "a whole number"),
    "TAGGER_PROXIES": (int, "a whole number"),
}
ANSWER_FILES = Path(__file__).parents[1] / "deployment"  # answer.html and answer.css, which the Gradio app shows too


def read_settings(config: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the settings: those of ``config`` first, then the environment's, then DEFAULTS.

    Numbers are converted; TAGGER_SITE has no slash at its end.

    Raises
    ------
    ValueError : a number cannot be read as one
    """
    settings: dict[str, Any] = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
    settings.update(config or {})
    for name, (kind, expected) in NUMBERS.items():
        try:
            settings[name] = kind(settings[name])
        except ValueError:
            raise ValueError(f"{name} is {settings[name]!r}; it must be {expected}") from None
    settings["TAGGER_SITE"] = str(settings["TAGGER_SITE"]).rstrip("/")
    return settings
