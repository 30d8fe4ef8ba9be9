"""The options that the scripts that train have in common."""

import argparse

from data.options import DEFAULT_BACKBONE
from tagging.options import (
    at_least_one,
    learning_rate,
    loss_weight,
    positive,
    seed_number,
    share,
    text_length,
    whole_number,
)
from training.recipes import HEAD_FACTOR, TrainingSettings


def add_backbone_option(
    parser: argparse.ArgumentParser, name: str = "--model", default: str = DEFAULT_BACKBONE
) -> None:
    """Add ``--model``, the encoder to train, or the same by another name."""
    parser.add_argument(
        name,
        dest="model",
        default=default,
        help="distilroberta-base, roberta-base, bert-base-uncased, all-minilm-l6-v2, all-mpnet-base-v2, the id of "
        "another encoder on the Hugging Face Hub, or a local folder",
    )


def add_training_options(parser: argparse.ArgumentParser, epochs: float = TrainingSettings.epochs):
    """Add the options of a training that finetune.py and ablate.py share, and return their group."""
    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--max-length", type=text_length, default=TrainingSettings.max_length,
        help="maximum number of tokens of title and description; longer text is truncated")  # fmt: skip
    add("--epochs", type=positive, default=epochs, help="maximum number of epochs, in each phase of a recipe")
    add("--batch-size", type=at_least_one, default=TrainingSettings.batch_size,
        help="questions per optimizer step and process")  # fmt: skip
    add("--learning-rate", type=learning_rate, default=TrainingSettings.learning_rate,
        help="peak learning rate of the encoder; with a reference recipe, of its last layer and, in the second phase, "
        "of the head")  # fmt: skip
    add("--consistency", type=loss_weight, default=TrainingSettings.consistency,
        help="weight of the consistency term (R-Drop); 0 halves the training time")  # fmt: skip
    add("--seed", type=seed_number, default=TrainingSettings.seed,
        help="seed of the head, the dropout and the order of the questions; each further run adds 1")  # fmt: skip
    return group


def add_further_training_options(group) -> None:
    """Add to the group of :func:`add_training_options` the options that finetune.py and distill.py share."""
    add = group.add_argument
    add("--minutes", type=positive,
        help="time for the training, which gets the runs and epochs that fit, up to --runs and --epochs")  # fmt: skip
    add("--max-steps", type=whole_number(-1), default=TrainingSettings.max_steps,
        help="maximum number of optimizer steps; 0 or -1: no limit")  # fmt: skip
    add("--head-learning-rate", type=learning_rate,
        help=f"peak learning rate of the head, by default {HEAD_FACTOR} times the encoder's; with a reference recipe, "
        "the one of the first phase")  # fmt: skip
    add("--weight-decay", type=loss_weight, default=TrainingSettings.weight_decay, help="weight decay of AdamW")
    add("--warmup-ratio", type=share, default=TrainingSettings.warmup_ratio,
        help="share of the optimizer steps in which the learning rate rises")  # fmt: skip
    add("--patience", type=at_least_one, default=TrainingSettings.patience,
        help="number of epochs without a better validation micro F1 after which training stops")  # fmt: skip
    add("--runs", type=at_least_one, default=TrainingSettings.runs,
        help="number of trainings with different seeds, whose weights are averaged")  # fmt: skip
    add("--extra-questions", action="store_true",
        help="train on the output of training/extra_questions.py, too")  # fmt: skip


def check_training_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with the usage if two options exclude each other, and set the head's learning rate."""
    if args.minutes and args.max_steps > 0:
        parser.error("--minutes and --max-steps both limit the training: give one of them")
    args.head_learning_rate = args.head_learning_rate or HEAD_FACTOR * args.learning_rate
