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
import time
from dataclasses import fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import ONNX_FILES, refuse_overwrite
from data.options import add_folder_options
from tagging.console import run_script
from tagging.decision import sigmoid
from tagging.model_folder import ModelFolderError, read_json
from tagging.options import (
    add_force_option,
    at_least_one,
    learning_rate,
    loss_weight,
    positive,
    script_parser,
    share,
    whole_number,
)
from tagging.settings import Settings as ModelSettings
from training.backbones import BackboneError, find_backbone, short_name
from training.checkpoints import is_interrupted
from training.dataset import check_fields, read_part, site_of
from training.duration import plan
from training.options import add_backbone_option, add_training_options
from training.processor import can_train_in, choose_precision
from training.provenance import describe_run
from training.recipes import (
    FROZEN,
    FROZEN_ENCODER,
    HEAD_FACTOR,
    RATES,
    RECIPES,
    WHOLE,
    Settings,
    folder_name,
)
from training.results import save_result
from training.thresholds import TUNINGS, min_confidence
from training.trainers import longest_input, train_runs


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    frozen, whole = (" or ".join(map(str, RATES[phase])) for phase in (FROZEN, WHOLE))
    group = parser.add_argument_group("recipe")
    recipe = group.add_mutually_exclusive_group()
    recipe.add_argument(
        "--recipe", choices=list(RECIPES), default=Settings.recipe,
        help="tagger: ours; frozen-encoder: only the head of ours is trained; reference: description only, random "
        "head, encoder frozen at first, threshold 0.5; reference-tuned: the same network for title and description "
        "with one tuned threshold. Each has a folder of its own, such as NAME-reference")  # fmt: skip
    recipe.add_argument("--freeze-encoder", dest="recipe", action="store_const", const=FROZEN_ENCODER,
        help="train only the head, in minutes: --recipe frozen-encoder")  # fmt: skip
    group.add_argument("--sweep", action="store_true",
        help=f"train each phase of a reference recipe at several learning rates ({frozen}, then {whole}) and keep the "
        "one with the best validation micro F1")  # fmt: skip


def add_further_training_options(group) -> None:
    """Add to the group of :func:`add_training_options` the options that only this script has."""
    add = group.add_argument
    add("--minutes", type=positive,
        help="time for the training, which gets the runs and epochs that fit, up to --runs and --epochs")  # fmt: skip
    add("--max-steps", type=whole_number(-1), default=Settings.max_steps,
        help="maximum number of optimizer steps; 0 or -1: no limit")  # fmt: skip
    add("--head-learning-rate", type=learning_rate,
        help=f"peak learning rate of the head, by default {HEAD_FACTOR} times the encoder's; with a reference recipe, "
        "the one of the first phase")  # fmt: skip
    add("--weight-decay", type=loss_weight, default=Settings.weight_decay, help="weight decay of AdamW")
    add("--warmup-ratio", type=share, default=Settings.warmup_ratio,
        help="share of the optimizer steps in which the learning rate rises")  # fmt: skip
    add("--patience", type=at_least_one, default=Settings.patience,
        help="number of epochs without a better validation micro F1 after which training stops")  # fmt: skip
    add("--runs", type=at_least_one, default=Settings.runs,
        help="number of trainings with different seeds, whose weights are averaged")  # fmt: skip


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
    if args.minutes and args.max_steps > 0:
        parser.error("--minutes and --max-steps both limit the training: give one of them")
    if args.recipe == FROZEN_ENCODER and args.minutes:
        parser.error("--minutes is for a training of the encoder; --freeze-encoder takes minutes only")
    if args.recipe == FROZEN_ENCODER and args.runs > 1:
        parser.error("--runs is for a training of the encoder; with --freeze-encoder every run has the same result")
    args.head_learning_rate = args.head_learning_rate or HEAD_FACTOR * args.learning_rate
    return args


def settings_of(args: argparse.Namespace) -> Settings:
    return Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})


