"""Add the questions of another source to those of the training part.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv, --input
      ->  data/extra_questions.csv, data/extra_questions.json

    python training/extra_questions.py --input ai/ques_details.csv --tag-map ai/tag_map.json --weight 0.5

Run it once for each source. With --extra-questions, finetune.py and distill.py train on them, too.

The input has the columns of ques_details.csv. Its tags are renamed by the tag map, and those that the site does not
have are dropped. A question that is left without a tag is kept for distill.py, whose teacher tags it. A question that
is equal or nearly equal to one of validation or test is dropped, and so is one that ques_filtered.csv has.

--question-list takes the questions that the questions.csv.gz of a model lists as extra, with its tags, and no others.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.duplicates import resembles
from data.files import read_questions, read_table, write_json, write_questions
from data.options import add_folder_options
from data.question_list import EXTRA_SPLIT, read_question_list, select_listed
from tagging.console import run_script
from tagging.options import add_force_option, positive, script_parser
from tagging.stack_exchange import STACK_EXCHANGE
from training.dataset import EXTRA, EXTRA_RECORD, data_hash, read_extra_table, read_part, site_of
from training.tags import map_tags


def read_tag_map(path: Path, tags: list[str]) -> dict[str, str]:
    """Read a JSON file of {tag of the source: tag of the site}.

    Raises
    ------
    ValueError : it cannot be read, or names a tag that is not in ``tags``
    """
    try:
        renamed = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(renamed, dict) or not all(isinstance(tag, str) for tag in renamed.values()):
        raise ValueError(f'{path}: expected an object of tags, such as {{"neural-networks": "neural-network"}}')
    unknown = sorted(set(renamed.values()) - set(tags))
    if unknown:
        raise ValueError(f"{path}: the site has no tag {', '.join(unknown[:3])}: correct the tag map")
    return renamed


def select(questions, data_dir: Path, present: set[str]):
    """Return the questions that may be trained on, and the numbers of those that are dropped, by reason."""
    splits = read_table(data_dir / "split.csv", ["url", "split"])
    filtered = read_questions(data_dir / "ques_filtered.csv")
    held_out = filtered[filtered["url"].isin(splits["url"][splits["split"] != "train"])]
    texts, held_out_texts = ((list(table["title"]), list(table["description"])) for table in (questions, held_out))
    similar = resembles(texts, held_out_texts)
    here = questions["url"].isin(present).to_numpy()
    dropped = {"resembling_held_out": int((similar & ~here).sum()), "present": int(here.sum())}
    return questions[~similar & ~here], dropped


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, help="file of the source, with the columns of "
                        "ques_details.csv; [] in the column tags where they are not known")  # fmt: skip
    parser.add_argument("--name", help="name of the source; by default, the URL of its site")
    parser.add_argument("--tag-map", type=Path, help="JSON file of {tag of the source: tag of the site}")
    parser.add_argument("--question-list", type=Path, help="a questions.csv.gz whose extra questions to take")
    parser.add_argument("--weight", type=positive, default=1.0,
                        help="weight of each of its questions in the loss; one of the site has 1")  # fmt: skip
    add_folder_options(parser, data_dir="folder of the output of training/filter_tags.py")
    add_force_option(parser, "replace the questions of a source of the same name")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    import pandas as pd  # here, so that --help need not load it

    try:
        train = read_part(args.data_dir, "train")
        renamed = read_tag_map(args.tag_map, train.tags) if args.tag_map else {}
        questions = read_questions(args.input)
        if args.question_list:
            listed = [one for one in read_question_list(args.question_list) if one.split == EXTRA_SPLIT]
            questions = select_listed(questions, listed, STACK_EXCHANGE)
        name = args.name or site_of(questions["url"])
        before, record = read_extra_table(args.data_dir)
        sources = record.get("sources", {})
        if name in sources and not args.force:
            sys.exit(f"{args.data_dir / EXTRA} holds the source {name}: give --force to replace it, or another --name")
        others = before[before["source"] != name] if before is not None else questions[:0]
        present = set(read_questions(args.data_dir / "ques_filtered.csv")["url"]) | set(others["url"])
        kept, dropped = select(questions, args.data_dir, present)
        if kept.empty:
            raise ValueError(
                f"{args.input}: no question is left of {len(questions)}: {dropped['present']} are there already, "
                f"{dropped['resembling_held_out']} resemble one of validation or test"
            )
    except ValueError as error:
        sys.exit(str(error))

    known = set(train.tags)
    kept = kept.assign(tags=[map_tags(tags, renamed, known) for tags in kept["tags"]], source=name)
    counts = {"site": site_of(questions["url"]), "questions": len(kept), "tagged": sum(map(bool, kept["tags"])),
              "described": int((kept["description"] != "").sum())}  # fmt: skip
    sources = {**sources, name: {"weight": args.weight, **counts, "dropped": dropped}}
    (args.data_dir / EXTRA_RECORD).unlink(missing_ok=True)  # no stage reads the other without it
    write_questions(args.data_dir / EXTRA, pd.concat([others, kept]).sort_values("url"), further=["source"])
    write_json(args.data_dir / EXTRA_RECORD, {"data_sha256": data_hash(args.data_dir), "sources": sources})
    print(f"{name}: {counts['questions']} questions, {counts['tagged']} of them with tags of the site; left out: "
          f"{dropped['resembling_held_out']} that resemble a question of validation or test, {dropped['present']} that "
          "are there already")  # fmt: skip
    print(f"written: {args.data_dir / EXTRA}, {args.data_dir / EXTRA_RECORD}")


if __name__ == "__main__":
    run_script(main)
