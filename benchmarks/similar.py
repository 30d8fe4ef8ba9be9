"""Measure similar questions: what the exact search costs, and how often a similar question shares a tag.

Input: a model folder whose model gives vectors, and the output of filter_tags.py. The nearest question of the training
part is found for each question of the validation part.

    python benchmarks/similar.py --model deployment/model    # -> reports/similar.md
"""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, fastest, write_report
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.model_folder import add_model_folder_option
from tagging.options import script_parser
from tagging.similar import DUPLICATE, Index, SimilarQuestions
from tagging.tagger import Tagger
from training.dataset import Part, read_parts

SIZES = (10_000, 30_000, 100_000)  # questions
BANDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, DUPLICATE, 1.01)  # of the cosine


def search_times(size: int) -> list[tuple[str, str, str]]:
    """Return number of questions, milliseconds of a search, and memory, over random vectors."""
    rows = []
    random = np.random.default_rng(0)
    for number in SIZES:
        vectors = random.integers(-127, 128, size=(number, size), dtype=np.int8)
        index = Index(
            vectors,
            np.zeros(size, dtype=np.float32),
            np.arange(1, number + 1, dtype=np.int32),
            np.zeros(number, dtype=np.int32),
            np.ones(number, dtype=np.int32),
        )
        questions = SimilarQuestions(index, [], ["tag"], "https://example.org")
        asked = random.normal(size=size).astype(np.float32)
        milliseconds = 1000 * fastest(lambda asked=asked, questions=questions: questions.nearest(asked))  # type: ignore[misc]
        rows.append((f"{number:,}", f"{milliseconds:.1f}", f"{4 * vectors.size / 1e6:,.0f}"))
    return rows


def shared_tags(tagger: Tagger, known: Part, new: Part) -> list[tuple[str, ...]]:
    """Return, for each band of the cosine of the nearest question, how many questions have it and what they share."""
    vectors = [tagger.vectors(part.titles, part.descriptions, batch_size=32) for part in (known, new)]
    labels = [np.flatnonzero(row).tolist() for row in known.targets]
    questions = SimilarQuestions(Index.of(vectors[0], range(len(known)), labels), [], known.tags, "")
    nearest = [questions.nearest(vector)[0] for vector in vectors[1]]
    cosines = np.array([question["similarity"] for question in nearest])
    rows = np.array([int(question["url"].rpartition("/")[2]) for question in nearest])
    hits = (known.targets[rows] & new.targets).sum(axis=1)
    table: list[tuple[str, ...]] = []
    for low, high in pairwise(BANDS):
        inside = (cosines >= low) & (cosines < high)
        if inside.any():
            shared = hits[inside].sum() / new.targets[inside].sum()
            name = f"{low:g} to {high:g}" if high < 1 else f"from {low:g}: possible duplicate"
            table.append((name, str(inside.sum()), f"{np.mean(hits[inside] > 0):.2f}", f"{shared:.2f}"))
    return table


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    add_folder_options(parser, data_dir="folder of the model's training questions")
    add_output_option(parser, "similar")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        tagger = Tagger(args.model)
        train, validation = read_parts(args.data_dir, "train", "validation")
        rows = shared_tags(tagger, train, validation)
    except ValueError as error:
        sys.exit(str(error))
    size = tagger.vectors(["a"], [""]).shape[1]
    columns = ["cosine", "questions", "with a tag in common", "share of their tags"]
    lines = [
        "# Similar questions\n",
        f"The nearest of {len(train)} training questions to each of {len(validation)} validation questions. Nearly "
        "equal questions lie in one part of the split, so possible duplicates are rare here.\n",
        markdown_table(columns, rows, num_text=1),
        f"\nExact search over vectors of {size} numbers, the fastest of 10 on this machine:\n",
        markdown_table(["questions", "ms", "MB"], search_times(size), num_text=0),
    ]
    write_report("similar", args.output, lines)


if __name__ == "__main__":
    run_script(main)
