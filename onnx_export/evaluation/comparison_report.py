"""The comparison for people to read: Markdown and plots of the measured rows. Nothing is measured here."""

from collections.abc import Sequence
from pathlib import Path

from data.markdown import markdown_table
from onnx_export.evaluation.evaluate import Evaluation
from tagging.files import atomic_path
from training.calibration import NUM_BINS, NUM_SHOWN, reliability_bins, shown_pairs
from training.metrics import MAIN_FIGURES

# Published by the reference: 24,340 questions of datascience.stackexchange.com, description only, 299 tags,
# threshold 0.5, its own random tenth for testing. For orientation: not measured here, not on this split.
REFERENCE = [
    {"model": "distilroberta-base", "precision": "fp32", "f1_micro": 0.415, "f1_macro": 0.184, "size_mb": 314.3},
    {"model": "distilroberta-base", "precision": "int8", "f1_micro": 0.414, "f1_macro": 0.179, "size_mb": 79.0},
    {"model": "roberta-base", "precision": "fp32", "f1_micro": 0.414, "f1_macro": 0.169, "size_mb": 476.6},
    {"model": "roberta-base", "precision": "int8", "f1_micro": 0.409, "f1_macro": 0.163, "size_mb": 129.9},
    {"model": "bert-base-uncased", "precision": "fp32", "f1_micro": 0.411, "f1_macro": 0.170, "size_mb": 418.8},
    {"model": "bert-base-uncased", "precision": "int8", "f1_micro": 0.308, "f1_macro": 0.103, "size_mb": 105.4},
]

# Column headings of the tables, and the figures below them.
SUGGESTED = {
    "micro P": "precision_micro",
    "micro R": "recall_micro",
    "macro P": "precision_macro",
    "macro R": "recall_macro",
    "F1 per question": "f1_samples",
    "exact match": "exact_match",
    "empty answers": "empty_answers",
    "Hamming accuracy": "hamming_accuracy",
}
RANKED = {f"P@{k}": f"precision_at_{k}" for k in (1, 3, 5)} | {"R@5": "recall_at_5", "nDCG@5": "ndcg_at_5"}
FREQUENCY = {third: f"f1_{third}" for third in ("head", "middle", "tail")}
CALIBRATION = {"ECE of all pairs": "calibration_error_all", "ECE of the shown": "calibration_error_shown"}
TICKED = {
    "promised": "ticked_promised",
    "kept": "ticked_precision",
    "share of all right tags": "ticked_recall",
    "questions with a tick": "ticked_questions",
}
DIFFERENCES = {
    rival: {
        "micro F1": f"f1_micro_minus_{name}",
        "macro F1": f"f1_macro_minus_{name}",
        "same tags": f"same_tags_as_{name}",
    }
    for name, rival in (("baseline", "the baseline"), ("fp32", "the same model in fp32"))
}
COSTS = {
    "MB": "size_mb",
    "median ms": "latency_p50_ms",
    "p95 ms": "latency_p95_ms",
    "questions/s": "questions_per_second",
}
PUBLISHED = {"micro F1": "f1_micro", "macro F1": "f1_macro", "MB": "size_mb"}


def figures_table(rows: list[dict], columns: dict[str, str], intervals: bool = False) -> str:
    """Return a Markdown table of the ``rows`` that have one of the figures that ``columns`` maps headings to."""
    lines = [
        [row["model"], row["precision"], *(_cell(row, figure, intervals) for figure in columns.values())]
        for row in rows
        if any(figure in row for figure in columns.values())
    ]
    return markdown_table(["model", "", *columns], lines, num_text=2)


def _cell(row: dict, figure: str, intervals: bool) -> str:
    if figure not in row:
        return "-"
    style = "+.3f" if "_minus_" in figure else ".1f" if figure in COSTS.values() else ".3f"
    low, high = f"{figure}_low", f"{figure}_high"
    ends = f" [{row[low]:{style}}, {row[high]:{style}}]" if intervals and low in row else ""
    return f"{row[figure]:{style}}{ends}"


def describe_thirds(thirds: dict[str, list[int]]) -> str:
    """Return e.g. "head: 100 tags with 120 to 4000 training questions" for each third's training questions by tag."""
    return "; ".join(
        f"{name}: {len(counts)} tags with {min(counts)} to {max(counts)} training questions"
        for name, counts in thirds.items()
    )


def markdown(rows: list[dict], num_questions: int, thirds: dict[str, list[int]], inputs: Sequence[dict] = ()) -> str:
    """Return the report as Markdown: the measured rows, then the reference's published ones, marked as such.

    Parameters
    ----------
    rows : one per model and precision, with the rows that need no model before them
    num_questions : of the test part
    thirds : head, middle and tail -> the numbers of training questions of their tags
    inputs : one row per model, as it is served, and input, where questions have descriptions
    """
    sections = [
        f"# Comparison on {num_questions} test questions, {sum(map(len, thirds.values()))} tags",
        "In brackets: 95 % intervals, by bootstrap over questions. P@k, R@k, nDCG@k: precision, recall and gain of the "
        "k most probable tags, whatever is suggested.",
        figures_table(rows, MAIN_FIGURES, intervals=True),
        f"## The suggested tags\n\n{figures_table(rows, SUGGESTED)}",
        "Hamming accuracy counts every tag that a question rightly does not get. Giving no tags at all scores that "
        "high, so it is shown for nothing else.",
        f"## The ranking\n\n{figures_table(rows, RANKED)}",
        "## Macro F1 of frequent and rare tags\n\nThe tags in three parts of equal size, by their training questions: "
        f"{describe_thirds(thirds)}.\n\n{figures_table(rows, FREQUENCY)}",
        *_ticked_section(rows),
        *_inputs_section(inputs),
        *_difference_sections(rows),
        f"## Calibration\n\nExpected calibration error in {NUM_BINS} bins of equal width (Naeini et al. 2015, Guo et "
        "al. 2017). Over all pairs of a question and a tag it is flattered by the many near 0 that nobody sees; the "
        f"shown ones are each question's {NUM_SHOWN} most probable tags.\n\n{figures_table(rows, CALIBRATION)}",
        "## Size and speed\n\nLatency of one question, and questions per second in batches of 32, on this machine, "
        f"with all its cores.\n\n{figures_table(rows, COSTS)}",
        "## The reference's published figures, on other questions and another split\n\n"
        f"{figures_table(REFERENCE, PUBLISHED)}",
    ]
    return "\n\n".join(sections) + "\n"


