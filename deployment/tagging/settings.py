"""The settings of a model folder: tagger.json, read into one object that everything else takes.

    format            1, the form of this file
    version           what the model is called, to tell it from others of the same site
    site              URL of the site whose questions it was trained on, for the links of tags
    language          code of the language of its questions, such as "en"
    title             title of the apps' page
    fields            the fields of a question that the model reads: "title", "description", or both
    max_length        number of tokens that the model reads; longer text is truncated
    max_title         maximum number of characters of a title
    max_description   maximum number of characters of a description
    max_tags          maximum number of tags that are suggested; there is always at least one
    min_confidence    raw probability: if every tag of a question is below it, no tag clearly fits
    alone             {field: [slope, intercept]}: the line that calibrates the logits of a question which has no text
                      in the other field that the model reads
    examples          questions that the page offers: [{"label", "title", "description"}, ...]

Every key is optional. Unknown keys are kept and ignored. Beside its own package, this module imports the standard
library alone, since the form has neither NumPy nor onnxruntime.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tagging.stack_exchange import DEFAULT_SITE

FORMAT = 1
FIELDS = ("title", "description")
UNCHANGED = (1.0, 0.0)  # the line of logits that stay as they are
EXAMPLE_KEYS = ("label", "title", "description")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Example:
    """A question that the page offers, and the label of its button."""

    label: str
    title: str
    description: str


@dataclass(frozen=True)
class Settings:
    """The settings of a model folder, see the docstring of this module. Without arguments, the defaults."""

    format: int = FORMAT
    version: str = ""
    site: str = DEFAULT_SITE
    language: str = "en"
    title: str = "Question tagger"
    fields: tuple[str, ...] = FIELDS
    max_length: int = 512
    max_title: int = 300
    max_description: int = 30_000  # the limit of a Stack Exchange question
    max_tags: int = 5
    min_confidence: float = 0.0
    alone: dict[str, tuple[float, float]] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    unknown: dict[str, object] = field(default_factory=dict)

    @property
    def tag_range(self) -> str:
        """The number of suggested tags in words.

        Examples
        --------
        >>> Settings(max_tags=5).tag_range, Settings(max_tags=1).tag_range, Settings(max_tags=20).tag_range
        ('one to five', 'one', 'one to 20')
        """
        most = NUMBERS[self.max_tags] if self.max_tags < len(NUMBERS) else str(self.max_tags)
        return most if self.max_tags == 1 else f"one to {most}"

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings on which the suggested tags depend, as tagger.json holds them."""
        names = ["fields", "max_length", "max_tags", *(["alone"] if self.alone else [])]
        return {name: self.as_json()[name] for name in names}

    def calibration_line(self, title: str, description: str) -> tuple[float, float]:
        """Return slope and intercept of the line that calibrates the logits of a question.

        Examples
        --------
        >>> settings = Settings(alone={"title": (0.5, -2.0)})
        >>> settings.calibration_line("Which metric?", " "), settings.calibration_line("Which metric?", "For images.")
        ((0.5, -2.0), (1.0, 0.0))
        """
        texts = {"title": title, "description": description}
        read = [name for name in self.fields if texts[name].strip()]
        return self.alone.get(read[0], UNCHANGED) if len(read) == 1 else UNCHANGED

    def as_json(self) -> dict[str, Any]:
        """Return the content of tagger.json."""
        content = asdict(self)
        unknown = content.pop("unknown")
        lists = {"fields": list(self.fields), "examples": list(content["examples"])}
        return content | lists | {"alone": {name: list(line) for name, line in self.alone.items()}} | unknown


DEFAULTS = Settings()


def parse_settings(content: Mapping[str, object]) -> Settings:
    """Return the settings in the content of a tagger.json.

    Raises
    ------
    ValueError
        If a value is not as expected; the message, one line, names each faulty key with what is expected.

    Examples
    --------
    >>> parse_settings({"max_tags": 3, "colour": "blue"}).unknown
    {'colour': 'blue'}
    >>> parse_settings({"max_tags": 0})
    Traceback (most recent call last):
    ValueError: 'max_tags' is 0, expected a whole number from 1 to 100
    """
    faults = [
        f"{key!r} is {repr(content[key])[:80]}, expected {expected}"
        for key, (is_valid, expected) in EXPECTED.items()
        if key in content and not is_valid(content[key])
    ]
    if faults:
        raise ValueError("; ".join(faults))
    known: dict[str, Any] = {key: content[key] for key in EXPECTED if key in content}
    for key, convert in CONVERSIONS.items():
        if key in known:
            known[key] = convert(known[key])
    return Settings(**known, unknown={key: value for key, value in content.items() if key not in EXPECTED})


def _is_whole(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_address(value: object) -> bool:
    if not _is_line(value) or re.search(r"\s", str(value)):
        return False
    try:
        address = urlsplit(str(value))
        return (
            address.scheme in ("http", "https") and bool(address.hostname) and not (address.query or address.fragment)
        )
    except ValueError:
        return False


def _are_fields(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(name in FIELDS for name in value) and _are_distinct(value)


def _are_lines(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= set(FIELDS)
        and all(
            isinstance(line, list) and len(line) == 2 and all(map(_is_number, line)) and line[0] > 0
            for line in value.values()
        )
    )


def _are_distinct(values: list) -> bool:
    return len(set(values)) == len(values)


def _are_examples(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(
        isinstance(example, dict)
        and all(isinstance(example.get(name), str) for name in EXAMPLE_KEYS)
        and bool(example["label"].strip())
        and bool((example["title"] + example["description"]).strip())
        for example in value
    )


# Key -> whether a value is valid, and what is expected, for the error message.
EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "format": (_is_whole(FORMAT, FORMAT), f"{FORMAT}; another one is of another version of this software"),
    "version": (lambda value: isinstance(value, str), "a string"),
    "site": (_is_address, f"the URL of a site, such as {DEFAULT_SITE}"),
    "language": (
        lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", value)),
        "the code of a language, such as en",
    ),
    "title": (_is_line, "a line of text"),
    "fields": (_are_fields, f"one or both of {', '.join(FIELDS)}"),
    "max_length": (_is_whole(8, 1_000_000), "a whole number of tokens from 8 to 1000000"),
    "max_title": (_is_whole(1, 1_000_000), "a whole number of characters from 1 to 1000000"),
    "max_description": (_is_whole(1, 1_000_000), "a whole number of characters from 1 to 1000000"),
    "max_tags": (_is_whole(1, 100), "a whole number from 1 to 100"),
    "min_confidence": (_is_share, "a number from 0 to 1"),
    "alone": (_are_lines, "{field: [slope above 0, intercept]}"),
    "examples": (_are_examples, "a list of objects with the strings label, title and description"),
}
CONVERSIONS: dict[str, Callable[[Any], object]] = {
    "site": lambda site: site.rstrip("/"),
    "fields": tuple,
    "alone": lambda lines: {name: tuple(line) for name, line in lines.items()},
    "examples": lambda examples: tuple(Example(*(example[key] for key in EXAMPLE_KEYS)) for example in examples),
}
