"""Show which step of the recipe gives what: train it with one step changed at a time, and score on validation.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv  ->  reports/ablation.md, .csv and ablation/*.npy

    python training/ablate.py --model all-minilm-l6-v2

Figures are at thresholds tuned on the other half of the validation part, so that no variant is scored on what it was
tuned on, and the test part stays unread. A variant's scores are kept: a run that was cut goes on with the next variant.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.files import atomic_path
from deployment.tagger import sigmoid, suggest
from training import finetune
from training.backbones import BackboneError, find_backbone
from training.baseline import TfidfTagger, fit
from training.metrics import interval, resample, tagging_metrics
from training.questions import Part, data_hash, read_part
from training.thresholds import best_f1_threshold, tune_thresholds

RECIPE = "the recipe"
FIGURES = {"f1_micro": "micro F1", "f1_macro": "macro F1", "precision_at_1": "P@1", "recall_at_5": "R@5"}


# --- one change each, made to a Trainer before it trains ------------------------------------------------------------


def random_head(trainer) -> None:
    import torch

    torch.nn.init.normal_(trainer.model.classifier.weight, std=trainer.model.config.initializer_range)


def bias_at_zero(trainer) -> None:
    trainer.model.classifier.bias.data.zero_()


def one_learning_rate(trainer) -> None:
    for group in trainer.optimizer.param_groups:
        group["lr"] = trainer.optimizer.param_groups[0]["lr"]


def slower_lower_layers(trainer) -> None:
    """Give each layer 0.8 times the rate of the one above it (Howard and Ruder 2018, ULMFiT, section 3.2)."""
    encoder, head = trainer.optimizer.param_groups
    layers = trainer.model.config.num_hidden_layers
    names = {id(weights): name for name, weights in trainer.model.named_parameters()}
    groups: dict[int, list] = {}
    for weights in encoder["params"]:
        name = names[id(weights)]
        depth = int(name.split(".layer.")[1].split(".")[0]) + 1 if ".layer." in name else 0
        groups.setdefault(layers - depth, []).append(weights)
    kinds = [{"params": weights, "lr": encoder["lr"] * 0.8**below} for below, weights in groups.items()]
    trainer.optimizer = type(trainer.optimizer)([*kinds, {"params": head["params"], "lr": head["lr"]}])


def trained_word_vectors(trainer) -> None:
    vectors = trainer.model.encoder.get_input_embeddings()
    vectors.requires_grad_(True)
    trainer.optimizer.param_groups[0]["params"].append(vectors.weight)


def first_token(trainer) -> None:
    trainer.model.pool = lambda tokens, attention_mask: tokens[:, 0]


def loss(weigh: Callable) -> Callable:
    """Return a change of the loss to the mean of ``weigh(cross_entropy, probabilities, labels)``."""

    def change(trainer) -> None:
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        trainer.model.criterion = lambda logits, labels: weigh(
            cross_entropy(logits, labels, reduction="none"), logits.sigmoid(), labels
        ).mean()

    return change


def focal(losses, probabilities, labels):
    """Lin et al. 2017, "Focal loss for dense object detection", gamma 2."""
    return losses * (labels - probabilities).abs() ** 2


def asymmetric(losses, probabilities, labels):
    """Ridnik et al. 2021, "Asymmetric loss for multi-label classification", gamma 0 and 4, margin 0.05."""
    shifted = (probabilities - 0.05).clamp(min=0)
    return labels * losses - (1 - labels) * shifted**4 * (1 - shifted).clamp(min=1e-8).log()


def positives_weighted(losses, probabilities, labels):
    return losses * (1 + 4 * labels)


def no_consistency(trainer) -> None:
    trainer.model.consistency = 0.0


# name -> (options of finetune.py, field that is left out, change of the Trainer)
VARIANTS: dict[str, tuple[dict, str | None, Callable | None]] = {
    RECIPE: ({}, None, None),
    "the recipe, next seed": ({"seed": 1}, None, None),
    "the recipe, third seed": ({"seed": 2}, None, None),
    "description left out": ({}, "descriptions", None),
    "title left out": ({}, "titles", None),
    "half the tokens": ({"max_length": 0.5}, None, None),
    "twice the tokens": ({"max_length": 2}, None, None),
    "random head": ({}, None, random_head),
    "bias at zero": ({}, None, bias_at_zero),
    "head at the encoder's rate": ({}, None, one_learning_rate),
    "slower lower layers": ({}, None, slower_lower_layers),
    "word vectors trained": ({}, None, trained_word_vectors),
    "first token, not the mean": ({}, None, first_token),
    "no consistency term": ({}, None, no_consistency),
    "focal loss": ({}, None, loss(focal)),
    "asymmetric loss": ({}, None, loss(asymmetric)),
    "positives weighted 5 times": ({}, None, loss(positives_weighted)),
    "the reference's recipe": ({"recipe": "reference"}, None, None),
}
SEEDS = [name for name, (options, *_) in VARIANTS.items() if name == RECIPE or "seed" in options]


def train_variant(name: str, args: argparse.Namespace, backbone: Path, train: Part, validation: Part) -> np.ndarray:
    """Train ``name`` and return its validation logits, shape (n, num_labels)."""
    options, left_out, change = VARIANTS[name]
    settings = finetune.parse_args(["--model", args.model])
    for option in ("epochs", "batch_size", "learning_rate", "max_length", "seed"):
        setattr(settings, option, getattr(args, option))
    settings.recipe = options.get("recipe", settings.recipe)
    settings.seed += options.get("seed", 0)
    settings.max_length = int(options.get("max_length", 1) * settings.max_length)
    if left_out:
        train, validation = (replace(part, **{left_out: [""] * len(part)}) for part in (train, validation))
    with tempfile.TemporaryDirectory() as checkpoints:
        trainer = finetune.make_trainer(settings, settings.seed, Path(checkpoints), backbone, train, validation)
        if change:
            change(trainer)
        trainer.train()
        return finetune.predict(trainer, validation)


# --- what needs no training of its own ------------------------------------------------------------------------------


def neighbours(train_vectors: np.ndarray, vectors: np.ndarray, targets: np.ndarray, k: int = 32) -> np.ndarray:
    """Return the log odds of the tags of each question's ``k`` nearest training questions, shape (n, num_labels).

    Parameters
    ----------
    train_vectors, vectors : float arrays of shape (n_train, hidden_size) and (n, hidden_size), rows of length 1
    targets : bool array of shape (n_train, num_labels)
    """
    similarity = vectors @ train_vectors.T
    nearest = np.argpartition(-similarity, k, axis=1)[:, :k]
    weights = np.exp(np.take_along_axis(similarity, nearest, axis=1) / 0.07)
    weights /= weights.sum(axis=1, keepdims=True)
    shares = np.einsum("nk,nkl->nl", weights, targets[nearest])
    shares = 0.9 * shares + 0.1 * (targets.sum(axis=0) + 1) / (len(targets) + 2)
    return np.log(shares / (1 - shares))
