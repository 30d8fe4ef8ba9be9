"""How a script begins."""

import sys
from collections.abc import Callable
from io import TextIOWrapper


def run_script(main: Callable[[], None]) -> None:
    """Call a script's ``main``, whose output is never lost to a console or pipe whose encoding lacks a character.

    What cp1252 or ASCII cannot write, such as a tag in Russian, is written as its code: \\u0442.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    main()
