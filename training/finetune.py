"""Fine-tune a pretrained encoder to tag questions.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv  ->  models/NAME/

    python training/finetune.py --model distilroberta-base

models/NAME/ then contains the weights (config.json, model.safetensors), the tokenizer, tag_types_encoded.json,
thresholds.json (tuned on the validation set), training_log.csv, training_curve.png and run.json (how it was made).
The recipes of training/reference.py write to models/NAME-reference/ and models/NAME-reference-tuned/.
Several GPUs:  torchrun --nproc-per-node 4 training/finetune.py --model distilroberta-base
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import ONNX_FILES, refuse_overwrite, remove_results, write_json
from data.options import add_folder_options
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.decision import sigmoid, suggest
from tagging.encoding import encode
from tagging.model_folder import ModelFolderError, read_json
from tagging.options import (
    add_force_option,
    at_least_one,
    learning_rate,
    loss_weight,
    positive,
    script_parser,
    seed_number,
    share,
    text_length,
    whole_number,
)
from training.backbones import BackboneError, find_backbone, short_name
from training.calibration import expected_calibration_error, fit_platt, shown_pairs
from training.checkpoints import newest_checkpoint, remove_checkpoints, remove_half_written
from training.losses import CROSS_ENTROPY
from training.metrics import tagging_metrics
from training.processor import cpu_flags
from training.provenance import commit, describe_backbone
from training.questions import Part, check_fields, data_hash, read_part
from training.recipes import FROZEN, OURS, RATES, RECIPES, WHOLE, Recipe, folder_name, learning_rates
from training.thresholds import ONE_HALF, TUNINGS, best_f1_threshold

HEAD_FACTOR = 10  # the head's learning rate over the encoder's: it starts from less and has further to go


def load_backbone_tokenizer(backbone: Path, max_length: int):
    """Return the backbone's fast tokenizer, with truncation to ``max_length`` tokens and without padding.

    Raises
    ------
    BackboneError : the folder's files are no fast tokenizer
    """
    from transformers import AutoConfig, AutoTokenizer

    from training.model import takes_token_types

    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone, use_fast=True)
        typed = takes_token_types(AutoConfig.from_pretrained(backbone))
    except Exception as error:  # of tokenizers, as bare Exception, too
        reason = str(error).strip().partition("\n")[0]
        raise BackboneError(f"{backbone}: its tokenizer or config.json cannot be read ({reason})") from error
    if not typed:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    limit = min(max_length, tokenizer.model_max_length)
    tokenizer.backend_tokenizer.enable_truncation(limit, strategy="longest_first")
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def longest_input(args: argparse.Namespace, backbone: Path) -> int:
    """Check that the backbone can be trained, and return the number of tokens it reads: --max-length or fewer.

    Raises
    ------
    BackboneError : it cannot be trained and exported
    """
    from transformers import logging

    from training.model import QuestionTagger
    from training.reference import untrained_reference_model
    from training.trial import longest_input

    logging.set_verbosity_error()
    tokenizer = load_backbone_tokenizer(backbone, args.max_length)
    build = QuestionTagger if args.recipe == OURS else untrained_reference_model
    return longest_input(backbone, tokenizer, min(args.max_length, tokenizer.model_max_length), build)


def make_dataset(tokenizer, part: Part, fields: Sequence[str]) -> list[dict]:
    """Return one dict of model inputs and float labels per question, tokenized as for serving, unpadded."""
    encodings = encode(tokenizer.backend_tokenizer, part.titles, part.descriptions, fields)
    typed = "token_type_ids" in tokenizer.model_input_names
    return [
        {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "labels": labels,
            **({"token_type_ids": encoding.type_ids} if typed else {}),
        }
        for encoding, labels in zip(encodings, part.targets.astype(np.float32), strict=True)
    ]


def validation_metrics(tuning: str, prediction) -> dict[str, float]:
    """Return the micro F1 for early stopping: at the best global threshold, or at 0.5 where the threshold is fixed."""
    targets, probabilities = prediction.label_ids.astype(bool), sigmoid(prediction.predictions)
    if tuning == ONE_HALF:
        chosen = suggest(probabilities, 0.5)
        return {"f1_micro": tagging_metrics(targets, chosen, probabilities)["f1_micro"], "threshold": 0.5}
    threshold, f1_micro = best_f1_threshold(targets, probabilities)
    return {"f1_micro": f1_micro, "threshold": threshold}


def training_arguments(args: argparse.Namespace, seed: int, checkpoints: Path):
    """Translate the options for transformers' Trainer, with mixed precision where the hardware has it."""
    import torch
    from transformers import TrainingArguments

    # torch respects the affinity of the process, but not the quota of a container.
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
    cuda = torch.cuda.is_available()
    bf16 = torch.cuda.is_bf16_supported() if cuda else "avx512_bf16" in cpu_flags()
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=args.epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=2 * args.batch_size,
        warmup_ratio=args.warmup_ratio,
        group_by_length=True,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="f1_micro",
        bf16=bf16,
        fp16=cuda and not bf16,
        use_cpu=not cuda,
        seed=seed,
        report_to="none",
        log_level="error",
        disable_tqdm=False,
    )


