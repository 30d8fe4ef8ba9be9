"""Fine-tune a pretrained encoder to tag questions.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv  ->  models/NAME/

    python training/finetune.py --model distilroberta-base

models/NAME/ then contains the weights (config.json, model.safetensors), the tokenizer, tag_types_encoded.json,
thresholds.json (tuned on the validation set), tagger.json (settings), training_log.csv, training_curve.png and run.json
(how it was made).
The other recipes write to folders of their own: models/NAME-frozen-encoder/, of --freeze-encoder, and those of
training/reference.py to models/NAME-reference/ and models/NAME-reference-tuned/.
Several GPUs:  torchrun --nproc-per-node 4 training/finetune.py --model distilroberta-base
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.options import add_folder_options
from tagging.console import run_script
from tagging.options import add_force_option, script_parser
from training.backbones import find_backbone, short_name
from training.dataset import check_fields
from training.fitting import check_result_folder, fit_tagger, read_training_parts, readable, settings_of
from training.options import (
    add_backbone_option,
    add_further_training_options,
    add_training_options,
    check_training_options,
)
from training.processor import spin_briefly
from training.provenance import describe_run
from training.recipes import DISTILLED, FROZEN, FROZEN_ENCODER, RATES, RECIPES, WHOLE, TrainingSettings, folder_name


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    frozen, whole = (" or ".join(map(str, RATES[phase])) for phase in (FROZEN, WHOLE))
    group = parser.add_argument_group("recipe")
    recipe = group.add_mutually_exclusive_group()
    recipe.add_argument(
        "--recipe", choices=[name for name in RECIPES if name != DISTILLED], default=TrainingSettings.recipe,
        help="tagger: ours; frozen-encoder: only the head of ours is trained; reference: description only, random "
        "head, encoder frozen at first, threshold 0.5; reference-tuned: the same network for title and description "
        "with one tuned threshold. Each has a folder of its own, such as NAME-reference")  # fmt: skip
    recipe.add_argument("--freeze-encoder", dest="recipe", action="store_const", const=FROZEN_ENCODER,
        help="train only the head, in minutes: --recipe frozen-encoder")  # fmt: skip
    group.add_argument("--sweep", action="store_true",
        help=f"train each phase of a reference recipe at several learning rates ({frozen}, then {whole}) and keep the "
        "one with the best validation micro F1")  # fmt: skip


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_backbone_option(parser)
    add_folder_options(
        parser,
        data_dir="folder of the output of training/filter_tags.py",
        models_dir="folder of the result's folder",
    )
    parser.add_argument("--resume", action="store_true", help="resume an interrupted run from its last checkpoint")
    add_force_option(parser)
    add_recipe_options(parser)
    add_further_training_options(add_training_options(parser))
    recipe = RECIPES[parser.parse_args(argv).recipe]
    parser.set_defaults(**recipe.defaults)
    args = parser.parse_args(argv)
    if args.sweep and not recipe.reference:
        parser.error("--sweep goes with --recipe reference or reference-tuned")
    if args.recipe == FROZEN_ENCODER and args.minutes:
        parser.error("--minutes is for a training of the encoder; --freeze-encoder takes minutes only")
    if args.recipe == FROZEN_ENCODER and args.runs > 1:
        parser.error("--runs is for a training of the encoder; with --freeze-encoder every run has the same result")
    if args.extra_questions and recipe.reference:
        parser.error("--extra-questions is not for the reference recipes, whose loss has no weights")
    check_training_options(parser, args)
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    spin_briefly()
    settings, recipe = settings_of(args), RECIPES[args.recipe]
    folder = args.models_dir / folder_name(short_name(settings.model), settings.recipe)
    check_result_folder(args, settings.model, folder)

    try:
        train, validation = read_training_parts(settings, args.data_dir)
        for part in (train, validation):
            check_fields(part, recipe.fields, f"--recipe {settings.recipe}")
        backbone = find_backbone(settings.model)
        settings = readable(settings, backbone)
    except ValueError as error:
        sys.exit(str(error))
    run = describe_run(settings, args.data_dir, backbone)
    fit_tagger(args, settings, folder, run, backbone, train, validation)


if __name__ == "__main__":
    run_script(main)