def check_place(model: str, folder: Path, force: bool) -> None:
    """Exit with one line if the result would replace the backbone, or without ``force`` another model."""
    if folder.exists() and Path(model).is_dir() and folder.samefile(model):
        sys.exit(f"the result would replace the backbone {model} itself: name another --models-dir")
    outputs = [folder / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    refuse_overwrite(*outputs, *(folder / "onnx" / name for name in ONNX_FILES), force=force)


def check_resume(args: argparse.Namespace, run: dict, checkpoints: Path) -> None:
    """Exit with one line unless the checkpoints of an interrupted run and ``--resume`` agree.

    A different commit is no reason to stop: ``run["commit"]`` then contains both. The precision stays as it was, and
    what the interrupted run planned is added to ``run``.
    """
    started = checkpoints / "run.json"
    if not is_interrupted(checkpoints):
        return
    if not args.resume and not args.force:
        sys.exit(f"{checkpoints} holds an interrupted run: give --resume to continue, or --force to start over")
    if not args.resume:
        return
    try:
        before = read_json(started)
    except ModelFolderError as error:
        sys.exit(f"{error}: give --force, without --resume, to start over")
    precision = before.pop("precision", None)
    ignored = {"commit": None, "planned": None}
    if before | ignored != run | ignored:
        sys.exit(
            f"{started} records other options, data or versions than this run has: restore them, or give --force, "
            "without --resume, to start over"
        )
    if precision:
        if not can_train_in(precision):
            sys.exit(
                f"{started} records a training in {precision}, which this machine does not support: resume it on one "
                "that does, or give --force, without --resume, to start over"
            )
        run["precision"] = precision
    if "commit" in before and "commit" in run and before["commit"] != run["commit"]:
        run["commit"] = f"{before['commit']}, then {run['commit']}"
    if "planned" in before:
        run["planned"] = before["planned"]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    settings, recipe = settings_of(args), RECIPES[args.recipe]
    folder = args.models_dir / folder_name(short_name(settings.model), settings.recipe)
    checkpoints = folder / "checkpoints"
    args.resume = args.resume and is_interrupted(checkpoints)
    refuse_overwrite(folder / "run.json", force=args.force or args.resume)  # a resumed run was started with --force
    check_place(settings.model, folder, args.force or is_interrupted(checkpoints))

    try:
        train, validation = read_part(args.data_dir, "train"), read_part(args.data_dir, "validation")
        for part in (train, validation):
            check_fields(part, recipe.fields, f"--recipe {settings.recipe}")
        backbone = find_backbone(settings.model)
        longest = longest_input(settings, backbone)
    except ValueError as error:
        sys.exit(str(error))
    if longest < settings.max_length:
        print(f"{settings.model} reads at most {longest} tokens, fewer than --max-length {settings.max_length}")
        settings = replace(settings, max_length=longest)
    run = describe_run(settings, args.data_dir, backbone)
    if args.minutes:
        run["budget_minutes"] = args.minutes
    check_resume(args, run, checkpoints)
    if "precision" not in run:
        run["precision"] = choose_precision()
    try:
        if "planned" not in run and settings.recipe != FROZEN_ENCODER:
            run["planned"] = plan(settings, run["precision"], backbone, train, validation, args.minutes)
    except ValueError as error:
        sys.exit(str(error))
    settings = replace(settings, **run.get("planned", {}))

    started = time.monotonic()
    try:
        trainer, histories = train_runs(settings, checkpoints, run, backbone, train, validation, args.resume)
    except BackboneError as error:
        sys.exit(str(error))
    run["arguments"] |= run.pop("planned", {})  # so that the same options repeat the training, on any machine
    prediction = trainer.predict(trainer.eval_dataset)  # grouped by length, so its rows go with its own label_ids only
    if not trainer.is_world_process_zero():
        return

    run["minutes"] = round((time.monotonic() - started) / 60, 2)
    run["f1_micro_validation"] = prediction.metrics["test_f1_micro"]
    targets, logits = prediction.label_ids.astype(bool), prediction.predictions
    if not recipe.reference:
        from training.model import calibrate_head  # here, so that --help need not load torch

        logits, run["calibration"] = calibrate_head(trainer.model, targets, logits)
    probabilities = sigmoid(logits)
    served = ModelSettings(
        site=site_of(train.urls),
        fields=recipe.fields,
        max_length=settings.max_length,
        min_confidence=min_confidence(probabilities),
    )
    thresholds = TUNINGS[recipe.tuning](targets, probabilities, train.tags)
    save_result(trainer, histories, thresholds, served, run, train.tags, folder)
    print(f"validation micro F1 {run['f1_micro_validation']:.3f} after {run['minutes']} minutes")
    print(f"written: {folder}")


if __name__ == "__main__":
    run_script(main)