def make_optimizer(trainer, rates: dict[str, float], weight_decay: float):
    """Return AdamW with the learning rate in ``rates`` for each parameter that is trained, by its name.

    Biases and normalizations do not decay, as in transformers.
    """
    import torch

    decaying = set(trainer.get_decay_parameter_names(trainer.model))
    groups: dict[tuple[float, float], list] = {}
    for name, weights in trainer.model.named_parameters():
        if weights.requires_grad:
            groups.setdefault((rates[name], weight_decay if name in decaying else 0.0), []).append(weights)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]
    )


def build(args: argparse.Namespace, backbone: Path, tokenizer, train: Part, phase: str, rate: float) -> tuple:
    """Return the class of the Trainer, the model, and each parameter's learning rate, of one phase of the recipe."""
    from transformers import Trainer

    from training.model import build_model
    from training.reference import OneCycleTrainer, build_reference_model, rates_by_depth

    if args.recipe == OURS:
        model = build_model(backbone, tokenizer, train)
        model.consistency = args.consistency
        encoder = model.base_model_prefix + "."
        names = [name for name, _ in model.named_parameters()]
        return Trainer, model, {name: rate if name.startswith(encoder) else args.head_learning_rate for name in names}
    reference = build_reference_model(backbone, train, frozen=phase == FROZEN)
    if phase == FROZEN:
        return OneCycleTrainer, reference, {name: rate for name, _ in reference.named_parameters()}
    return OneCycleTrainer, reference, rates_by_depth(reference, rate)


def make_trainer(
    args: argparse.Namespace,
    seed: int,
    checkpoints: Path,
    backbone: Path,
    train: Part,
    validation: Part,
    phase: str = WHOLE,
    rate: float | None = None,
):
    """Return transformers' Trainer for one phase of the recipe, with model, tokenizer and data in place.

    ``rate`` is the phase's peak learning rate; without it, ``args.learning_rate``.
    """
    from transformers import DataCollatorWithPadding, EarlyStoppingCallback, set_seed

    set_seed(seed)
    recipe = RECIPES[args.recipe]
    tokenizer = load_backbone_tokenizer(backbone, args.max_length)
    trainer_class, model, rates = build(args, backbone, tokenizer, train, phase, rate or args.learning_rate)
    trainer = trainer_class(
        model=model,
        args=training_arguments(args, seed, checkpoints),
        train_dataset=make_dataset(tokenizer, train, recipe.fields),
        eval_dataset=make_dataset(tokenizer, validation, recipe.fields),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=partial(validation_metrics, recipe.tuning),
        callbacks=[] if phase == FROZEN else [EarlyStoppingCallback(args.patience)],
    )
    trainer.optimizer = make_optimizer(trainer, rates, args.weight_decay)
    return trainer


