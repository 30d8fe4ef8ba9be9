"""From the parts of the data to a model folder: the steps that finetune.py and distill.py share."""

import argparse
import os
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from data.files import ONNX_FILES, refuse_overwrite
from tagging.decision import sigmoid
from tagging.model_folder import ModelFolderError, read_json
from tagging.settings import Settings
from training.backbones import BackboneError
from training.checkpoints import is_interrupted
from training.dataset import Part, by_length, joined, read_extra, read_parts, site_of
from training.duration import plan
from training.fields import calibrate, logits_by_field
from training.processor import can_train_in, choose_precision
from training.recipes import FROZEN_ENCODER, RECIPES, TrainingSettings
from training.results import save_result
from training.thresholds import TUNINGS, min_confidence
from training.trainers import longest_input, train_runs


def settings_of(args: argparse.Namespace) -> TrainingSettings:
    """Return the settings that the options of a script give."""
    return TrainingSettings(**{field.name: getattr(args, field.name) for field in fields(TrainingSettings)})


def read_training_parts(settings: TrainingSettings, data_dir: Path, untagged: bool = False) -> tuple[Part, Part]:
    """Return train, with the extra questions if the settings want them, and validation.

    Of the extra questions, those without tags are only there if ``untagged`` is true.

    Raises
    ------
    ValueError : as in :func:`training.dataset.read_parts` and :func:`training.dataset.read_extra`
    """
    train, validation = read_parts(data_dir, "train", "validation")
    if settings.extra_questions:
        extra = read_extra(data_dir, train.tags)
        train = joined(train, extra if untagged else extra.take(np.flatnonzero(extra.targets.any(axis=1))))
    return train, validation


def check_result_folder(args: argparse.Namespace, model: str, folder: Path) -> None:
    """Exit with one line if the result would replace the backbone ``model``, or without ``--force`` another model.

    ``--resume`` counts only where there is something to resume.
    """
    interrupted = is_interrupted(folder / "checkpoints")
    args.resume = args.resume and interrupted
    refuse_overwrite(folder / "run.json", force=args.force or args.resume)  # a resumed run was started with --force
    if folder.exists() and Path(model).is_dir() and folder.samefile(model):
        sys.exit(f"the result would replace the backbone {model} itself: name another --models-dir")
    outputs = [folder / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    outputs += [folder / "onnx" / name for name in ONNX_FILES]
    refuse_overwrite(*outputs, force=args.force or interrupted)


def readable(settings: TrainingSettings, backbone: Path) -> TrainingSettings:
    """Return the settings with a maximum length that the backbone reads.

    Raises
    ------
    BackboneError : it cannot be trained and exported
    """
    longest = longest_input(settings, backbone)
    if longest < settings.max_length:
        print(f"{settings.model} reads at most {longest} tokens, fewer than --max-length {settings.max_length}")
    return replace(settings, max_length=min(longest, settings.max_length))


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


def fit_tagger(
    args: argparse.Namespace,
    settings: TrainingSettings,
    folder: Path,
    run: dict,
    backbone: Path,
    train: Part,
    validation: Part,
) -> None:
    """Train, or resume a training, tune thresholds, and write the model folder; exit with one line where it cannot.

    Parameters
    ----------
    args : with resume, force and minutes
    folder : of the result
    run : from :func:`training.provenance.describe_run`; the rest of run.json is added
    """
    recipe, checkpoints = RECIPES[settings.recipe], folder / "checkpoints"
    validation = by_length(validation)  # so that batches need little padding
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
    trainer.args.group_by_length = False  # the rows stay in the order of ``validation``
    prediction = trainer.predict(trainer.eval_dataset)
    by_field = {} if recipe.reference else logits_by_field(trainer, settings, run["precision"], validation)
    if not trainer.is_world_process_zero():
        end_member_of_group()
        return

    run["minutes"] = round((time.monotonic() - started) / 60, 2)
    run["f1_micro_validation"] = prediction.metrics["test_f1_micro"]
    targets, logits = prediction.label_ids.astype(bool), prediction.predictions
    served = Settings(site=site_of(validation.urls), fields=recipe.fields, max_length=settings.max_length)
    if not recipe.reference:
        logits, served, run["calibration"] = calibrate(trainer.model, validation, targets, logits, by_field, served)
    probabilities = sigmoid(logits)
    served = replace(served, min_confidence=min_confidence(probabilities))
    thresholds = TUNINGS[recipe.tuning](targets, probabilities, train.tags)
    save_result(trainer, histories, thresholds, served, run, train.tags, folder)
    print(f"validation micro F1 {run['f1_micro_validation']:.3f} after {run['minutes']} minutes")
    print(f"written: {folder}")
    end_member_of_group()


def end_member_of_group() -> None:
    """End this process at once, with status 0, if it is one of several that train together.

    When PyTorch 2.13 frees what it used with the backend gloo, it may wait for threads that wait for the interpreter's
    lock, which it holds, or abort because they still run.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
