"""Propose rules for the tags of a site, for a person to accept.

    data/ques_filtered.csv, data/tag_types_encoded.json  ->  reports/proposed_rules.toml

    python training/propose_rules.py

An implied tag is one that at least --min-confidence of the questions with another tag have, too. Two tags may be
synonyms if their names are alike, or if neither comes without the other. Each proposal is a comment, with the figures
that led to it. deployment/README.md describes the file rules.toml.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite
from data.options import add_folder_options
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import add_force_option, at_least_one, script_parser, share
from training.dataset import read_whole
from training.moderation.proposals import as_toml, counted, implications, synonyms


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(parser, data_dir="folder of the output of filter_tags.py", reports_dir="folder of the result")
    parser.add_argument("--min-confidence", type=share, default=0.95, help="least share of the questions with a tag")
    parser.add_argument("--min-questions", type=at_least_one, default=20, help="least number of questions with a tag")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    output = args.reports_dir / "proposed_rules.toml"
    refuse_overwrite(output, force=args.force)
    try:
        _, part = read_whole(args.data_dir)
    except ValueError as error:
        sys.exit(str(error))
    counts = counted(part.targets)
    implied = implications(counts, part.tags, args.min_confidence, args.min_questions)
    alike = synonyms(counts, part.tags, args.min_confidence, args.min_questions)
    text = as_toml(implied, alike, f"{len(part)} questions with {len(part.tags)} tags")
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(f"{text}\n{len(implied)} implied tags and {len(alike)} synonyms proposed\nwritten: {output}")


if __name__ == "__main__":
    run_script(main)
