"""Protect cells of files that people open in a spreadsheet from being run as formulas. Pure functions."""

import re

# Spreadsheets run a cell that starts with =, +, - or @, half-width or full-width, also after a semicolon or a tab if
# these are separators. Whitespace and zero-width characters may precede the sign.
FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def spreadsheet_text(cell):
    """Return a cell that a spreadsheet does not run: a text that starts like a formula gets an apostrophe in front.

    Cells that are not strings are returned unchanged. Use it only for files that people read: files for later stages
    keep the original text.

    Examples
    --------
    >>> spreadsheet_text("=1+1")
    "'=1+1"
    """
    return FORMULA.sub("'", cell) if isinstance(cell, str) else cell
