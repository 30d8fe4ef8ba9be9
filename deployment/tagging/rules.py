"""The rules of a site for its tags: rules.toml of a model folder, which people write.

    never_suggest = ["homework"]                      # in no answer
    only_for_people = ["faq"]                         # never suggested, but shown below the suggested tags
    at_least_one_of = [["bug", "discussion"]]         # lists of tags, of each of which a question needs one

    [implied]                                         # tag = the tags that always go with it
    pandas = ["python"]

    [synonyms]                                        # tag that the model knows = tag of the site
    nn = "neural-network"

    [[at_most]]                                       # at most so many of these tags
    number = 1
    tags = ["beginner", "advanced"]

Every key is optional. :mod:`tagging.selection` applies them. This module has no I/O, and imports nothing but the
standard library.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

STRING_OR_COMMENT = re.compile(r"""("[^"\n]*"|'[^'\n]*')|#[^\n]*""")
PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")  # at the end of tomllib's messages


class AtMost(NamedTuple):
    """At most ``number`` of ``tags`` are suggested."""

    number: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """The content of a rules.toml, see the docstring of this module. Without arguments, no rules."""

    never_suggest: tuple[str, ...] = ()
    only_for_people: tuple[str, ...] = ()
    at_least_one_of: tuple[tuple[str, ...], ...] = ()
    implied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    synonyms: Mapping[str, str] = field(default_factory=dict)
    at_most: tuple[AtMost, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the rules as the browser page reads them."""
        return asdict(self) | {"at_most": [group._asdict() for group in self.at_most]}

    def all_implied(self, tag: str) -> set[str]:
        """Return the tags that go with ``tag``, and those that go with them.

        Examples
        --------
        >>> sorted(Rules(implied={"cnn": ("nn",), "nn": ("ml",)}).all_implied("cnn"))
        ['ml', 'nn']
        """
        found: set[str] = set()
        new = set(self.implied.get(tag, ()))
        while new:
            found |= new
            new = {other for one in new for other in self.implied.get(one, ())} - found
        return found


def parse_rules(text: str, tags: Collection[str]) -> Rules:
    """Return the rules in the content of a rules.toml.

    Parameters
    ----------
    text
        The content of the file.
    tags
        Those that the model knows. A rule for another tag has no effect, except that it may be implied or a synonym's.

    Raises
    ------
    ValueError
        If it is not TOML, has an unknown key or a value that is not as expected, or the rules contradict each other;
        the message, one line, starts with the number of the line.

    Examples
    --------
    >>> parse_rules('never_suggest = ["homework"]', ["homework", "python"]).never_suggest
    ('homework',)
    >>> parse_rules('never_suggest = "homework"', ["homework", "python"])
    Traceback (most recent call last):
    ValueError: line 1: never_suggest must be a list of tags
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error).splitlines()[0]
        place = PLACE.search(message)
        line = place[1] if place and place[1] else text.rstrip().count("\n") + 1
        raise ValueError(f"line {line}: not readable as TOML: {PLACE.sub('', message)}") from None
    places = _Places(text)
    for where, problem in (*_faulty_values(content), *_contradictions(content, tags)):
        raise ValueError(f"line {places.line(*where)}: {problem}")
    return Rules(
        never_suggest=tuple(content.get("never_suggest", ())),
        only_for_people=tuple(content.get("only_for_people", ())),
        at_least_one_of=tuple(map(tuple, content.get("at_least_one_of", ()))),
        implied={tag: tuple(implied) for tag, implied in content.get("implied", {}).items()},
        synonyms=content.get("synonyms", {}),
        at_most=tuple(AtMost(group["number"], tuple(group["tags"])) for group in content.get("at_most", ())),
    )


class _Places:
    """Finds the line of a value, which tomllib does not tell."""

    def __init__(self, text: str):
        self._text = STRING_OR_COMMENT.sub(lambda match: match[1] or " " * len(match[0]), text)

    def line(self, key: str, *names: str) -> int:
        """Return the number of the line that has the last of ``names`` after the ones before it, after ``key``."""
        start = re.search(rf"^[ \t]*\[*[ \t]*[\"']?{re.escape(key)}\b", self._text, re.MULTILINE)
        position = start.end() if start else 0
        for name in names:
            found = re.compile(rf"""(?<![\w.+#-]){re.escape(name)}(?![\w.+#-])""").search(self._text, position)
            position = found.end() if found else position
        return self._text.count("\n", 0, position) + 1


