"""The recipes of finetune.py: what each reads of a question, its phases of training, how it tunes thresholds, and the
settings of a training, with their defaults.
"""

from dataclasses import dataclass, field

from data.options import DEFAULT_BACKBONE
from tagging.settings import FIELDS
from training.thresholds import ONE, ONE_HALF, PER_TAG

MEAN, SCALED_MEAN = "mean", "scaled mean"  # the vector of a question, by its tokens'; see training/model.py
FROZEN, WHOLE = "frozen", "whole"  # the phases: only the head is trained, or everything
RATES = {FROZEN: (1e-3, 3e-3), WHOLE: (3e-5, 1e-4, 3e-4)}  # what --sweep tries in each phase


@dataclass(frozen=True)
class Recipe:
    """The fields of a question that are read, the phases in their order, the key of thresholds.TUNINGS, whether the
    network is the reference's, whether a question is read by each of its fields alone, too, the network's pooling, and
    defaults of options that differ from those of TrainingSettings."""

    fields: tuple[str, ...]
    phases: tuple[str, ...]
    tuning: str
    reference: bool = False
    field_dropout: bool = False
    pooling: str = MEAN
    defaults: dict[str, float] = field(default_factory=dict)


OURS, FROZEN_ENCODER, DISTILLED = "tagger", "frozen-encoder", "distilled"
# A head is quickly trained: in large batches and many epochs, and it is too small to need the second pass of R-Drop.
HEAD_DEFAULTS = {"epochs": 30, "batch_size": 256, "head_learning_rate": 3e-3, "consistency": 0.0}
RECIPES = {
    OURS: Recipe(FIELDS, (WHOLE,), PER_TAG, field_dropout=True),
    # The labels of a teacher regularize the training, as the second pass of R-Drop does at twice the time.
    DISTILLED: Recipe(FIELDS, (WHOLE,), PER_TAG, field_dropout=True, defaults={"consistency": 0.0}),
    # A frozen encoder's vectors get shorter with each token; one that is trained can learn otherwise.
    FROZEN_ENCODER: Recipe(FIELDS, (FROZEN,), PER_TAG, pooling=SCALED_MEAN, defaults=HEAD_DEFAULTS),
    "reference": Recipe(("description",), (FROZEN, WHOLE), ONE_HALF, reference=True),
    "reference-tuned": Recipe(FIELDS, (FROZEN, WHOLE), ONE, reference=True),
}


HEAD_FACTOR = 10  # the head's learning rate over the encoder's: its weights have more to learn


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training, named as the options of finetune.py, which describe them. run.json records them."""

    model: str = DEFAULT_BACKBONE
    recipe: str = OURS
    max_length: int = 256
    epochs: float = 10
    max_steps: int = -1
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = HEAD_FACTOR * 1e-4
    sweep: bool = False
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    consistency: float = 1.0
    patience: int = 3
    runs: int = 1
    seed: int = 42
    extra_questions: bool = False


def learning_rates(settings: TrainingSettings, phase: str) -> tuple[float, ...]:
    """Return the peak learning rates to try in ``phase``."""
    if settings.sweep:
        return RATES[phase]
    return (settings.head_learning_rate if phase == FROZEN else settings.learning_rate,)


def folder_name(backbone: str, recipe: str) -> str:
    """Return the name of the model folder of ``backbone``'s short name: each recipe has a folder of its own."""
    return backbone if recipe == OURS else f"{backbone}-{recipe}"


def training_command(name: str) -> str:
    """Return the command that makes the model folder ``name``."""
    if name.endswith(f"-{DISTILLED}"):
        return f"python training/distill.py --student {name.removesuffix(f'-{DISTILLED}')} --teacher FOLDER"
    for recipe in RECIPES:
        if name.endswith(f"-{recipe}"):
            return f"python training/finetune.py --model {name.removesuffix(f'-{recipe}')} --recipe {recipe}"
    return f"python training/finetune.py --model {name}"
