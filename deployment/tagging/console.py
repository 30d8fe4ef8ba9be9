"""Entry point of the scripts."""

import sys
from collections.abc import Callable
from io import TextIOWrapper


def run_script(main: Callable[[], None]) -> None:
    """Call ``main`` with an output that no encoding of a console or pipe makes fail.

    Characters that the encoding lacks, such as those of a Russian tag in cp1252, are written as escapes: \\u0442.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    main()
