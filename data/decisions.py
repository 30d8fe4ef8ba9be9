"""decisions.jsonl: what moderators decided about suggested changes of tags, one JSON object a line.

url, title    of the question
tags          its tags when it was decided
add, remove   the suggested changes, lists of tags
action        accept, reject or replace: the last by other tags than the suggested ones
tags_after    the tags that the question should have
score         of the suggestion, 0 to 1
reviewer      who decided
decided_at    ISO 8601, UTC
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from data.files import read_json_lines
from data.spreadsheet import spreadsheet_text

ACCEPT, REJECT, REPLACE = ACTIONS = ("accept", "reject", "replace")


@dataclass(frozen=True)
class Decision:
    """A line of the file; the attributes are described above."""

    url: str
    title: str
    tags: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    action: str
    tags_after: tuple[str, ...]
    score: float
    reviewer: str
    decided_at: str

    def settles(self, tag: str) -> bool:
        """Return whether the question should not be asked about ``tag`` again: of all tags after a replacement."""
        return self.action == REPLACE or tag in self.add or tag in self.remove


def changed_tags(tags: Iterable[str], add: Iterable[str], remove: Collection[str]) -> list[str]:
    """Return the tags of a question after a change.

    Examples
    --------
    >>> changed_tags(["pandas", "r"], ["csv"], ["r"])
    ['pandas', 'csv']
    """
    return [*(tag for tag in tags if tag not in remove), *add]


COLUMNS = [field.name for field in fields(Decision)]
LISTS = ("tags", "add", "remove", "tags_after")


def as_jsonl(decisions: Iterable[Decision]) -> str:
    """Return the content of decisions.jsonl."""
    return "".join(json.dumps(asdict(decision), ensure_ascii=False) + "\n" for decision in decisions)


def table_rows(decisions: Iterable[Decision]) -> list[list]:
    """Return rows of cells in the order of COLUMNS, which no spreadsheet runs; tags are separated by ", "."""
    cells = (asdict(decision) for decision in decisions)
    return [
        [spreadsheet_text(", ".join(row[name]) if name in LISTS else row[name]) for name in COLUMNS] for row in cells
    ]


def label_studio_tasks(decisions: Iterable[Decision], texts: dict[str, str]) -> list[dict]:
    """Return tasks for Label Studio, annotated with the decided tags; the suggestion is their prediction.

    ``texts`` gives the descriptions of questions by their urls. The labeling interface is a ``Choices`` tag:

        <View>
          <Text name="text" value="$text"/>
          <Choices name="tags" toName="text" choice="multiple" value="$choices"/>
        </View>
    """

    def result(tags: Sequence[str]) -> list[dict]:
        return [{"from_name": "tags", "to_name": "text", "type": "choices", "value": {"choices": list(tags)}}]

    tasks = []
    for decision in decisions:
        suggested = changed_tags(decision.tags, decision.add, decision.remove)
        choices = list(dict.fromkeys([*decision.tags, *suggested, *decision.tags_after]))
        text = "\n\n".join(part for part in (decision.title, texts.get(decision.url, "")) if part)
        tasks.append(
            {
                "data": {
                    "url": decision.url,
                    "text": text,
                    "choices": [{"value": tag} for tag in choices],
                    "action": decision.action,
                    "reviewer": decision.reviewer,
                    "decided_at": decision.decided_at,
                },
                "predictions": [
                    {"model_version": "retag_worklist", "score": decision.score, "result": result(suggested)}
                ],
                "annotations": [{"result": result(decision.tags_after)}],
            }
        )
    return tasks


def read_decisions(path: Path) -> list[Decision]:
    """Read a decisions.jsonl; errors as in :func:`data.files.read_json_lines`."""
    expected = "not a decision as  python webapp/moderation.py --export FILE.jsonl  writes them ({error})"
    return read_json_lines(path, parse_decision, expected)


def parse_decision(row: dict) -> Decision:
    """Return the decision in a JSON object. Raises ValueError, KeyError or TypeError if it is none."""
    values = {name: row[name] for name in COLUMNS}
    for name in LISTS:
        if not isinstance(values[name], list) or not all(isinstance(tag, str) and tag for tag in values[name]):
            raise ValueError(f"{name} is {str(values[name])[:40]!r}")
        values[name] = tuple(values[name])
    for name in set(COLUMNS) - set(LISTS):
        if not isinstance(values[name], (int, float) if name == "score" else str):
            raise ValueError(f"{name} is {str(values[name])[:40]!r}")
    if values["action"] not in ACTIONS:
        raise ValueError(f"action is {values['action'][:40]!r}")
    return Decision(**values)
