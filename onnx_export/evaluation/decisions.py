"""What a model suggested for each test question, kept so that a later model can be paired with it. No I/O.

test_decisions.json, one object:

    model, precision    the names of its row in the comparison
    sha256              {file: SHA-256} of the files that decided
    settings            those settings of tagger.json that decided; missing in older files
    figures             {"f1_micro": ..., "f1_macro": ...}
    tags                the model's tags, by their names
    questions           {key: [indices of its tags, indices of the suggested ones]}; a key is a hash of the question's
                        url, so that the file holds nobody's text

Two of them are of the same test part if tags, questions and the questions' tags are the same, whatever the models
learnt from.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx_export.evaluation.evaluate import Evaluation
from training.dataset import Part
from training.metrics import interval, resample, tagging_metrics

GATE_FIGURES = ("f1_micro", "f1_macro")


@dataclass(frozen=True)
class Verdict:
    """Whether a model is worse in one figure than another, by more than chance explains, and a line that says so."""

    worse: bool
    line: str


def hashed_url(url: str) -> str:
    """Return 16 hexadecimal digits that stand for a question's url."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def describe_decisions(evaluation: Evaluation, test: Part, sha256: dict[str, str], settings: dict) -> dict:
    """Return the content of test_decisions.json; ``sha256`` are the hashes of the model's files."""
    by_name = sorted(range(len(test.tags)), key=lambda index: test.tags[index])
    columns = test.targets[:, by_name], evaluation.chosen[:, by_name]
    questions = {
        hashed_url(url): [np.flatnonzero(targets).tolist(), np.flatnonzero(chosen).tolist()]
        for url, targets, chosen in zip(test.urls, *columns, strict=True)
    }
    return {
        "model": evaluation.model,
        "precision": evaluation.precision,
        "sha256": sha256,
        "settings": settings,
        "figures": {figure: evaluation.figures[figure] for figure in GATE_FIGURES},
        "tags": sorted(test.tags),
        "questions": dict(sorted(questions.items())),
    }


def as_arrays(decisions: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and suggested tags, bool arrays of shape (n, num_labels), the questions in their keys' order.

    Raises
    ------
    ValueError : the content is not as in the module's docstring, or its figures are not those of its decisions
    """
    try:
        rows = [decisions["questions"][key] for key in sorted(decisions["questions"])]
        arrays = np.zeros((2, len(rows), len(decisions["tags"])), dtype=bool)
        for number, row in enumerate(rows):
            for array, indices in zip(arrays, row, strict=True):
                if min(indices, default=0) < 0:
                    raise IndexError
                array[number, indices] = True
        targets, chosen = arrays
        measured = tagging_metrics(targets, chosen, chosen.astype(float))
        whole = all(abs(measured[figure] - decisions["figures"][figure]) < 1e-6 for figure in GATE_FIGURES)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise ValueError("no decisions on test questions, or its figures are not those of its decisions")
    return targets, chosen


def part_id(decisions: dict) -> str:
    """Return 16 hexadecimal digits that are the same for the same tags, test questions and tags of the questions."""
    targets = {key: sorted(row[0]) for key, row in decisions["questions"].items()}
    identity = json.dumps([decisions["tags"], sorted(targets.items())])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def paired_difference(figure: str, decisions: dict, other: dict) -> tuple[float, float, float]:
    """Return by how much ``decisions`` exceed ``other`` in one of GATE_FIGURES, and the difference's 95 % interval.

    Both are of the same test part, and every bootstrap resample draws the same questions for both.
    """
    estimate = decisions["figures"][figure] - other["figures"][figure]
    pairs = map(as_arrays, (decisions, other))
    ours, theirs = (resample(targets, chosen, chosen.astype(float))[figure] for targets, chosen in pairs)
    return estimate, *interval(estimate, ours - theirs, lowest=-1.0)


def judge(decisions: dict, others: Mapping[str, dict]) -> list[Verdict]:
    """Return the verdict on each figure of ``others``, {figure: decisions of the model to compare with}.

    Worse means that the 95 % interval of :func:`paired_difference` lies below 0.
    """
    verdicts = []
    for figure, other in others.items():
        difference, low, high = paired_difference(figure, decisions, other)
        verdicts.append(
            Verdict(
                high < 0,
                f"{figure} {decisions['figures'][figure]:.4f}, {'worse' if high < 0 else 'no worse'} than "
                f"{other['model']} with {other['figures'][figure]:.4f}: {difference:+.4f} [{low:+.4f}, {high:+.4f}]",
            )
        )
    return verdicts