def last_checkpoint(trainer, folder: Path) -> str | None:
    """Return the newest complete checkpoint in ``folder``, if any, and remove incomplete ones."""
    newest = newest_checkpoint(folder)
    trainer.accelerator.wait_for_everyone()  # each process has looked before one of them removes
    if trainer.is_world_process_zero() and (half := remove_half_written(folder)):
        start = f"going on from {newest.name}" if newest else "starting anew"
        print(f"{folder}: {', '.join(half)} not whole, removed; {start}")
    return str(newest) if newest else None


def train_or_load(trainer, resume: bool) -> list[dict]:
    """Train, or resume a training, save the best weights and the log history, and return the history."""
    from safetensors.torch import load_file, save_file

    folder = Path(trainer.args.output_dir)
    weights_file, history_file = folder / "best.safetensors", folder / "history.json"
    if resume and weights_file.is_file():
        trainer.model.load_state_dict(load_file(weights_file))
    else:
        trainer.train(resume_from_checkpoint=last_checkpoint(trainer, folder) if resume else None)
        if trainer.is_world_process_zero():
            write_json(history_file, trainer.state.log_history)
            save_file(trainer.model.state_dict(), folder / "best.partial")
            (folder / "best.partial").replace(weights_file)
        trainer.accelerator.wait_for_everyone()
    return json.loads(history_file.read_text(encoding="utf-8"))


def train_seed(
    args: argparse.Namespace, seed: int, folder: Path, backbone: Path, train: Part, validation: Part, prepare: Callable
) -> tuple:
    """Train the phases of the recipe, each from the best weights of the one before and at each of its learning rates.

    ``prepare`` is called with each Trainer before it trains.

    Returns
    -------
    a Trainer whose model has the best weights, the log history that led to them, and {phase: {rate: best micro F1}}
    """
    phases = RECIPES[args.recipe].phases
    history: list[dict] = []
    scores: dict[str, dict[str, float]] = {}
    weights: dict = {}
    for phase in phases:
        tried = []
        for rate in learning_rates(args, phase):
            place = folder / f"{phase}-{rate:g}" if len(phases) > 1 else folder
            trainer = make_trainer(args, seed, place, backbone, train, validation, phase, rate)
            if weights:
                trainer.model.load_state_dict(weights)
            prepare(trainer)
            log = train_or_load(trainer, args.resume)
            score = max(entry.get("eval_f1_micro", 0.0) for entry in log)
            tried.append((score, trainer.model.state_dict(), log))
            scores.setdefault(phase, {})[f"{rate:g}"] = score
        _, weights, log = max(tried, key=itemgetter(0))
        passed = history[-1]["epoch"] if history else 0
        history += [entry | {"epoch": passed + entry["epoch"]} for entry in log]
    trainer.model.load_state_dict(weights)
    return trainer, history, scores


def train_runs(args: argparse.Namespace, checkpoints: Path, run: dict, backbone: Path, train: Part, validation: Part):
    """Train once per seed and average the weights.

    The mean of models fine-tuned from one initialization mostly scores as high as their ensemble, at the cost of a
    single model (Wortsman et al. 2022, "Model soups").

    Returns
    -------
    a Trainer whose model has the mean weights, and {seed: log history}; ``run`` gets the scores of a sweep
    """
    fresh = not args.resume

    def forget_an_earlier_run(trainer) -> None:
        nonlocal fresh
        if fresh and trainer.is_world_process_zero():
            remove_checkpoints(checkpoints)
            write_json(checkpoints / "run.json", run)
        fresh = False

    summed: dict = {}
    histories = {}
    for seed in range(args.seed, args.seed + args.runs):
        place = checkpoints / f"seed-{seed}"
        trainer, histories[seed], scores = train_seed(
            args, seed, place, backbone, train, validation, forget_an_earlier_run
        )
        if args.sweep:
            run.setdefault("sweep", {})[str(seed)] = scores
        for name, weights in trainer.model.state_dict().items():
            summed[name] = summed.get(name, 0) + weights
    trainer.model.load_state_dict({name: weights / args.runs for name, weights in summed.items()})
    return trainer, histories


