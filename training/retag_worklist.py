"""List the questions whose tags look wrong, for moderators.

    data/ques_filtered.csv, data/tag_types_encoded.json  ->  reports/retag_worklist.csv    url, title, tags, add,
                                                                                           remove, score
                                                             reports/retag_worklist.html   the same, as a page

    python training/retag_worklist.py

Every question is scored by a TF-IDF baseline that did not see it: five folds, duplicates in the same one. The method is
confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels";
Thyagarajan et al. 2022 for several labels per example): a tag, or its absence, that got a low probability is suspect.
With p the cross-validated probability of a tag and q the share of questions that carry it, the confidence of

    adding it is      p
    removing it is    1 / (1 + odds(p) / odds(q))    where odds(x) = x / (1 - x)

The first is one minus the self-confidence of the tag's absence. For a tag that is there, self-confidence alone would
suspect every rare tag, since p is small wherever q is. So the tag's prior is taken out (Saerens et al. 2002, "Adjusting
the outputs of a classifier to new a priori probabilities"), as confident learning takes out a class's mean: 0.5 says
that the text tells nothing, 1 that it speaks against the tag. A question's score is the highest confidence of its
changes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from tagging.console import run_script
from tagging.decision import MAX_TAGS
from tagging.files import atomic_path
from tagging.model_folder import read_tags
from tagging.options import at_least_one, share

from data.duplicates import duplicate_groups
from data.files import read_questions, refuse_overwrite, require
from data.spreadsheet import spreadsheet_text
from training.baseline import TfidfTagger, fit
from training.questions import Part, as_part

FOLDS = 5


def cross_validated_probabilities(questions: Part) -> np.ndarray:
    """Return each question's tag probabilities by a baseline fitted without it and its duplicates.

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
        tagger, part = TfidfTagger(fit(questions.take(seen))), questions.take(unseen)
        probabilities[unseen] = tagger.raw_probabilities(part.titles, part.descriptions)
    return probabilities


def confidence_of_change(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return how sure it is that a tag should be removed where it is, or added where it is not (module docstring).

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


def changes(targets: np.ndarray, confidence: np.ndarray, tags: list[str], least: float) -> dict:
    """Return one question's {"tags": [...], "add": [(tag, confidence)], "remove": ..., "score": ...}, the surest first.

    Only changes of confidence ``least`` or more count, and no more additions than leave MAX_TAGS tags.
    ``targets`` and ``confidence`` have the shape (num_labels,).
    """
    surest = [index for index in np.argsort(-confidence, kind="stable") if confidence[index] >= least]
    remove = [index for index in surest if targets[index]]
    room = MAX_TAGS - int(targets.sum()) + len(remove)
    add = [index for index in surest if not targets[index]][: max(room, 0)]
    return {
        "tags": [tags[index] for index in np.flatnonzero(targets)],
        "add": [(tags[index], confidence[index]) for index in add],
        "remove": [(tags[index], confidence[index]) for index in remove],
        "score": max(confidence[add + remove], default=0.0),
    }


def worklist(questions, targets: np.ndarray, confidence: np.ndarray, tags: list[str], least: float) -> list[dict]:
    """Return a row for each question with a change, the highest score first: :func:`changes`, url and title."""
    rows = [
        {"url": url, "title": title, "is_link": url.startswith(("https://", "http://"))} | found
        for url, title, targets_of_one, confidence_of_one in zip(
            questions["url"], questions["title"], targets, confidence, strict=True
        )
        if (found := changes(targets_of_one, confidence_of_one, tags, least))["score"]
    ]
    return sorted(rows, key=lambda row: (-row["score"], row["url"]))


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write the list for spreadsheets, which run none of its cells; tags are separated by a comma and a blank."""
    import pandas as pd

    cells = [
        {
            "url": row["url"],
            "title": row["title"],
            "tags": ", ".join(row["tags"]),
            "add": ", ".join(tag for tag, _ in row["add"]),
            "remove": ", ".join(tag for tag, _ in row["remove"]),
            "score": f"{row['score']:.3f}",
        }
        for row in rows
    ]
    with atomic_path(path) as temporary:
        columns = ["url", "title", "tags", "add", "remove", "score"]
        pd.DataFrame(cells, columns=columns).map(spreadsheet_text).to_csv(temporary, index=False, lineterminator="\n")


def write_page(path: Path, rows: list[dict], num_questions: int) -> None:
    """Write the list as one page that needs nothing else."""
    from jinja2 import Template

    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"), autoescape=True)
    with atomic_path(path) as temporary:
        page = template.render(rows=rows, num_questions=num_questions, text=spreadsheet_text)
        temporary.write_text(page, encoding="utf-8", newline="\n")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the output of filter_tags.py")
    parser.add_argument("--reports-dir", type=Path, default=Path("reports"), help="folder of the result")
    parser.add_argument("--min-confidence", type=share, default=0.8, help="least confidence of a suggested change")
    parser.add_argument("--limit", type=at_least_one, default=500, help="list at most this many questions")
    parser.add_argument("--force", action="store_true", help="replace an existing result")
    args = parser.parse_args(argv)
    if not 0 < args.min_confidence < 1:
        parser.error(f"--min-confidence is {args.min_confidence}; it must lie between 0 and 1")
    if args.limit < 1:
        parser.error(f"--limit is {args.limit}; it must be at least 1")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    outputs = [args.reports_dir / f"retag_worklist.{ending}" for ending in ("csv", "html")]
    inputs = [
        require(args.data_dir / name, "python training/filter_tags.py")
        for name in ("ques_filtered.csv", "tag_types_encoded.json")
    ]
    refuse_overwrite(*outputs, force=args.force)
    try:
        questions, tags = read_questions(inputs[0]), read_tags(inputs[1])
        if not set(questions["tags"].explode().dropna()) <= set(tags):
            raise ValueError(
                f"{inputs[0]} and {inputs[1]} do not belong together: make them anew with  "
                "python training/filter_tags.py --force"
            )
        part = as_part(questions, tags)
        probabilities = cross_validated_probabilities(part)
    except ValueError as error:
        sys.exit(str(error))

    confidence = confidence_of_change(part.targets, probabilities)
    rows = worklist(questions, part.targets, confidence, tags, args.min_confidence)[: args.limit]
    write_csv(outputs[0], rows)
    write_page(outputs[1], rows, len(questions))
    print(
        f"{len(rows)} of {len(questions)} questions listed, {sum(bool(row['add']) for row in rows)} of them lack a tag"
    )
    print(f"written: {', '.join(str(path) for path in outputs)}")


if __name__ == "__main__":
    run_script(main)
