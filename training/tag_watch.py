"""Watch a site's tags drift away from a model's, and say when to retrain.

    data/ques_details.csv (with creation_date), tag_types_encoded.json of the model  ->  reports/tag_watch.md

    python training/tag_watch.py --model-tags deployment/model/tag_types_encoded.json

--model FOLDER, the model folder in service, adds the gaps: topics of recent questions for which no tag fits, and tags
that the model does not tell apart; training/moderation/gaps.py describes them.

Each run replaces the report of the one before, as a scheduler such as cron needs it, and no other file.
Exit status: 0 "still good", 1 "retrain", 2 bad input. training/moderation/drift.py defines the verdict.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import DATE_COLUMN, read_questions, refuse_foreign, require, write_report
from data.options import add_folder_options
from tagging.console import run_script
from tagging.decision import log_odds
from tagging.model_folder import TAGS, default_model_folder, read_tags, served_folder
from tagging.options import add_force_option, at_least_one, script_parser, share
from tagging.tagger import Tagger
from training.dataset import as_part
from training.moderation.drift import must_retrain, report, split_off_recent, watch
from training.moderation.gaps import describe, find_pairs, find_topics
from training.processor import spin_briefly
from training.vectors import question_vectors

SCRIPT = "training/tag_watch.py"
BATCH_SIZE = 32


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    model_tags = default_model_folder() / "tag_types_encoded.json"
    add_folder_options(parser, data_dir="folder of ques_details.csv", reports_dir="folder of the result")
    parser.add_argument("--model-tags", type=Path, default=model_tags, help="tag_types_encoded.json of the model")
    parser.add_argument("--model", type=Path, help="model folder, to find gaps in the tags; its own tags are watched")
    parser.add_argument("--backbone", default="all-minilm-l6-v2", help="encoder for the topics, with --model")
    parser.add_argument(
        "--months", type=at_least_one, default=6, help="how far back from the newest question recent reaches"
    )
    parser.add_argument("--min-frequency", type=share, default=0.001, help="the limit: as for filter_tags.py")
    add_force_option(parser, "overwrite tag_watch.md even if it is no report of this script")
    args = parser.parse_args(argv)
    if args.months < 1:
        parser.error(f"--months is {args.months}; it must be at least 1")
    if not 0 <= args.min_frequency < 1:
        parser.error(f"--min-frequency is {args.min_frequency}; it must be at least 0 and below 1")
    return args


def find_gaps(folder: Path, backbone: str, recent) -> str:
    """Return the gaps of the recent questions in Markdown.

    Raises
    ------
    ValueError : model or encoder cannot be loaded
    """
    tagger = Tagger(folder, index=False)
    part = as_part(recent, tagger.tags)
    probabilities = tagger.probabilities(part.titles, part.descriptions, batch_size=BATCH_SIZE)
    topics = find_topics(part.titles, probabilities.max(axis=1), question_vectors(backbone, part))
    pairs = find_pairs(part.targets, log_odds(probabilities), part.tags)
    return describe(topics, pairs, part.titles, part.urls)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    spin_briefly()
    output = args.reports_dir / "tag_watch.md"
    try:
        details = require(args.data_dir / "ques_details.csv", "python scraper/question_details_scraper.py")
        refuse_foreign(output, SCRIPT, args.force)
        if args.model:
            args.model_tags = served_folder(args.model) / TAGS
        if not args.model_tags.is_file():
            raise ValueError(f"{args.model_tags} not found: name the model's tag_types_encoded.json with --model-tags")
        known = read_tags(args.model_tags)
        older, recent = split_off_recent(read_questions(details), args.months)
        gaps = find_gaps(args.model, args.backbone, recent) if args.model else ""
    except (ValueError, SystemExit) as error:  # in one line, as everywhere, but with a status that is no verdict
        print(error, file=sys.stderr)
        sys.exit(2)

    figures = watch(older, recent, known, args.min_frequency)
    newest = recent[DATE_COLUMN].max()
    where = (
        f"{len(recent)} recent questions of {details}, those of the {args.months} months up to {newest:%Y-%m-%d}, and "
        f"{len(older)} older ones, against the {len(known)} tags of {args.model_tags}."
    )
    text = "\n".join([report(figures, where), gaps]).rstrip() + "\n"
    write_report(output, text, SCRIPT)
    print(f"{text}\nwritten: {output}")
    sys.exit(int(must_retrain(figures)))


if __name__ == "__main__":
    run_script(main)