def calibrate(model, targets: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, dict]:
    """Calibrate the probabilities on the validation set, by scaling the weights of the head.

    Returns
    -------
    the calibrated logits, and the parameters and errors for run.json
    """
    import torch

    slope, intercept = fit_platt(targets, logits)
    with torch.no_grad():
        model.classifier.weight.mul_(slope)
        model.classifier.bias.mul_(slope).add_(intercept)
    calibrated = slope * logits + intercept
    before, after = (
        expected_calibration_error(*shown_pairs(targets, sigmoid(scores))) for scores in (logits, calibrated)
    )
    return calibrated, {"slope": slope, "intercept": intercept, "error_before": before, "error_after": after}


def choose_thresholds(recipe: Recipe, targets: np.ndarray, probabilities: np.ndarray, tags: list[str]) -> dict:
    """Return the content of thresholds.json, tuned on validation scores as the recipe says."""
    return TUNINGS[recipe.tuning](targets, probabilities, tags) | {
        "tuning": recipe.tuning,
        "fields": list(recipe.fields),
    }


def write_log(histories: dict[int, list[dict]], loss_name: str, consistency: float, folder: Path) -> None:
    """Write training_log.csv, with one row per seed and epoch, and its plot training_curve.png."""
    import pandas as pd

    columns = {"epoch": "epoch", "loss": "train_loss", "eval_loss": "validation_loss", "eval_f1_micro": "f1_micro",
               "eval_threshold": "threshold", "learning_rate": "learning_rate"}  # fmt: skip
    runs = {seed: pd.DataFrame(history).groupby("epoch").first() for seed, history in histories.items()}
    log = pd.concat(runs, names=["seed", "epoch"]).reset_index()
    log = log.reindex(columns=["seed", *columns]).rename(columns=columns).dropna(subset="f1_micro")
    log.to_csv(folder / "training_log.csv", index=False, lineterminator="\n")
    plot_log(log, loss_name, consistency, f"Fine-tuning {folder.name}").savefig(
        folder / "training_curve.png", dpi=120, bbox_inches="tight"
    )


def plot_log(log, loss_name: str, consistency: float, title: str):
    """Return a figure of the losses and the validation micro F1 by epoch, each the mean over the runs in ``log``."""
    import matplotlib

    matplotlib.use("agg")
    mean = log.drop(columns="seed").groupby("epoch").mean()
    term = f" + {consistency:g} · divergence" if consistency else ""
    losses = {"train_loss": f"training: {loss_name}{term}", "validation_loss": f"validation: {loss_name}"}
    axes = mean[list(losses)].rename(columns=losses).plot(ylabel="loss", figsize=(7, 4))
    mean["f1_micro"].plot(ylabel="micro F1", label="validation: micro F1", secondary_y=True, style="k--", ax=axes)
    axes.set_title(title)
    axes.legend([*axes.lines, *axes.right_ax.lines], [*losses.values(), "validation: micro F1 (right)"])
    return axes.figure


def save_result(
    trainer, histories: dict[int, list[dict]], thresholds: dict, run: dict, tags: list[str], folder: Path
) -> None:
    """Save the files of a model folder, first beside it, then over the previous ones, and remove the checkpoints."""
    checkpoints = folder / "checkpoints"
    finished, tokenizer = checkpoints / folder.name, trainer.processing_class
    trainer.model.save_pretrained(finished)
    for weights in finished.glob("*.safetensors"):  # safetensors lets no one but the owner read
        shutil.copymode(finished / "config.json", weights)
    tokenizer.backend_tokenizer.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    tokenizer.save_pretrained(finished)
    write_json(finished / "tag_types_encoded.json", {tag: index for index, tag in enumerate(tags)})
    write_json(finished / "thresholds.json", thresholds)
    loss_name = getattr(trainer.model, "loss_name", CROSS_ENTROPY)  # the reference's model has no choice of its own
    write_log(histories, loss_name, getattr(trainer.model, "consistency", 0.0), finished)
    write_json(finished / "run.json", run)
    # run.json marks a complete folder: it is removed first and written last.
    (folder / "run.json").unlink(missing_ok=True)
    remove_results(folder / "onnx", ONNX_FILES)  # made from the weights that are replaced now
    for path in sorted(finished.iterdir(), key=lambda path: path.name == "run.json"):
        path.replace(folder / path.name)
    finished.rmdir()
    remove_checkpoints(checkpoints)


