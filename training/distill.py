"""Train a small encoder, the student, on the tags of the questions and on the answers of a larger one, the teacher.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv, models/TEACHER/  ->  models/STUDENT-distilled/

    python training/finetune.py --model sentence-transformers/all-mpnet-base-v2
    python training/distill.py --teacher models/all-mpnet-base-v2 --student all-minilm-l6-v2

The label of a pair of question and tag is the mean of 0 or 1, as the question's tags say, and of the teacher's
probability; with several teachers, of the mean of their probabilities (Hinton, Vinyals and Dean 2015, "Distilling the
knowledge in a neural network"). A teacher is a folder of training/finetune.py, trained on the same training part.

With --extra-questions, questions without tags are trained on, too: their labels are the teacher's. The student's folder
is as finetune.py writes it: thresholds and calibration come from the tags of the validation part.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.options import add_folder_options
from tagging.console import run_script
from tagging.model_folder import ModelFolderError
from tagging.options import add_force_option, script_parser, share
from tagging.settings import FIELDS
from training.backbones import find_backbone, short_name
from training.dataset import Part
from training.fitting import check_result_folder, fit_tagger, read_training_parts, readable, settings_of
from training.options import (
    add_backbone_option,
    add_further_training_options,
    add_training_options,
    check_training_options,
)
from training.processor import spin_briefly
from training.provenance import describe_run, describe_teacher
from training.recipes import DISTILLED, RECIPES, folder_name
from training.soft_labels import check_teacher, soft_labels, teacher_probabilities

TEACHER_BATCH = 64  # questions


def labelled(args: argparse.Namespace, train: Part) -> Part:
    """Return the training questions with the labels of tags and teachers."""
    print(f"answers of the teacher to {len(train)} questions: {', '.join(map(str, args.teacher))}")
    answers = [teacher_probabilities(folder, train, args.teacher_fields, TEACHER_BATCH) for folder in args.teacher]
    mean = np.mean([answer.astype(np.float32) for answer in answers], axis=0)
    return soft_labels(train, mean, args.teacher_fields, args.teacher_weight)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--teacher", type=Path, nargs="+", required=True, help="folders of trained models")
    parser.add_argument("--teacher-fields", nargs="+", choices=FIELDS, default=list(FIELDS),
                        help="fields that the teacher reads; title, if it was trained on titles alone")  # fmt: skip
    parser.add_argument("--teacher-weight", type=share, default=0.5,
                        help="weight of the teacher in the labels; the tags have the rest")  # fmt: skip
    add_backbone_option(parser, name="--student")
    add_folder_options(
        parser,
        data_dir="folder of the output of training/filter_tags.py",
        models_dir="folder of the result's folder",
    )
    parser.add_argument("--resume", action="store_true", help="resume an interrupted run from its last checkpoint")
    add_force_option(parser)
    add_further_training_options(add_training_options(parser))
    parser.set_defaults(recipe=DISTILLED, sweep=False, **RECIPES[DISTILLED].defaults)
    args = parser.parse_args(argv)
    check_training_options(parser, args)
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    spin_briefly()
    settings = settings_of(args)
    folder = args.models_dir / folder_name(short_name(settings.model), settings.recipe)
    check_result_folder(args, settings.model, folder)

    try:
        train, validation = read_training_parts(settings, args.data_dir, untagged=True)
        for teacher in args.teacher:
            check_teacher(teacher, train.tags)
        backbone = find_backbone(settings.model)
        settings = readable(settings, backbone)
    except (ValueError, ModelFolderError) as error:
        sys.exit(str(error))
    run = describe_run(settings, args.data_dir, backbone)
    run["teachers"] = [describe_teacher(teacher) for teacher in args.teacher]
    run["teacher_fields"], run["teacher_weight"] = args.teacher_fields, args.teacher_weight
    fit_tagger(args, settings, folder, run, backbone, labelled(args, train), validation)


if __name__ == "__main__":
    run_script(main)
