"""Trainers of transformers for each phase of a recipe, and the training with them: seeds, resuming, averaging."""

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from data.files import write_json
from tagging.cpus import usable_cpus
from tagging.decision import sigmoid, suggest
from tagging.settings import FIELDS
from training.backbones import BackboneError
from training.checkpoints import newest_checkpoint, remove_checkpoints, remove_half_written
from training.dataset import Part
from training.metrics import tagging_metrics
from training.processor import choose_precision
from training.recipes import FROZEN, FROZEN_ENCODER, RECIPES, WHOLE, TrainingSettings, learning_rates
from training.thresholds import ONE_HALF, best_f1_threshold
from training.tokenized import TokenizedQuestions, Tokens


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


def longest_input(settings: TrainingSettings, backbone: Path) -> int:
    """Check that the backbone can be trained, and return the number of tokens it reads: ``max_length`` or fewer.

    Raises
    ------
    BackboneError : it cannot be trained and exported
    """
    from transformers import logging

    from training import trial
    from training.model import QuestionTagger
    from training.reference import untrained_reference_model

    logging.set_verbosity_error()
    tokenizer = load_backbone_tokenizer(backbone, settings.max_length)
    build = untrained_reference_model if RECIPES[settings.recipe].reference else QuestionTagger
    return trial.longest_input(backbone, tokenizer, min(settings.max_length, tokenizer.model_max_length), build)


class FieldDropout:
    """Collate a batch that the model reads in one of three ways, drawn at random: titles, descriptions, or both.

    A model that is trained on both fields alone is worse where a question has only one. The way is drawn for a batch
    and not for a question, so that the texts of a batch remain of similar length. A question that has only one of the
    fields is always read by that one.
    """

    def __init__(self, collate: Callable):
        self.collate = collate

    def __call__(self, questions: list[dict]) -> dict:
        import torch

        if not any(field in question for question in questions for field in FIELDS):
            return self.collate(questions)
        way = (None, *FIELDS)[int(torch.randint(1 + len(FIELDS), ()))]
        return self.collate(
            [
                {name: value for name, value in (question | question.get(way, {})).items() if name not in FIELDS}
                for question in questions
            ]
        )


def validation_metrics(tuning: str, prediction) -> dict[str, float]:
    """Return the micro F1 for early stopping: at the best global threshold, or at 0.5 where the threshold is fixed."""
    targets, probabilities = prediction.label_ids.astype(bool), sigmoid(prediction.predictions)
    if tuning == ONE_HALF:
        chosen = suggest(probabilities, 0.5)
        return {"f1_micro": tagging_metrics(targets, chosen, probabilities)["f1_micro"], "threshold": 0.5}
    threshold, f1_micro = best_f1_threshold(targets, probabilities)
    return {"f1_micro": f1_micro, "threshold": threshold}


def training_arguments(settings: TrainingSettings, seed: int, checkpoints: Path, precision: str | None = None):
    """Return the arguments of transformers' Trainer.

    ``precision`` is "bf16", "fp16" or "fp32"; without it, the one in which this machine trains fastest.
    """
    import torch
    from transformers import TrainingArguments

    # torch respects the affinity of the process, but not the quota of a container.
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
    cuda = torch.cuda.is_available()
    precision = precision or choose_precision()
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        warmup_ratio=settings.warmup_ratio,
        group_by_length=True,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="f1_micro",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not cuda,
        seed=seed,
        report_to="none",
        log_level="error",
        remove_unused_columns=False,  # FieldDropout does
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