def _is_tag(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not re.search(r"\s", value)


def _are_tags(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_tag, value))


_Fault = tuple[tuple[str, ...], str]  # where, as _Places.line takes it, and what is wrong


def _faulty_values(content: Mapping[str, Any]) -> Iterator[_Fault]:
    """Yield what has not the documented form, one fault at a time."""
    known = list(Rules.__dataclass_fields__)
    for key, value in content.items():
        match key:
            case "never_suggest" | "only_for_people":
                if not (value == [] or _are_tags(value)):
                    yield (key,), f"{key} must be a list of tags"
            case "at_least_one_of":
                if not (isinstance(value, list) and all(map(_are_tags, value))):
                    yield (key,), f'{key} must be a list of lists of tags, such as [["bug", "discussion"]]'
            case "implied" | "synonyms":
                expected = "a list of tags" if key == "implied" else "a tag"
                if not isinstance(value, dict):
                    yield (key,), f"{key} must be a table [{key}] with a line  tag = {expected}  for each tag"
                    return
                for tag, other in value.items():
                    if not (_are_tags(other) if key == "implied" else _is_tag(other)):
                        yield (key, tag), f"{key}: {tag} must be {expected}"
            case "at_most":
                if not (isinstance(value, list) and all(isinstance(group, dict) for group in value)):
                    yield (key,), "at_most must be tables [[at_most]] with a number and tags"
                    return
                for group in value:
                    number, tags = group.get("number"), group.get("tags")
                    is_number = isinstance(number, int) and not isinstance(number, bool) and number >= 1
                    if set(group) != {"number", "tags"} or not is_number or not _are_tags(tags):
                        names = tags if _are_tags(tags) else []
                        yield (key, *names[:1]), "[[at_most]] needs a number of at least 1, a list of tags, and no more"
            case _:
                yield (key,), f"unknown key {key!r}; expected {', '.join(known)}"


def _contradictions(content: Mapping[str, Any], tags: Collection[str]) -> Iterator[_Fault]:
    """Yield rules that cannot be kept together; the values have the documented form."""
    synonyms, implied = content.get("synonyms", {}), content.get("implied", {})
    for tag, other in synonyms.items():
        if other in synonyms:
            yield ("synonyms", tag), f"{tag} stands for {other}, which is itself a synonym: name the tag of the site"
    groups = [(("at_most", *group["tags"]), group["tags"]) for group in content.get("at_most", ())]
    groups += [(("at_least_one_of", *group), group) for group in content.get("at_least_one_of", ())]
    groups += [(("implied", tag, *others), [tag, *others]) for tag, others in implied.items()]
    groups += [((key,), content.get(key, [])) for key in ("never_suggest", "only_for_people")]
    for where, named in groups:
        for tag in named:
            if tag in synonyms:
                place = (
                    (where[0], tag)
                    if where[0] != "implied"
                    else (where[0], where[1], *([tag] if tag != where[1] else []))
                )
                yield place, f"{where[0]}: {tag} is a synonym of {synonyms[tag]}: name that instead"
    try:
        TopologicalSorter(implied).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        yield ("implied", circle[0]), f"implied: {' -> '.join(circle)} is a circle; make them synonyms instead"
        return
    blocked = {tag: key for key in ("never_suggest", "only_for_people") for tag in content.get(key, ())}
    words = {"never_suggest": "is never suggested", "only_for_people": "is only for people"}
    for tag, others in implied.items():
        for other in others:
            if other in blocked and tag not in blocked:
                yield ("implied", tag, other), f"implied: {tag} implies {other}, which {words[blocked[other]]}"
    possible = {synonyms.get(tag, tag) for tag in tags}
    possible |= {other for tag in possible for other in Rules(implied=implied).all_implied(tag)}
    for group in content.get("at_least_one_of", ()):
        if not set(group) & possible - set(blocked):
            yield (
                ("at_least_one_of", *group[:1]),
                f"at_least_one_of: the model can suggest none of {', '.join(group)}",
            )
    left = possible - set(blocked)
    if not left:
        yield ("never_suggest",), "no tag is left that could be suggested"
