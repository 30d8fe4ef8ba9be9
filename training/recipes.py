"""The recipes of finetune.py: what each reads of a question, its phases of training, and how it tunes thresholds."""

import argparse
from dataclasses import dataclass

from tagging.encoding import FIELDS
from training.thresholds import ONE, ONE_HALF, PER_TAG

FROZEN, WHOLE = "frozen", "whole"  # the phases: only the head is trained, or everything
RATES = {FROZEN: (1e-3, 3e-3), WHOLE: (3e-5, 1e-4, 3e-4)}  # what --sweep tries in each phase


@dataclass(frozen=True)
class Recipe:
    """The fields of a question that are read, the phases in their order, and the key of thresholds.TUNINGS."""

    fields: tuple[str, ...]
    phases: tuple[str, ...]
    tuning: str


OURS = "tagger"
RECIPES = {
    OURS: Recipe(FIELDS, (WHOLE,), PER_TAG),
    "reference": Recipe(("description",), (FROZEN, WHOLE), ONE_HALF),
    "reference-tuned": Recipe(FIELDS, (FROZEN, WHOLE), ONE),
}


def learning_rates(args: argparse.Namespace, phase: str) -> tuple[float, ...]:
    """Return the peak learning rates that finetune.py's options ask for in ``phase``."""
    if args.sweep:
        return RATES[phase]
    return (args.head_learning_rate if phase == FROZEN else args.learning_rate,)


def folder_name(backbone: str, recipe: str) -> str:
    """Return the name of the model folder of ``backbone``'s short name: each recipe has a folder of its own."""
    return backbone if recipe == OURS else f"{backbone}-{recipe}"


def training_command(name: str) -> str:
    """Return the command that makes the model folder ``name``."""
    for recipe in RECIPES:
        if name.endswith(f"-{recipe}"):
            return f"python training/finetune.py --model {name.removesuffix(f'-{recipe}')} --recipe {recipe}"
    return f"python training/finetune.py --model {name}"