def build(settings: TrainingSettings, backbone: Path, tokenizer, train: Part, phase: str, rate: float) -> tuple:
    """Return the class of the Trainer, the model, and each parameter's learning rate, of one phase of the recipe."""
    from transformers import Trainer

    from training.model import build_model
    from training.reference import OneCycleTrainer, build_reference_model, rates_by_depth

    if not RECIPES[settings.recipe].reference:
        model = build_model(backbone, tokenizer, train, RECIPES[settings.recipe].pooling)
        model.consistency = settings.consistency
        if phase == FROZEN:
            model.encoder.requires_grad_(False)
        encoder = model.base_model_prefix + "."
        names = [name for name, _ in model.named_parameters()]
        head_rate = settings.head_learning_rate
        return Trainer, model, {name: rate if name.startswith(encoder) else head_rate for name in names}
    reference = build_reference_model(backbone, train, frozen=phase == FROZEN)
    if phase == FROZEN:
        return OneCycleTrainer, reference, {name: rate for name, _ in reference.named_parameters()}
    return OneCycleTrainer, reference, rates_by_depth(reference, rate)


def make_trainer(
    settings: TrainingSettings,
    seed: int,
    checkpoints: Path,
    backbone: Path,
    train: Part,
    validation: Part,
    phase: str = WHOLE,
    rate: float | None = None,
    precision: str | None = None,
):
    """Return transformers' Trainer for one phase of the recipe, with model, tokenizer and data in place.

    ``rate`` is the phase's peak learning rate; without it, ``settings.learning_rate``. ``precision`` is that of
    :func:`training_arguments`.
    """
    from transformers import DataCollatorWithPadding, EarlyStoppingCallback, set_seed

    set_seed(seed)
    recipe = RECIPES[settings.recipe]
    tokenizer = load_backbone_tokenizer(backbone, settings.max_length)
    trainer_class, model, rates = build(settings, backbone, tokenizer, train, phase, rate or settings.learning_rate)
    collate: Callable = DataCollatorWithPadding(tokenizer)
    alone = recipe.fields if recipe.field_dropout else ()
    trainer = trainer_class(
        model=model,
        args=training_arguments(settings, seed, checkpoints, precision),
        train_dataset=TokenizedQuestions(tokenizer, train, recipe.fields, alone),
        eval_dataset=TokenizedQuestions(tokenizer, validation, recipe.fields),
        data_collator=FieldDropout(collate) if recipe.field_dropout else collate,
        processing_class=tokenizer,
        compute_metrics=partial(validation_metrics, recipe.tuning),
        callbacks=[EarlyStoppingCallback(settings.patience)] if phase == recipe.phases[-1] else [],
    )
    trainer.optimizer = make_optimizer(trainer, rates, settings.weight_decay)
    return trainer


def question_logits(
    model, tokenizer, part: Part, fields: Sequence[str], batch_size: int, precision: str | None = None
) -> np.ndarray:
    """Return the logits of a network for questions by ``fields``, shape (n, num_labels), in their order.

    ``precision`` is that of :func:`training_arguments`.
    """
    from transformers import DataCollatorWithPadding, Trainer

    from training.predictions import predict_by_length

    questions = Tokens(tokenizer, part, fields)
    with tempfile.TemporaryDirectory(prefix="predictions-") as unused:
        arguments = training_arguments(TrainingSettings(batch_size=batch_size), 0, Path(unused), precision)
        trainer = Trainer(model, arguments, DataCollatorWithPadding(tokenizer), eval_dataset=questions)
        return predict_by_length(trainer, questions)


@cache
def accept_numbered_cpus() -> None:
    """Let torch.load put tensors on "cpu:0", the device on which transformers resumes one of several CPU processes."""
    import torch

    torch.serialization.register_package(
        0, lambda storage: None, lambda storage, location: storage if location.startswith("cpu:") else None
    )


def last_checkpoint(trainer, folder: Path) -> str | None:
    """Return the newest complete checkpoint in ``folder``, if any, and remove incomplete ones."""
    newest = newest_checkpoint(folder)
    trainer.accelerator.wait_for_everyone()  # each process has looked before one of them removes
    if trainer.is_world_process_zero() and (half := remove_half_written(folder)):
        start = f"resuming from {newest.name}" if newest else "starting over"
        print(f"{folder}: {', '.join(half)} incomplete, removed; {start}")
    return str(newest) if newest else None


