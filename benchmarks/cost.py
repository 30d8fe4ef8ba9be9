"""Measure the cost of an explanation in answers, and compare it to its charge in the form's rate limit.

Input: a model folder and questions. Output: a table. Fails if an explanation costs more than its charge.

    python benchmarks/cost.py --questions data/ques_details.csv    # -> reports/cost.md
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, fastest, write_report
from data.files import read_questions
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.explain import explain_tags
from tagging.model_folder import add_model_folder_option
from tagging.options import script_parser
from tagging.tagger import Tagger
from webapp.questions import MAX_EXPLANATION_COST, Question, explanation_cost

QUESTIONS, SEED, REPETITIONS = 30, 0, 3
MAX_ABOVE = 1.25  # ratio of median cost to charge; tolerates other load on the machine


def cost_ratio(tagger: Tagger, question: Question) -> float:
    """Return the time to explain a question divided by the time to answer it."""
    answer = fastest(partial(tagger.answer, *question), REPETITIONS)
    return fastest(partial(explain_tags, tagger, *question), REPETITIONS) / answer


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv, such as the demo's")
    add_output_option(parser, "cost")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        tagger = Tagger(args.model, num_threads=1)
        questions = read_questions(args.questions)
    except (ValueError, OSError) as error:
        sys.exit(f"cannot benchmark: {error}")
    drawn = questions.sample(min(QUESTIONS, len(questions)), random_state=SEED)
    kinds = {
        "titles": [Question(title, "") for title in drawn["title"] if title],
        "title and description": [Question(*row) for row in zip(drawn["title"], drawn["description"], strict=True)],
    }
    rows, missed = [], []
    for kind, asked in kinds.items():
        cost = np.median([cost_ratio(tagger, question) for question in asked])
        charge = np.median([explanation_cost(question) for question in asked])
        rows.append((kind, len(asked), f"{cost:.1f}", f"{charge:.1f}"))
        if cost > MAX_ABOVE * charge:
            missed.append(kind)
    title = f"# Cost of an explanation, in answers to the same text; the charge is at most {MAX_EXPLANATION_COST}\n"
    table = markdown_table(["texts", "number", "median cost", "median charge"], rows)
    write_report("cost", args.output, [title, table])
    if missed:
        sys.exit(f"an explanation costs more than its charge: {', '.join(missed)}")


if __name__ == "__main__":
    run_script(main)
