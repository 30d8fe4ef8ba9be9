"""Text in files that people open in a spreadsheet. Pure functions."""

import re

# A cell that begins with one of these signs, in either width, is run; so is one behind a semicolon or a tab, where the
# spreadsheet takes those as separators. What Python counts as blank, and signs of no width, hide none of them.
FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def spreadsheet_text(cell):
    """Return a cell so that a spreadsheet shows it and does not run it: an apostrophe marks what begins as a formula.

    Numbers and other cells that are no text stay what they are. It is for files that are made for people alone: the
    ones that a later stage reads again hold the text as it is.

    Examples
    --------
    >>> spreadsheet_text("=1+1")
    "'=1+1"
    """
    return FORMULA.sub("'", cell) if isinstance(cell, str) else cell