def train_or_load(trainer, resume: bool) -> list[dict]:
    """Train, or resume a training, save the best weights and the log history, and return the history."""
    from safetensors.torch import load_file, save_file

    folder = Path(trainer.args.output_dir)
    weights_file, history_file = folder / "best.safetensors", folder / "history.json"
    if resume and weights_file.is_file():
        trainer.model.load_state_dict(load_file(weights_file))
    else:
        accept_numbered_cpus()
        trainer.train(resume_from_checkpoint=last_checkpoint(trainer, folder) if resume else None)
        if trainer.is_world_process_zero():
            write_json(history_file, trainer.state.log_history)
            save_file(trainer.model.state_dict(), folder / "best.partial")
            (folder / "best.partial").replace(weights_file)
        trainer.accelerator.wait_for_everyone()
    return json.loads(history_file.read_text(encoding="utf-8"))


def train_seed(
    settings: TrainingSettings,
    seed: int,
    folder: Path,
    backbone: Path,
    train: Part,
    validation: Part,
    prepare: Callable,
    precision: str,
    resume: bool = False,
) -> tuple:
    """Train the phases of the recipe, each from the best weights of the one before and at each of its learning rates.

    ``prepare`` is called with each Trainer before it trains. ``folder`` keeps the checkpoints.

    Returns
    -------
    a Trainer whose model has the best weights, the log history that led to them, and {phase: {rate: best micro F1}}
    """
    from training.frozen import use_vectors

    phases = RECIPES[settings.recipe].phases
    history: list[dict] = []
    scores: dict[str, dict[str, float]] = {}
    weights: dict = {}
    for phase in phases:
        tried = []
        for rate in learning_rates(settings, phase):
            place = folder / f"{phase}-{rate:g}" if len(phases) > 1 else folder
            trainer = make_trainer(settings, seed, place, backbone, train, validation, phase, rate, precision)
            if weights:
                trainer.model.load_state_dict(weights)
            prepare(trainer)
            if settings.recipe == FROZEN_ENCODER:
                use_vectors(trainer)
            log = train_or_load(trainer, resume)
            score = max(entry.get("eval_f1_micro", 0.0) for entry in log)
            tried.append((score, trainer.model.state_dict(), log))
            scores.setdefault(phase, {})[f"{rate:g}"] = score
        _, weights, log = max(tried, key=itemgetter(0))
        passed = history[-1]["epoch"] if history else 0
        history += [entry | {"epoch": passed + entry["epoch"]} for entry in log]
    trainer.model.load_state_dict(weights)
    return trainer, history, scores


def train_runs(
    settings: TrainingSettings,
    checkpoints: Path,
    run: dict,
    backbone: Path,
    train: Part,
    validation: Part,
    resume: bool,
):
    """Train once per seed and average the weights.

    The mean of models fine-tuned from one initialization mostly scores as high as their ensemble, at the cost of a
    single model (Wortsman et al. 2022, "Model soups").

    Returns
    -------
    a Trainer whose model has the mean weights, and {seed: log history}; the scores of a sweep are added to ``run``
    """
    fresh = not resume

    def forget_an_earlier_run(trainer) -> None:
        nonlocal fresh
        if fresh and trainer.is_world_process_zero():
            remove_checkpoints(checkpoints)
            write_json(checkpoints / "run.json", run)
        fresh = False

    summed: dict = {}
    histories = {}
    for seed in range(settings.seed, settings.seed + settings.runs):
        place = checkpoints / f"seed-{seed}"
        trainer, histories[seed], scores = train_seed(
            settings, seed, place, backbone, train, validation, forget_an_earlier_run, run["precision"], resume
        )
        if settings.sweep:
            run.setdefault("sweep", {})[str(seed)] = scores
        for name, weights in trainer.model.state_dict().items():
            summed[name] = summed.get(name, 0) + weights
    trainer.model.load_state_dict({name: weights / settings.runs for name, weights in summed.items()})
    return trainer, histories
