"""Drop rare tags and split the questions.

    data/ques_details.csv  ->  data/ques_filtered.csv         the questions, with frequent tags only
                               data/tag_types_encoded.json    {tag: index}, the most frequent first
                               data/split.csv                 url, split: train, validation or test

    python training/filter_tags.py

A tag is rare if fewer than int(n * min_frequency) of the n questions carry it. A question that is left without a tag
is dropped.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from data.files import atomic_path, read_questions, refuse_overwrite, require, write_json, write_questions
from training.splits import FRACTIONS, assign_splits


def frequent_tags(tag_lists: Sequence[Iterable[str]], min_frequency: float) -> list[str]:
    """Return the tags that at least int(n * min_frequency) of the n questions carry, the most frequent first."""
    counts = Counter(tag for tags in tag_lists for tag in set(tags))
    least = int(len(tag_lists) * min_frequency)
    return sorted((tag for tag, count in counts.items() if count >= least), key=lambda tag: (-counts[tag], tag))


def keep_tags(questions, tags: Sequence[str]):
    """Return the questions that carry at least one of ``tags``, each with those of its tags only."""
    kept = set(tags)
    filtered = questions.assign(tags=[[tag for tag in row if tag in kept] for row in questions["tags"]])
    return filtered[filtered["tags"].str.len() > 0].reset_index(drop=True)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the input and the outputs")
    parser.add_argument("--min-frequency", type=float, default=0.001, help="least share of questions a tag must have")
    parser.add_argument("--seed", type=int, default=42, help="seed of the split")
    parser.add_argument("--force", action="store_true", help="replace existing outputs")
    args = parser.parse_args(argv)
    if not 0 <= args.min_frequency < 1:
        parser.error(f"--min-frequency is {args.min_frequency}; it must be at least 0 and below 1")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    details = require(args.data_dir / "ques_details.csv", "python scraper/question_details_scraper.py")
    outputs = [args.data_dir / name for name in ("ques_filtered.csv", "tag_types_encoded.json", "split.csv")]
    refuse_overwrite(*outputs, force=args.force)

    try:
        questions = read_questions(details)
    except ValueError as error:
        sys.exit(str(error))
    tags = frequent_tags(questions["tags"].tolist(), args.min_frequency)
    filtered = keep_tags(questions, tags)
    if filtered.empty:
        sys.exit(f"{details}: no tag is left at --min-frequency {args.min_frequency}: lower it, or scrape more pages")
    filtered["split"] = assign_splits(*(filtered[column] for column in ("url", "title", "description")), args.seed)

    write_questions(outputs[0], filtered)
    write_json(outputs[1], {tag: index for index, tag in enumerate(tags)})
    with atomic_path(outputs[2]) as temporary:
        filtered.to_csv(temporary, columns=["url", "split"], index=False)

    num_tags = questions["tags"].explode().nunique()
    sizes = ", ".join(f"{(filtered['split'] == split).sum()} {split}" for split in FRACTIONS)
    print(f"tags: kept {len(tags)} of {num_tags}, dropped {num_tags - len(tags)} rare ones")
    print(
        f"questions: kept {len(filtered)} of {len(questions)}, dropped {len(questions) - len(filtered)} left untagged"
    )
    print(f"split: {sizes}")
    print(f"written: {', '.join(str(path) for path in outputs)}")


if __name__ == "__main__":
    main()
