"""The worklist of questions whose tags look wrong, without I/O except for the page's template.

Every question is scored by models that did not see it: five folds, duplicates in the same one. They are three, since
they err on different questions: one head per tag on the encoder's vectors, the tags of the nearest questions by these
vectors, and TF-IDF. Their logits are averaged. The method is confident learning (Northcutt, Jiang and Chuang 2021,
"Confident Learning: Estimating Uncertainty in Dataset Labels"; Thyagarajan et al. 2022 for several labels per example):
a tag, or its absence, that got a low probability is suspect.
With p the cross-validated probability of a tag and q the share of questions that carry it, the confidence of

    adding it is      p
    removing it is    1 / (1 + odds(p) / odds(q))    where odds(x) = x / (1 - x)

The first is one minus the self-confidence of the tag's absence. For a tag that is there, self-confidence alone would
suspect every rare tag, since p is small wherever q is. So the tag's prior is taken out (Saerens et al. 2002, "Adjusting
the outputs of a classifier to new a priori probabilities"), as confident learning takes out a class's mean: 0.5 says
that the text tells nothing, 1 that it speaks against the tag.

A wrong tag mostly stands in the place of a missing one. So the score of a change, by which the list is ordered, is its
confidence times (1 + c) / 2, where c is the highest confidence of a change of the other kind in the same question. A
question's score is the highest one of its changes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.duplicates import duplicate_groups
from data.spreadsheet import spreadsheet_text
from tagging.decision import sigmoid
from tagging.similar import NUM_SIMILAR, nearest_rows, unit
from tagging.stack_exchange import STACK_EXCHANGE
from training.dataset import Part
from training.moderation.scorers import Scorer

FOLDS = 5


def cross_validated_probabilities(questions: Part, scorers: Sequence[Scorer]) -> np.ndarray:
    """Return each question's tag probabilities by models that did not see it and its duplicates.

    The logits of the scorers (training/moderation/scorers.py) are averaged.

    Returns
    -------
    float array of shape (n, num_labels)

    Raises
    ------
    ValueError : fewer different questions than folds
    """
    from sklearn.model_selection import GroupKFold
    from tqdm import tqdm

    groups = duplicate_groups(questions.titles, questions.descriptions)
    if groups.max() + 1 < FOLDS:
        raise ValueError(f"at least {FOLDS} different questions are needed, found {groups.max() + 1}")
    probabilities = np.empty(questions.targets.shape, dtype=np.float32)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=0).split(groups, groups=groups)
    for seen, unseen in tqdm(folds, total=FOLDS, desc="cross-validation", unit="fold"):
        probabilities[unseen] = sigmoid(np.mean([score(seen, unseen) for score in scorers], axis=0))
    return probabilities


def confidence_of_change(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confidence that a tag should be removed where it is, or added where it is not (module docstring).

    Parameters
    ----------
    targets : bool array of shape (n, num_labels)
    probabilities : float array of shape (n, num_labels), cross-validated

    Returns
    -------
    float array of shape (n, num_labels), in [0, 1]
    """
    p = np.clip(probabilities.astype(float), 1e-9, 1 - 1e-9)
    prior = (targets.sum(axis=0) + 1) / (len(targets) + 2)  # Laplace's rule, for a tag that none or all carry
    return np.where(targets, 1 / (1 + p / (1 - p) * (1 - prior) / prior), p)


def scores_of_change(targets: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the scores of the changes of one question (module docstring), an array of shape (num_labels,).

    Examples
    --------
    >>> scores_of_change(np.array([True, False]), np.array([0.8, 0.5])).round(3).tolist()
    [0.6, 0.45]
    """
    removal, addition = (confidence[kind].max(initial=0.0) for kind in (targets, ~targets))
    return confidence * (1 + np.where(targets, addition, removal)) / 2


def changes(targets: np.ndarray, confidence: np.ndarray, tags: list[str], min_confidence: float) -> dict:
    """Return the changes of one question: {"tags": [tag], "add": [change], "remove": [change], "score": highest}.

    A change is {"tag": tag, "confidence": confidence, "score": score}. The most confident ones come first. Only those
    of confidence ``min_confidence`` or more count, and no more additions than the site allows tags.
    ``targets`` and ``confidence`` have the shape (num_labels,).
    """
    ranked = [index for index in np.argsort(-confidence, kind="stable") if confidence[index] >= min_confidence]
    if not ranked:
        return {"tags": [], "add": [], "remove": [], "score": 0.0}
    remove = [index for index in ranked if targets[index]]
    room = STACK_EXCHANGE.max_tags - int(targets.sum()) + len(remove)
    add = [index for index in ranked if not targets[index]][: max(room, 0)]
    scores = scores_of_change(targets, confidence)

    def described(index: int) -> dict:
        return {"tag": tags[index], "confidence": float(confidence[index]), "score": float(scores[index])}

    return {
        "tags": [tags[index] for index in np.flatnonzero(targets)],
        "add": [described(index) for index in add],
        "remove": [described(index) for index in remove],
        "score": float(max(scores[add + remove], default=0.0)),
    }


def worklist(
    questions, targets: np.ndarray, confidence: np.ndarray, tags: list[str], min_confidence: float
) -> list[dict]:
    """Return a row for each question with a change, the highest score first: :func:`changes`, url, title and row.

    ``row`` is the row of ``targets``.
    """
    rows = [
        {"row": row, "url": url, "title": title, "is_link": url.startswith(("https://", "http://"))} | found
        for row, (url, title, targets_of_one, confidence_of_one) in enumerate(
            zip(questions["url"], questions["title"], targets, confidence, strict=True)
        )
        if (found := changes(targets_of_one, confidence_of_one, tags, min_confidence))["score"]
    ]
    return sorted(rows, key=lambda row: (-row["score"], row["url"]))


def add_similar(rows: list[dict], questions, vectors: np.ndarray) -> None:
    """Add to each row the NUM_SIMILAR questions nearest to it, as evidence: url, title and tags.

    Parameters
    ----------
    rows : from :func:`worklist`
    questions : DataFrame
    vectors : float array of shape (n, hidden_size), of the questions
    """
    directions = unit(vectors - vectors.mean(axis=0))
    for row in rows:
        nearest, _ = nearest_rows(directions, directions[row["row"]], NUM_SIMILAR + 1)
        others = [other for other in nearest.tolist() if other != row["row"]][:NUM_SIMILAR]
        row["similar"] = questions.iloc[others][["url", "title", "tags"]].to_dict("records")


def csv_table(rows: list[dict]):
    """Return the list as a DataFrame whose cells no spreadsheet runs; tags are separated by a comma and a blank."""
    import pandas as pd

    cells = [
        {
            "url": row["url"],
            "title": row["title"],
            "tags": ", ".join(row["tags"]),
            "add": ", ".join(change["tag"] for change in row["add"]),
            "remove": ", ".join(change["tag"] for change in row["remove"]),
            "score": f"{row['score']:.3f}",
        }
        for row in rows
    ]
    return pd.DataFrame(cells, columns=["url", "title", "tags", "add", "remove", "score"]).map(spreadsheet_text)


def html_page(rows: list[dict], num_questions: int) -> str:
    """Return the list as one HTML page that loads nothing else."""
    from jinja2 import Template

    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"), autoescape=True)
    return template.render(rows=rows, num_questions=num_questions, text=spreadsheet_text)
