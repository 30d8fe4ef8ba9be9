"""What the command lines of the scripts share: the parser, common options, and types of numeric options.

The types end a script with one line where it could not use the number.
"""

import argparse
import math
from collections.abc import Callable


def script_parser(docstring: str) -> argparse.ArgumentParser:
    """Return a parser that is described by the first line of the script's docstring and whose help shows defaults."""
    return argparse.ArgumentParser(
        description=docstring.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def add_force_option(parser: argparse.ArgumentParser, help: str = "overwrite existing results") -> None:
    """Add ``--force``."""
    parser.add_argument("--force", action="store_true", help=help)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of an option that takes whole numbers from ``least`` on, up to ``most`` if that is given."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number {allowed}")
        return value

    return convert


def number_from(least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return the type of an option that takes numbers from ``least`` to ``most``, neither nan nor infinity."""

    def convert(text: str) -> float:
        value = _as_float(text)
        if not least <= value <= most or math.isinf(value):
            allowed = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number {allowed}")
        return value

    return convert


def positive(text: str) -> float:
    """Convert the text of an option that takes numbers above 0, neither nan nor infinity."""
    value = _as_float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number above 0")
    return value


def _as_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


at_least_one = whole_number(1)
learning_rate = number_from(1e-12, 1)
loss_weight = number_from(0, 100)  # of a further term; float32 has an end
port = whole_number(0, 65535)
promised_precision = number_from(0.01, 0.99)  # 0 would tick all tags, 1 none
seed_number = whole_number(0, 2**32 - 1)  # what NumPy takes
share = number_from(0, 1)
text_length = whole_number(8)  # in tokens, of which the tokenizer's own are up to four