def describe_run(args: argparse.Namespace, backbone: Path) -> dict:
    """Return what determines the result of a run: options, data, backbone, versions and, in a checkout, the commit."""
    names = ("model", "recipe", "max_length", "epochs", "max_steps", "batch_size", "learning_rate",
             "head_learning_rate", "sweep", "weight_decay", "warmup_ratio", "consistency", "patience", "runs",
             "seed")  # fmt: skip
    return {
        "arguments": {name: getattr(args, name) for name in names},
        "processes": int(os.environ.get("WORLD_SIZE", 1)),  # --batch-size counts per process
        "data_sha256": data_hash(args.data_dir),
        "backbone": describe_backbone(backbone),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        **({"commit": code} if (code := commit()) else {}),
    }


def is_interrupted(checkpoints: Path) -> bool:
    """Return whether there is an interrupted training to resume. Its folders exist before it starts."""
    return any(path.is_file() for path in checkpoints.glob("seed-*/**/*"))


def check_resume(args: argparse.Namespace, run: dict, checkpoints: Path) -> None:
    """Stop with one line unless the checkpoints of an interrupted run and ``--resume`` agree.

    A different commit is no reason to stop: ``run["commit"]`` then contains both.
    """
    started = checkpoints / "run.json"
    if not is_interrupted(checkpoints):
        return
    if not args.resume and not args.force:
        sys.exit(f"{checkpoints} holds an interrupted run: give --resume to go on with it, or --force to start anew")
    if not args.resume:
        return
    try:
        before = read_json(started)
    except ModelFolderError as error:
        sys.exit(f"{error}: give --force, no --resume")
    if before | {"commit": None} != run | {"commit": None}:
        sys.exit(
            f"{started} tells of other options, data or versions than this run: give those, or --force, no --resume"
        )
    if "commit" in before and "commit" in run and before["commit"] != run["commit"]:
        run["commit"] = f"{before['commit']}, then {run['commit']}"


