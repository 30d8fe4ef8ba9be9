"""The report on a site as one HTML page: its data, its taggers, what to expect, and what would help."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_export.sites.choices import Census, Choices
from training.metrics import MAIN_FIGURES

SHOWN_TAGS = 20  # of each list of tags
WEAK_F1 = 0.2  # below, a tag's suggestions are of little use
CLOSE = 2  # a dropped tag with at least 1/CLOSE of the questions that it needs is worth waiting for
FEW_TESTS = 500  # test questions; the interval of micro F1 is then wider than about 0.05
COSTS = {"ms": "latency_p50_ms", "MB": "size_mb"}


@dataclass(frozen=True)
class Plot:
    """A picture: its title, what it shows, and the picture itself as a data URL."""

    title: str
    text: str
    url: str


def read_plot(path: Path, title: str, text: str) -> Plot | None:
    """Return the PNG of a stage, None if it is not there."""
    if not path.is_file():
        return None
    return Plot(title, text, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}")


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of the comparison's main figures, with their 95 % intervals, and costs."""

    def cell(row: Mapping[str, Any], figure: str) -> str:
        if row.get(figure) is None:
            return "-"
        if figure in COSTS.values():
            return f"{row[figure]:.1f}"
        return f"{row[figure]:.3f} [{row[f'{figure}_low']:.3f}, {row[f'{figure}_high']:.3f}]"

    columns = MAIN_FIGURES | COSTS
    cells = [
        [f"{row['model']} {row['precision']}".strip(), *(cell(row, name) for name in columns.values())] for row in rows
    ]
    return ["tagger", *columns], cells


def expectations(figures: Mapping[str, float]) -> list[str]:
    """Return what a person can expect of a tagger with these figures of metrics.json.

    Examples
    --------
    >>> expectations({"precision_micro": 0.52, "recall_micro": 0.48, "precision_at_1": 0.7, "recall_at_5": 0.61})[0]
    'Of 100 tags that it suggests, 52 are those that people gave.'
    """
    lines = [
        f"Of 100 tags that it suggests, {100 * figures['precision_micro']:.0f} are those that people gave.",
        f"Of 100 tags that people gave, it suggests {100 * figures['recall_micro']:.0f}; "
        f"{100 * figures['recall_at_5']:.0f} are among its five most probable ones.",
        f"Its first suggestion is right for {100 * figures['precision_at_1']:.0f} of 100 questions.",
    ]
    if "ticked_promised" in figures:
        lines.append(
            f"Of 100 tags that it ticks, {100 * figures['ticked_precision']:.0f} are right "
            f"({100 * figures['ticked_promised']:.0f} were promised); "
            f"{100 * figures['ticked_questions']:.0f} of 100 questions have such a tag."
        )
    if "f1_micro_minus_baseline" in figures:
        low, high = figures["f1_micro_minus_baseline_low"], figures["f1_micro_minus_baseline_high"]
        verdict = "better than" if low > 0 else "worse than" if high < 0 else "not clearly better or worse than"
        lines.append(
            f"It is {verdict} the TF-IDF baseline: the difference in micro F1 is "
            f"{figures['f1_micro_minus_baseline']:+.3f} [{low:+.3f}, {high:+.3f}]."
        )
    if "f1_micro_minus_fp32" in figures:
        lines.append(f"int8 changes its micro F1 by {figures['f1_micro_minus_fp32']:+.4f}.")
    lines.append("People do not agree on tags either: a suggestion that differs from theirs is not always wrong.")
    return lines


def advice(
    census: Census,
    choices: Choices,
    figures: Mapping[str, float],
    test_questions: int,
    per_tag: Sequence[Mapping[str, str]],
    only_head: bool,
) -> list[str]:
    """Return what would help most, the most helpful first.

    Parameters
    ----------
    figures : of the int8 model in metrics.json
    per_tag : rows of per_tag.tsv
    only_head : whether the encoder has not been trained
    """
    lines = []
    if only_head:
        lines.append("Train the encoder, too: the same command without QUICK=1. Only the head has been trained so far.")
    if figures.get("f1_micro_minus_baseline_high", 1) < 0:
        lines.append("Do not promote this tagger yet: the TF-IDF baseline is better.")
    weak = [row for row in per_tag if float(row["f1"]) < WEAK_F1 and int(row["test_questions"])]
    few = sorted(
        (row for row in weak if int(row["train_questions"]) < 100), key=lambda row: -int(row["train_questions"])
    )
    enough = [row for row in weak if int(row["train_questions"]) >= 100]
    if few:
        names = ", ".join(f"{row['tag']} ({row['train_questions']})" for row in few[:SHOWN_TAGS])
        lines.append(
            f"More questions: {len(few)} tags have an F1 below {WEAK_F1} and fewer than 100 questions to learn from, "
            f"such as {names}."
        )
    if enough:
        names = ", ".join(row["tag"] for row in enough[:SHOWN_TAGS])
        lines.append(
            f"Clearer tags: {len(enough)} tags have an F1 below {WEAK_F1} in spite of 100 questions or more, such as "
            f"{names}. Their texts do not tell when they apply: look at their tag wikis, or make them synonyms."
        )
    close = [(tag, count) for tag, count in census.tags.items() if choices.least > count >= choices.least / CLOSE]
    if close:
        names = ", ".join(f"{tag} ({choices.least - count} more)" for tag, count in close[:SHOWN_TAGS])
        lines.append(f"Too rare, but close to the {choices.least} questions that a tag needs: {names}.")
    if test_questions < FEW_TESTS:
        lines.append(
            f"{test_questions} test questions are few: the intervals are wide, and more questions would narrow them."
        )
    return lines or ["Nothing stands out: refresh the tagger monthly."]


def render(**content: Any) -> str:
    """Return the page; ``content`` is what report.html names."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html").render(**content)
