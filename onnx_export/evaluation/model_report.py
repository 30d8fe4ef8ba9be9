"""What is written next to each model: its figures by tag, and its worst errors to read. Pure functions."""

import re
from collections.abc import Sequence

import numpy as np

from data.spreadsheet import spreadsheet_text
from onnx_export.evaluation.evaluate import Evaluation, loss_by_question
from training.dataset import Part

WORST = 100
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|$~])")


def per_tag_table(evaluation: Evaluation, train: Part, test: Part):
    """Return a DataFrame with one row per tag, those with the most test questions first.

    Columns: tag, train_questions, test_questions (the support), true_positives, false_positives, false_negatives,
    precision, recall, f1 (0 where a tag has no question or no suggestion), threshold.
    """
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    targets, chosen = test.targets, evaluation.chosen
    precision, recall, f1, _ = precision_recall_fscore_support(targets, chosen, average=None, zero_division=0)
    table = pd.DataFrame(
        {
            "tag": list(map(spreadsheet_text, test.tags)),
            "train_questions": train.targets.sum(axis=0),
            "test_questions": targets.sum(axis=0),
            "true_positives": (targets & chosen).sum(axis=0),
            "false_positives": (~targets & chosen).sum(axis=0),
            "false_negatives": (targets & ~chosen).sum(axis=0),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "threshold": evaluation.thresholds,
        }
    )
    return table.sort_values(["test_questions", "train_questions"], ascending=False, kind="stable")


def worst_errors(evaluation: Evaluation, test: Part) -> str:
    """Return the WORST questions of ``test`` by loss as Markdown, each with its tags and the suggested ones."""
    losses = loss_by_question(test.targets, evaluation.probabilities)
    worst = np.argsort(-losses, kind="stable")[:WORST]
    lines = [
        f"# The {len(worst)} worst of {len(test)} test questions: {evaluation.model}, {evaluation.precision}",
        "By cross-entropy, summed over the tags, in nats. Tags with the model's probabilities; suggested and right "
        "ones in bold.",
    ]
    for rank, row in enumerate(worst, start=1):
        title = MARKDOWN.sub(r"\\\1", " ".join(test.titles[row].split())) or "(no title)"
        right = test.targets[row] & evaluation.chosen[row]
        tags, suggested = (
            _tag_list(test.tags, evaluation.probabilities[row], kind[row], right)
            for kind in (test.targets, evaluation.chosen)
        )
        lines.append(f"## {rank}. [{title}](<{test.urls[row]}>)")
        lines.append(f"- tags: {tags}\n- suggested: {suggested}\n- loss: {losses[row]:.1f}")
    return "\n\n".join(lines) + "\n"


def _tag_list(tags: Sequence[str], probabilities: np.ndarray, kept: np.ndarray, bold: np.ndarray) -> str:
    """Return the ``kept`` tags with their probabilities, best first, those that are ``bold`` in bold."""
    best_first = sorted(np.flatnonzero(kept).tolist(), key=lambda index: -probabilities[index])
    names = [f"**`{tags[index]}`**" if bold[index] else f"`{tags[index]}`" for index in best_first]
    return ", ".join(f"{name} {probabilities[index]:.3f}" for name, index in zip(names, best_first, strict=True))
