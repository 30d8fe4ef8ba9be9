"""Drop rare tags and split the questions.

    data/ques_details.csv  ->  data/ques_filtered.csv         the questions, with frequent tags only
    data/tag_synonyms.csv      (if it is there)
                               data/tag_types_encoded.json    {tag: index}, the most frequent first
                               data/split.csv                 url, split: train, validation, test or repost
                               data/filter_tags.json          how they were made, for the model card

    python training/filter_tags.py

Synonyms are renamed first. A tag is rare if fewer than int(n * min_frequency) of the n questions carry it; with --tags,
the tags of a published model take the place of this rule. A question that is left without a tag is dropped.

--split random keeps equal questions, and long ones that are nearly equal, on one side. --split time trains on the past:
the oldest 80 % are train, the next tenth validation, the newest tenth test. What is nearly equal to a question of
another part all the same becomes "repost" in split.csv, which no stage uses: with time the later of the two; at random,
where the two are short, the one that is not in test, or else the one in train.

--question-list takes tags and parts from the questions.csv.gz of a model instead, so that both are the same again:

    python training/filter_tags.py --question-list deployment/model/questions.csv.gz

--decisions changes the tags of the questions in train as moderators decided in the moderation queue. Those of
validation and test keep their tags, so that figures stay comparable.
"""

import argparse
import operator
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.decisions import read_decisions
from data.duplicates import duplicate_groups, join_groups, long_duplicate_groups, short_near_duplicates
from data.files import (
    DATE_COLUMN,
    FRACTIONS,
    REPOST,
    read_questions,
    read_synonyms,
    refuse_overwrite,
    require,
    write_json,
    write_questions,
)
from data.options import add_folder_options
from data.question_list import EXTRA_SPLIT, read_question_list, select_listed
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import read_tags
from tagging.options import add_force_option, script_parser, seed_number, share
from tagging.stack_exchange import STACK_EXCHANGE
from training.dataset import FILES, RECORD, data_hash
from training.splits import check_parts, keep_apart, random_split, time_split
from training.tags import decided_tags, frequent_tags, keep_tags, rename_synonyms

SYNONYMS = "tag_synonyms.csv"


def read_input(args: argparse.Namespace, details: Path) -> tuple:
    """Return the questions of ``details`` and the tags to keep.

    Raises
    ------
    ValueError : the message names the file, and the row where there is one
    """
    questions = read_questions(details)
    synonyms = args.data_dir / SYNONYMS
    if synonyms.is_file():
        renamed = rename_synonyms(questions, read_synonyms(synonyms))
        count = sum(map(operator.ne, renamed["tags"], questions["tags"]))
        print(f"synonyms: {count} questions carried tags that {synonyms} renames")
        questions = renamed
    if args.question_list:
        listed = [question for question in read_question_list(args.question_list) if question.split != EXTRA_SPLIT]
        tags = read_tags(args.tags) if args.tags else frequent_tags([question.tags for question in listed], 0)
        selected = select_listed(questions, listed, STACK_EXCHANGE)
        if selected.empty:
            raise ValueError(f"{details}: {args.question_list} lists none of its questions: name the list of this site")
        print(describe_selection(selected, tags, len(questions), len(listed)))
        return selected, tags
    if args.split == "time":
        if DATE_COLUMN not in questions:
            raise ValueError(f"{details}: column {DATE_COLUMN} missing, which --split time needs; take --split random")
        undated = questions[DATE_COLUMN].isna().to_numpy()
        if undated.any():
            raise ValueError(
                f"{details}, row {undated.argmax() + 1}: no {DATE_COLUMN} here and in {undated.sum() - 1} other rows, "
                "which --split time needs; add the dates, or take --split random"
            )
    if args.tags:
        return questions, read_tags(args.tags)
    return questions, frequent_tags(questions["tags"].tolist(), args.min_frequency)


