"""Train the baseline: TF-IDF and one logistic regression per tag, under the same split and thresholds.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv  ->  models/tfidf-baseline/

    python training/baseline.py

It is the baseline of the comparison.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite, write_json
from data.options import add_folder_options
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import add_force_option, script_parser
from training.dataset import read_parts
from training.tfidf import NAME, TfidfTagger, fit
from training.thresholds import tune_thresholds


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(
        parser, data_dir="folder of the output of filter_tags.py", models_dir=f"the result goes into its {NAME}/"
    )
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / NAME
    refuse_overwrite(folder / "model.npz", force=args.force)
    try:
        train, validation = read_parts(args.data_dir, "train", "validation")
    except ValueError as error:
        sys.exit(str(error))

    arrays = fit(train)
    probabilities = TfidfTagger(arrays).raw_probabilities(validation.titles, validation.descriptions)
    thresholds = tune_thresholds(validation.targets, probabilities, train.tags)
    (folder / "model.npz").unlink(missing_ok=True)  # it says "whole": it goes first and comes last
    write_json(folder / "tag_types_encoded.json", {tag: index for index, tag in enumerate(train.tags)})
    write_json(folder / "thresholds.json", thresholds.as_json())
    with atomic_path(folder / "model.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    print(f"written: {folder}")


if __name__ == "__main__":
    run_script(main)
