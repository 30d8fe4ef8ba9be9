"""List the questions whose tags look wrong, for moderators.

    data/ques_filtered.csv, data/tag_types_encoded.json  ->  reports/retag_worklist.csv    url, title, tags, add,
                                                                                           remove, score
                                                             reports/retag_worklist.html   the same, as a page
                                                             reports/retag_worklist.jsonl  for webapp/moderation.py

    python training/retag_worklist.py

training/moderation/worklist.py describes the method. The precision of a suggestion is measured in the same run: errors
are planted into a copy of the tags, and the list that is made from it shows how many of them are found.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite
from data.options import add_folder_options
from data.worklist_file import CHANGES, write_worklist
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import add_force_option, at_least_one, script_parser, share
from training.dataset import Part, read_whole
from training.moderation.planted import hits, plant, precision_of_scores
from training.moderation.scorers import heads_scorer, neighbours_scorer, tfidf_scorer
from training.moderation.worklist import (
    add_similar,
    confidence_of_change,
    cross_validated_probabilities,
    csv_table,
    html_page,
    worklist,
)
from training.options import add_backbone_option
from training.processor import spin_briefly
from training.vectors import question_vectors


def list_changes(questions, part: Part, vectors: np.ndarray, min_confidence: float) -> list[dict]:
    """Return the worklist of the questions, with the tags of ``part``."""
    scorers = [tfidf_scorer(part), heads_scorer(part, vectors), neighbours_scorer(part, vectors)]
    confidence = confidence_of_change(part.targets, cross_validated_probabilities(part, scorers))
    return worklist(questions, part.targets, confidence, part.tags, min_confidence)


def add_precision(rows: list[dict], questions, part: Part, vectors: np.ndarray, min_confidence: float) -> list[str]:
    """Add to each change of the rows its precision, measured on planted errors; return a line for each kind."""
    planted = plant(part.targets)
    found = list_changes(questions, replace(part, targets=planted.targets), vectors, min_confidence)
    lines = []
    for kind in CHANGES:
        scores, right = hits(found, planted, part.tags, kind)
        precision = precision_of_scores(scores, right)
        for change in (change for row in rows for change in row[kind]):
            change["precision"] = float(precision([change["score"]])[0]) if precision else None
        if len(right):
            lines.append(
                f"to {kind}: {right.mean():.0%} of the suggestions repair an error that was planted, "
                f"{right[: len(right) // 10 or 1].mean():.0%} of the highest tenth; others may be right, too"
            )
    return lines


def write_list(csv: Path, html: Path, rows: list[dict], num_questions: int) -> None:
    """Write the worklist as a table for spreadsheets and as a page."""
    with atomic_path(csv) as temporary:
        csv_table(rows).to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(html) as temporary:
        temporary.write_text(html_page(rows, num_questions), encoding="utf-8", newline="\n")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_backbone_option(parser, default="all-minilm-l6-v2")
    add_folder_options(parser, data_dir="folder of the output of filter_tags.py", reports_dir="folder of the result")
    parser.add_argument("--min-confidence", type=share, default=0.8, help="least confidence of a suggested change")
    parser.add_argument("--limit", type=at_least_one, default=500, help="list at most this many questions")
    add_force_option(parser)
    args = parser.parse_args(argv)
    if not 0 < args.min_confidence < 1:
        parser.error(f"--min-confidence is {args.min_confidence}; it must lie between 0 and 1")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    spin_briefly()
    outputs = [args.reports_dir / f"retag_worklist.{ending}" for ending in ("csv", "html", "jsonl")]
    refuse_overwrite(*outputs, force=args.force)
    try:
        questions, part = read_whole(args.data_dir)
        vectors = question_vectors(args.model, part)
        rows = list_changes(questions, part, vectors, args.min_confidence)[: args.limit]
        add_similar(rows, questions, vectors)
        print("the same with planted errors, to measure the precision")
        measured = add_precision(rows, questions, part, vectors, args.min_confidence)
    except ValueError as error:
        sys.exit(str(error))

    write_list(outputs[0], outputs[1], rows, len(questions))
    write_worklist(outputs[2], rows)
    print(
        f"{len(rows)} of {len(questions)} questions listed, {sum(bool(row['add']) for row in rows)} of them lack a tag"
    )
    print("\n".join(measured))
    print(f"written: {', '.join(str(path) for path in outputs)}")


if __name__ == "__main__":
    run_script(main)