def split_questions(args: argparse.Namespace, questions) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of equal and nearly equal questions, and the part, of each question: arrays of shape (n,).

    Raises
    ------
    ValueError : a part would be empty
    """
    texts = questions["title"], questions["description"]
    if args.question_list:
        splits = questions["split"].to_numpy(dtype=str)
        check_parts(splits)
        return duplicate_groups(*texts), splits
    placed = long_duplicate_groups(*texts)
    groups = join_groups(placed, short_near_duplicates(*texts))
    if args.split == "time":
        splits = time_split(groups, questions[DATE_COLUMN].to_numpy(dtype="datetime64[us]"))
    else:
        # The parts follow from the long ones alone, as ever: a test part stays what it was, and figures comparable.
        splits = keep_apart(random_split(placed, args.seed), groups)
    check_parts(splits)
    return groups, splits


def apply_decisions(path: Path, questions, splits: np.ndarray, tags: Sequence[str]):
    """Return the questions with the decided tags of those in train, and tell how many change.

    Raises
    ------
    ValueError : the file cannot be read; the message names it, and the line where there is one
    """
    decisions = read_decisions(path)
    in_train = splits == "train"
    urls = set(questions["url"][in_train])
    about = [decision for decision in decisions if decision.url in urls]
    decided = decided_tags(questions["url"], questions["tags"], about, set(tags))
    count = sum(map(operator.ne, decided, questions["tags"]))
    print(f"decisions: {len(about)} of {len(decisions)} are about questions of train; {count} of these get other tags")
    return questions.assign(tags=decided)


def describe_selection(selected, tags: Sequence[str], found: int, listed: int) -> str:
    """Return one line for people: what of the question list is missing or has changed, and what it does not list.

    ``selected`` is from :func:`data.question_list.select_listed`, ``found`` the number of questions before.
    """
    kept = set(tags)
    pairs = zip(selected["tags"], selected["tags_today"], strict=True)
    retagged = sum(set(before) & kept != set(today) & kept for before, today in pairs)
    return (
        f"question list: {len(selected)} of {listed} questions are here, {listed - len(selected)} are missing; "
        f"{retagged} have other tags today and keep those of the list; {found - len(selected)} that are not listed are "
        "left out"
    )


def describe_tags(questions, tags: Sequence[str]) -> str:
    """Return one line for people: how many tags were kept and dropped, and which of ``tags`` no question carries."""
    found = set(questions["tags"].explode().dropna())
    line = f"tags: kept {len(tags)}, dropped {len(found - set(tags))} of the {len(found)} found"
    unused = [tag for tag in tags if tag not in found]
    return f"{line}; {len(unused)} kept ones have no question: {', '.join(unused)}" if unused else line


def describe_split(splits: np.ndarray, groups: np.ndarray) -> str:
    """Return two lines for people: the sizes of the parts, and what became of duplicates."""
    sizes = np.bincount(groups)
    copies = int((sizes[groups] > 1).sum())
    lines = [
        "split: " + ", ".join(f"{(splits == part).sum()} {part}" for part in FRACTIONS),
        f"duplicates: {copies} questions in {(sizes > 1).sum()} groups of equal or nearly equal text",
    ]
    if REPOST in splits:
        lines[1] += f"; {(splits == REPOST).sum()} left out, as {REPOST}: a nearly equal one is in another part"
    return "\n".join(lines)


def describe_filtering(args: argparse.Namespace) -> dict:
    """Return the options that decided on the files of ``--data-dir``, whether synonyms were there, and their hash."""
    names = ["split"] if args.tags else ["min_frequency", "split"]
    names += ["seed"] if args.split == "random" else []
    arguments = {name: getattr(args, name) for name in names}
    return {
        "arguments": {"question_list": args.question_list.as_posix()} if args.question_list else arguments,
        "published_tags": bool(args.tags),
        "synonyms": (args.data_dir / SYNONYMS).is_file(),
        **({"decisions": True} if args.decisions else {}),
        "data_sha256": data_hash(args.data_dir),
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(parser, data_dir="folder of the input and the outputs")
    parser.add_argument("--min-frequency", type=share, default=0.001, help="least share of questions a tag must have")
    parser.add_argument(
        "--tags", type=Path, help="a tag_types_encoded.json whose tags to keep, instead of frequent ones"
    )
    parser.add_argument(
        "--question-list",
        type=Path,
        help="a questions.csv.gz whose questions, tags and parts to take, instead of drawing the parts anew",
    )
    parser.add_argument("--split", choices=["random", "time"], default="random", help="time trains on the past")
    parser.add_argument("--seed", type=seed_number, default=42, help="seed of the random split")
    parser.add_argument("--decisions", type=Path, help="decisions.jsonl of webapp/moderation.py, for the training part")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    details = require(args.data_dir / "ques_details.csv", "python scraper/question_details_scraper.py")
    outputs = [args.data_dir / name for name in (*FILES, RECORD)]
    refuse_overwrite(*outputs, force=args.force)

    try:
        questions, tags = read_input(args, details)
        # Sorted, as scrapers finish in any order, and the same questions are to train the same model.
        filtered = keep_tags(questions, tags).sort_values("url", ignore_index=True)
        if filtered.empty or len(tags) < 2:
            files = {"--question-list": args.question_list, "--tags": args.tags}
            named = [f"{option} {file}" for option, file in files.items() if file]
            rule = " ".join(named) or f"--min-frequency {args.min_frequency}"
            remedy = "name the files of this site" if named else "lower it, or scrape more pages"
            left = "no tag" if filtered.empty else f"only {tags[0]}"
            raise ValueError(f"{details}: {left} is left at {rule}, where two tags or more are needed: {remedy}")
        groups, splits = split_questions(args, filtered)
        if args.decisions:
            filtered = apply_decisions(args.decisions, filtered, splits, tags)
    except ValueError as error:
        sys.exit(str(error))

    outputs[2].unlink(missing_ok=True)  # no stage reads the others without it: it goes first and comes after them
    write_questions(outputs[0], filtered)
    write_json(outputs[1], {tag: index for index, tag in enumerate(tags)})
    with atomic_path(outputs[2]) as temporary:
        filtered.assign(split=splits).to_csv(temporary, columns=["url", "split"], index=False, lineterminator="\n")
    write_json(outputs[3], describe_filtering(args))

    dropped = len(questions) - len(filtered)
    print(describe_tags(questions, tags))
    print(f"questions: kept {len(filtered)} of {len(questions)}, dropped {dropped} left untagged")
    print(describe_split(splits, groups))
    print(f"written: {', '.join(str(path) for path in outputs)}")


if __name__ == "__main__":
    run_script(main)
