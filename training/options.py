"""The options that the scripts that train have in common."""

import argparse

from data.options import DEFAULT_BACKBONE
from tagging.options import at_least_one, learning_rate, loss_weight, positive, seed_number, text_length
from training.recipes import Settings


def add_backbone_option(parser: argparse.ArgumentParser, default: str = DEFAULT_BACKBONE) -> None:
    """Add ``--model``, the encoder to train."""
    parser.add_argument(
        "--model",
        default=default,
        help="distilroberta-base, roberta-base, bert-base-uncased, all-minilm-l6-v2, the id of another encoder on the "
        "Hugging Face Hub, or a local folder",
    )


def add_training_options(parser: argparse.ArgumentParser, epochs: float = Settings.epochs):
    """Add the options of a training that finetune.py and ablate.py share, and return their group."""
    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--max-length", type=text_length, default=Settings.max_length,
        help="maximum number of tokens of title and description; longer text is truncated")  # fmt: skip
    add("--epochs", type=positive, default=epochs, help="maximum number of epochs, in each phase of a recipe")
    add("--batch-size", type=at_least_one, default=Settings.batch_size,
        help="questions per optimizer step and process")  # fmt: skip
    add("--learning-rate", type=learning_rate, default=Settings.learning_rate,
        help="peak learning rate of the encoder; with a reference recipe, of its last layer and, in the second phase, "
        "of the head")  # fmt: skip
    add("--consistency", type=loss_weight, default=Settings.consistency,
        help="weight of the consistency term (R-Drop); 0 halves the training time")  # fmt: skip
    add("--seed", type=seed_number, default=Settings.seed,
        help="seed of the head, the dropout and the order of the questions; each further run adds 1")  # fmt: skip
    return group
