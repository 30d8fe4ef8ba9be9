"""Tag a CSV or Parquet file of questions, or a single question.

Input:  a file with the columns title and description, or one of them; other columns are copied. CSV in UTF-8 with a
        header, or Parquet if its name ends in .parquet or .pq
Output: the same rows in the same order and format, with two more columns (in CSV, JSON arrays):
            tags     by descending probability; empty if title and description are both blank
            scores   the calibrated probabilities of the tags, in the same order
        and, with --evidence, a third one:
            similar  the nearest questions of the site, a JSON array of objects with url, title, tags and similarity

    python deployment/predict.py --input questions.csv --output tagged.csv
    python deployment/predict.py --title "How many clusters for k-means?" --evidence    # prints tags, similar questions
    python deployment/predict.py --input shards/ --output tagged/ --ray auto    # a folder of Parquet, on a Ray cluster

The file is read row by row, first to check all of it and then to tag it, so memory does not grow with its length.
A question gets the same tags as in the apps: a title is plain text, and so is a description unless all of its text lies
in HTML elements. An interrupted run resumes with the same command: its results are kept in a hidden file beside the
output.
"""

import argparse
import sys
from pathlib import Path

from tagging.bulk import read_results, tag_file
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.html_text import question_text
from tagging.locks import sole_writer
from tagging.model_folder import add_model_folder_option
from tagging.options import add_force_option, at_least_one, script_parser
from tagging.tables import check_columns_free, is_parquet, iter_texts, result_columns, write_tagged
from tagging.tagger import Tagger


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--input", type=Path, help="CSV or Parquet file with the columns title, description")
    parser.add_argument(
        "--output", type=Path, help="file to write, in the format of the input: the input plus tags, scores"
    )
    parser.add_argument("--title", default="", help="title of a single question, instead of --input")
    parser.add_argument("--description", default="", help="description of a single question")
    add_model_folder_option(parser)
    parser.add_argument(
        "--top-k",
        type=at_least_one,
        help="number of tags per question, whatever their probability; by default the suggested ones",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="tag the Parquet files of the folder --input into the folder --output, on the Ray cluster at ADDRESS; "
        "auto: the running cluster; local: this machine",
    )
    parser.add_argument(
        "--evidence", action="store_true", help="also the most similar questions of the site; the model needs an index"
    )
    add_force_option(parser)
    args = parser.parse_args(argv)
    from_file, single = bool(args.input and args.output), bool(args.title or args.description)
    if from_file == single or bool(args.input) != bool(args.output):
        parser.error("give either --input and --output, or --title and --description")
    if args.ray and not (args.input and args.input.is_dir()):
        parser.error("--ray takes a folder of Parquet files as --input, and a folder as --output")
    return args


def spoken(question: dict) -> str:
    """Return a line about a similar question."""
    named = f"{question['title']}  {question['url']}".strip()
    duplicate = "  possible duplicate" if question["duplicate"] else ""
    return f"similar ({question['similarity']:.2f}): {named}  [{' '.join(question['tags'])}]{duplicate}"


def check_places(source: Path, target: Path, force: bool) -> None:
    """Exit with an error if the output would overwrite the input, or, without ``--force``, an existing file."""
    if source.is_dir():
        sys.exit(f"{source} is a folder: give a file in it, or --ray local to tag all its Parquet files")
    if not source.is_file():
        sys.exit(f"{source} not found: give --input a CSV or Parquet file with the columns title, description")
    if is_parquet(source) != is_parquet(target):
        sys.exit(f"--output {target} must have the format of --input: its name must end in {source.suffix}")
    if target.is_dir():
        sys.exit(f"{target} is a folder: --output must be a file")
    if target.exists() and target.samefile(source):
        sys.exit(f"--output {target} is the input itself: choose another file")
    if target.exists() and not force:
        sys.exit(f"{target} already there: give --force to overwrite it, or choose another --output")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.input and not args.ray:
        check_places(args.input, args.output, args.force)

    try:
        if not args.input:
            tagger = Tagger(args.model, index=args.evidence)
            texts = question_text(args.title, args.description, tagger.settings.max_length)
            if args.evidence:
                tagged, similar = tagger.tag_with_evidence(*texts, args.top_k)
            else:
                tagged, similar = tagger.tag(*texts, args.top_k), []
            for tag, probability in tagged:
                print(f"{probability:.2f}  {tag}")
            for question in similar:
                print(spoken(question))
            return
        if args.ray:
            from shards import tag_folder

            wanted = args.top_k, args.evidence
            files, total = tag_folder(args.input, args.output, args.model, *wanted, args.ray, args.force)
            print(f"{total} questions of {files} files tagged -> {args.output}")
            return
        columns = result_columns(args.evidence)
        check_columns_free(args.input, columns)
        total = sum(1 for _ in iter_texts(args.input))
        if total == 0:
            raise ValueError(f"{args.input}: no row below the header")
        results = args.output.with_name(f".{args.output.name}.results")
        # One core for each of several concurrent questions is faster than all cores for one question at a time.
        tagger = Tagger(args.model, num_threads=1, index=args.evidence)
        if args.evidence:
            tagger.check_index()
        with sole_writer(args.output):
            tag_file(tagger, args.input, results, total, args.top_k, args.evidence, args.force)
            with atomic_path(args.output) as temporary:
                write_tagged(args.input, temporary, columns, read_results(results))
            blank = sum(not result["tags"] for result in read_results(results))
            results.unlink()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; run the same command again to resume")
    print(f"{total - blank} questions tagged, {blank} blank ones left without tags -> {args.output}")


if __name__ == "__main__":
    run_script(main)