def _ticked_section(rows: list[dict]) -> list[str]:
    """Return the table of what is kept of the promises of tiers.py; nothing where there is none."""
    if not any(TICKED["promised"] in row for row in rows):
        return []
    return [f"## Precision of the ticked tags\n\n{figures_table(rows, TICKED, intervals=True)}"]


def _inputs_section(inputs: Sequence[dict]) -> list[str]:
    """Return the table of what each model makes of a title, a description, and both; nothing without rows."""
    if not inputs:
        return []
    columns = MAIN_FIGURES | {"ECE of the shown": CALIBRATION["ECE of the shown"]}
    return [
        f"## Title, description, and both\n\nThe {inputs[0]['questions']} test questions that have both fields, read "
        f"by one of them or by both, at the same thresholds.\n\n{figures_table(list(inputs), columns, intervals=True)}"
    ]


def _difference_sections(rows: list[dict]) -> list[str]:
    """Return the tables of differences for which there is something to subtract."""
    sections = []
    for rival, columns in DIFFERENCES.items():
        if any(columns["micro F1"] in row for row in rows):
            table = figures_table(rows, columns, intervals=True)
            sections.append(f"## Difference to {rival}, on the same questions\n\n{table}")
    if sections:
        sections.append("Same tags: the share of the questions that get the same set of tags from both.")
    return sections


def plot_quality(rows: list[dict]):
    """Return a figure of the MAIN_FIGURES of every row, with its intervals."""
    import pandas as pd
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    table = pd.DataFrame(rows, index=[_label(row) for row in rows])
    quality = table[list(MAIN_FIGURES.values())].set_axis(list(MAIN_FIGURES), axis=1)
    ends = [table[[f"{figure}_{end}" for figure in MAIN_FIGURES.values()]].to_numpy() for end in ("low", "high")]
    errors = [abs(quality.to_numpy() - end).T for end in ends]
    axes = Figure(figsize=(8, 1 + len(rows))).subplots()
    quality.plot.barh(xerr=list(zip(*errors, strict=True)), error_kw={"lw": 0.8}, ax=axes)
    axes.set(xlim=(0, 1), title="Quality on the test questions, with 95 % intervals")
    axes.invert_yaxis()
    return axes.figure


def plot_speed(rows: list[dict]):
    """Return a figure of micro F1 against latency, of the rows that have one."""
    import pandas as pd
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    table = pd.DataFrame([row for row in rows if "latency_p50_ms" in row])
    axes = Figure(figsize=(8, 5)).subplots()
    table.plot.scatter("latency_p50_ms", "f1_micro", s=10 + 2 * table["size_mb"], alpha=0.6, ax=axes)
    axes.set(xlabel="median latency of one question, ms", ylabel="micro F1", title="Quality, speed and size (area)")
    axes.set_xlim(0, 1.4 * table["latency_p50_ms"].max())  # room for the names
    for _, row in table.iterrows():
        place = (row["latency_p50_ms"], row["f1_micro"])
        axes.annotate(_label(row), place, xytext=(8, 0), textcoords="offset points")
    return axes.figure


def plot_reliability(evaluations: list[Evaluation], targets):
    """Return a figure with one panel per model: how often the shown tags are right, by their probability.

    The more predictions a point stands for, the larger it is.
    """
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(evaluation.model for evaluation in evaluations))
    figure = Figure(figsize=(3.5 * len(models), 3.8), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
        for evaluation in evaluations:
            if evaluation.model == model:
                probability, share_right, counts = reliability_bins(*shown_pairs(targets, evaluation.probabilities))
                error = evaluation.figures["calibration_error_shown"]
                axes.plot(probability, share_right, lw=0.8, label=f"{evaluation.precision}, ECE {error:.3f}")
                axes.scatter(probability, share_right, s=4 + 200 * counts / counts.sum(), alpha=0.6)
        axes.set(xlim=(0, 1), ylim=(0, 1), title=model, xlabel="probability shown")
        axes.legend(loc="upper left")
    panels[0, 0].set_ylabel("share that is right")
    return figure


def _label(row) -> str:
    return f"{row['model']} {row['precision']}".strip()


def save_plots(evaluations: list[Evaluation], targets, reports_dir: Path) -> list[Path]:
    """Draw the comparison's plots into ``reports_dir``; return the files."""
    rows = [evaluation.row for evaluation in evaluations]
    figures = {
        "quality": plot_quality(rows),
        "speed": plot_speed(rows),
        "reliability": plot_reliability([evaluation for evaluation in evaluations if evaluation.precision], targets),
    }
    files = [reports_dir / f"comparison_{name}.png" for name in figures]
    for file, figure in zip(files, figures.values(), strict=True):
        with atomic_path(file) as temporary:
            figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
    return files
