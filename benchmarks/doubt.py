"""Measure how often the tagger reports that its tags fit, for questions of its own site and for unrelated texts.

Input: the model of deployment/model/, questions of its own site, and optionally of other sites. Output: a table.

    python benchmarks/doubt.py --own data/ques_details.csv --other elsewhere/ques_details.csv    # -> reports/doubt.md
"""

import argparse
import random
import string
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, write_report
from data.files import read_questions
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.model_folder import add_model_folder_option
from tagging.options import script_parser
from tagging.tagger import Tagger

QUESTIONS = 400  # maximum number of texts of each kind
SEED = 0
WORDS = 10  # per generated title
LANGUAGES = (
    "Wie finde ich heraus, warum mein Auto morgens nicht anspringt?",
    "Wann fährt der nächste Zug von hier nach Berlin ab?",
    "¿Cómo puedo cocinar una paella para diez personas?",
    "Quel est le meilleur moyen d'apprendre le piano à mon âge ?",
    "Onde posso comprar um bilhete de metro para amanhã?",
    "Dove si trova la stazione più vicina al museo?",
    "Jak upiec dobry chleb żytni w domowym piekarniku?",
    "Как приготовить настоящий борщ на завтрашний обед",
    "今日の天気はどうですか、傘が必要ですか",
    "我想知道明天的天气怎么样 要不要带伞",
)


def unrelated_titles(tagger: Tagger) -> dict[str, list[str]]:
    """Return titles of random English words, titles of random letters, and questions in other languages."""
    rng = random.Random(SEED)
    words = sorted(
        word for word in tagger.model.tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 2
    )

    def letters() -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 9)))

    return {
        "random English words": [" ".join(rng.choices(words, k=WORDS)) for _ in range(QUESTIONS)],
        "random letters": [" ".join(letters() for _ in range(WORDS)) for _ in range(QUESTIONS)],
        "other languages": list(LANGUAGES),
    }


def sample(path: Path) -> tuple[list[str], list[str]]:
    """Return titles and descriptions of at most QUESTIONS random rows of a ques_details.csv, sampled with SEED."""
    questions = read_questions(path)
    drawn = questions.sample(min(QUESTIONS, len(questions)), random_state=SEED)
    return drawn["title"].tolist(), drawn["description"].tolist()


def row(name: str, tagger: Tagger, titles: list[str], descriptions: list[str]) -> tuple:
    """Return a row of the table: the share of texts whose tags fit, and the median probability of the best tag."""
    answers = [tagger.answer(title, description) for title, description in zip(titles, descriptions, strict=True)]
    best = np.median([answer["suggested"][0]["probability"] for answer in answers])
    return name, len(answers), f"{np.mean([answer['fits'] for answer in answers]):.2f}", f"{best:.2f}"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--own", type=Path, required=True, help="a ques_details.csv of the model's site")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="ques_details.csv files of other sites")
    add_output_option(parser, "doubt")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        tagger = Tagger(args.model)
        rows = []
        for path in (args.own, *args.other):
            titles, descriptions = sample(path)
            rows.append(row(f"{path}, titles", tagger, titles, [""] * len(titles)))
            if any(descriptions):
                rows.append(row(f"{path}, title and description", tagger, titles, descriptions))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    for name, titles in unrelated_titles(tagger).items():
        rows.append(row(name, tagger, titles, [""] * len(titles)))
    table = markdown_table(["texts", "number", "said to fit", "probability of the best tag, median"], rows)
    write_report("doubt", args.output, ["# When the tagger says that its tags fit", "", table])


if __name__ == "__main__":
    run_script(main)
