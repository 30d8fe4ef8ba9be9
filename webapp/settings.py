"""The settings of the app, read from environment variables.

TAGGER_SPACE        Hub id or URL of the Gradio app
TAGGER_MODEL        model folder that answers, in this process, while the Space is unavailable (default: none)
TAGGER_SITE         URL of the site whose tag pages are linked
TAGGER_BROWSER_PAGE URL of the page that tags in the browser (deployment/browser/), which the form links (default: none)
TAGGER_ORIGINS      origins whose pages may call the REST API, separated by blanks (default: none), such as
                    "https://datascience.stackexchange.com"
TAGGER_TIMEOUT      timeout of a call to the Space, in seconds
TAGGER_IN_FLIGHT    maximum number of concurrent calls to the Space
TAGGER_RATE_LIMIT   questions per client address, such as "240 per minute"; a batch counts as its questions, an
                    explanation as up to 45
TAGGER_PROXIES      number of reverse proxies in front whose X-Forwarded-For, -Proto, -Host, -Port and -Prefix headers
                    are trusted: 1 on Render
HF_TOKEN            Hugging Face token with read access, for a private Space given by its Hub id
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tagging.stack_exchange import DEFAULT_SITE

DEFAULTS = {
    "TAGGER_SPACE": "http://127.0.0.1:7860",
    "TAGGER_MODEL": "",
    "TAGGER_SITE": DEFAULT_SITE,
    "TAGGER_BROWSER_PAGE": "",
    "TAGGER_ORIGINS": "",
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
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:]+\](:[0-9]+)?")  # as browsers send it
# Where the form, the Gradio app and the browser page have their shared template, style sheets and icon.
ANSWER_FILES = Path(__file__).parents[1] / "deployment"


def read_settings(config: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Read the settings. ``config`` takes precedence over environment variables, and these over DEFAULTS.

    Returns
    -------
    dict
        ``config`` and all settings by name, numbers converted, TAGGER_SITE without a trailing slash, TAGGER_ORIGINS as
        a set.

    Raises
    ------
    ValueError
        If a setting is not a number, an origin or a URL where one is expected.
    """
    settings: dict[str, Any] = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
    settings.update(config or {})
    for name, (kind, expected) in NUMBERS.items():
        try:
            settings[name] = kind(settings[name])
        except ValueError:
            raise ValueError(f"{name} is {settings[name]!r}; it must be {expected}") from None
    settings["TAGGER_SITE"] = str(settings["TAGGER_SITE"]).rstrip("/")
    settings["TAGGER_ORIGINS"] = set(str(settings["TAGGER_ORIGINS"]).split())
    for origin in settings["TAGGER_ORIGINS"]:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"TAGGER_ORIGINS is {origin!r}; it must be origins without a path, such as {DEFAULT_SITE}, separated "
                "by blanks"
            )
    page = str(settings["TAGGER_BROWSER_PAGE"])
    if page and not page.startswith(("http://", "https://")):
        raise ValueError(f"TAGGER_BROWSER_PAGE is {page!r}; it must be a URL (https://...)")
    return settings