def check_place(model: str, folder: Path, force: bool) -> None:
    """Stop with one line if the result would replace the backbone, or without ``force`` a model from elsewhere."""
    if folder.exists() and Path(model).is_dir() and folder.samefile(model):
        sys.exit(f"the result would replace the backbone {model} itself: name another --models-dir")
    outputs = [folder / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    refuse_overwrite(*outputs, *(folder / "onnx" / name for name in ONNX_FILES), force=force)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--model", default="distilroberta-base", help="distilroberta-base, roberta-base, bert-base-uncased, "
        "all-minilm-l6-v2, another encoder's id on the Hugging Face Hub, or a local folder")  # fmt: skip
    add("--recipe", choices=list(RECIPES), default=OURS, help="tagger: ours; reference: description only, random head, "
        "encoder frozen at first, threshold 0.5; reference-tuned: the same network for title and description at one "
        "tuned threshold (see training/reference.py). Each has a folder of its own, e.g. NAME-reference")  # fmt: skip
    add_folder_options(
        parser,
        data_dir="folder of the output of training/filter_tags.py",
        models_dir="the result goes into a folder of this one",
    )
    add("--max-length", type=text_length, default=256, help="tokens of title and description; longer text is truncated")
    add("--epochs", type=positive, default=10, help="maximum number of epochs, in each phase of a reference recipe")
    add(
        "--max-steps",
        type=whole_number(-1),
        default=-1,
        help="maximum number of optimizer steps; 0 or -1: no limit",
    )
    add("--batch-size", type=at_least_one, default=32, help="questions per optimizer step and process")
    add(
        "--learning-rate",
        type=learning_rate,
        default=1e-4,
        help="encoder's peak learning rate; a reference's is that of its last layer and, in the end, of its head",
    )
    add("--head-learning-rate", type=learning_rate, help=f"head's peak learning rate, without it {HEAD_FACTOR} times "
        "the encoder's; a reference's is that while its encoder is frozen")  # fmt: skip
    frozen, whole = (" or ".join(map(str, RATES[phase])) for phase in (FROZEN, WHOLE))
    add("--sweep", action="store_true", help="train each phase of a reference at several learning rates "
        f"({frozen}, then {whole}) and keep the one that is best on validation")  # fmt: skip
    add("--weight-decay", type=loss_weight, default=0.01, help="AdamW's weight decay")
    add(
        "--warmup-ratio",
        type=share,
        default=0.1,
        help="share of the optimizer steps over which the learning rate rises",
    )
    add(
        "--consistency",
        type=loss_weight,
        default=1.0,
        help="weight of the divergence between two passes under dropout (R-Drop); 0 halves the training time",
    )
    add(
        "--patience",
        type=at_least_one,
        default=3,
        help="number of epochs without a better validation micro F1 after which training stops",
    )
    add(
        "--runs",
        type=at_least_one,
        default=1,
        help="number of trainings, each with its own seed, whose weights are averaged",
    )
    add(
        "--seed",
        type=seed_number,
        default=42,
        help="seed of the first run (head, dropout, order); each further run adds 1",
    )
    add("--resume", action="store_true", help="resume an interrupted run from its last checkpoint")
    add_force_option(parser)
    args = parser.parse_args(argv)
    if args.sweep and args.recipe == OURS:
        parser.error("--sweep goes with --recipe reference or reference-tuned")
    args.head_learning_rate = args.head_learning_rate or HEAD_FACTOR * args.learning_rate
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / folder_name(short_name(args.model), args.recipe)
    checkpoints = folder / "checkpoints"
    args.resume = args.resume and is_interrupted(checkpoints)
    refuse_overwrite(folder / "run.json", force=args.force or args.resume)  # what goes on was started with --force
    check_place(args.model, folder, args.force or is_interrupted(checkpoints))
    try:
        train, validation = read_part(args.data_dir, "train"), read_part(args.data_dir, "validation")
        for part in (train, validation):
            check_fields(part, RECIPES[args.recipe].fields, f"--recipe {args.recipe}")
        backbone = find_backbone(args.model)
        longest = longest_input(args, backbone)
    except ValueError as error:
        sys.exit(str(error))
    if longest < args.max_length:
        print(f"{args.model} reads at most {longest} tokens: that takes the place of --max-length {args.max_length}")
        args.max_length = longest
    run = describe_run(args, backbone)
    check_resume(args, run, checkpoints)

    started = time.monotonic()
    try:
        trainer, histories = train_runs(args, checkpoints, run, backbone, train, validation)
    except BackboneError as error:
        sys.exit(str(error))
    prediction = trainer.predict(trainer.eval_dataset)  # grouped by length, so its rows go with its own label_ids only
    if not trainer.is_world_process_zero():
        return

    run["minutes"] = round((time.monotonic() - started) / 60, 2)
    run["f1_micro_validation"] = prediction.metrics["test_f1_micro"]
    targets, logits = prediction.label_ids.astype(bool), prediction.predictions
    if args.recipe == OURS:
        logits, run["calibration"] = calibrate(trainer.model, targets, logits)
    thresholds = choose_thresholds(RECIPES[args.recipe], targets, sigmoid(logits), train.tags)
    save_result(trainer, histories, thresholds, run, train.tags, folder)
    print(f"validation micro F1 {run['f1_micro_validation']:.3f} after {run['minutes']} minutes")
    print(f"written: {folder}")


if __name__ == "__main__":
    run_script(main)
