"""Ablation of the recipe: train it with one step changed at a time, and score it on the validation set.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv  ->  reports/ablation.md and ablation/*.npy

    python training/ablate.py --model all-minilm-l6-v2

Each half of the validation part is tagged at thresholds tuned on the other half, so that no variant is scored on what
it was tuned on; the test part stays unread. Each variant's scores are kept in reports/ablation/: an interrupted run
resumes with the variant that it was interrupted in. The changes are defined here; finetune.py contains only the recipe.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_foreign, write_json, write_report
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.decision import sigmoid
from tagging.files import atomic_path
from tagging.model_folder import read_json
from tagging.options import add_force_option, script_parser
from training.backbones import BackboneError, find_backbone
from training.dataset import Part, check_fields, data_hash, read_parts
from training.metrics import MAIN_FIGURES, interval, resample, tagging_metrics
from training.options import add_backbone_option, add_training_options
from training.predictions import predict_by_length
from training.processor import choose_precision, spin_briefly
from training.recipes import (
    FROZEN_ENCODER,
    HEAD_FACTOR,
    MEAN,
    OURS,
    RECIPES,
    SCALED_MEAN,
    Recipe,
    TrainingSettings,
)
from training.tfidf import TfidfTagger, fit
from training.thresholds import TUNINGS, one_half, one_threshold, suggest_by_folds
from training.trainers import longest_input, make_optimizer, train_seed

RECIPE = "the recipe"
OPTIONS = ("epochs", "batch_size", "learning_rate", "max_length", "consistency", "seed")
MIXED_IN = 0.2  # share of the baseline's logits


# --- one change each, made to a Trainer before it trains ------------------------------------------------------------


def random_head(trainer) -> None:
    import torch

    torch.nn.init.normal_(trainer.model.classifier.weight, std=trainer.model.config.initializer_range)


def head_fitted_first(trainer) -> None:
    """Start from the head that fits the vectors of the pretrained encoder best (Kumar et al. 2022, "Fine-tuning can
    distort pretrained features and underperform out-of-distribution")."""
    import torch
    from transformers import Trainer

    from training.frozen import Embedder
    from training.heads import fit_heads

    model, grouped = trainer.model, trainer.args.group_by_length
    embedder = Trainer(Embedder(model), trainer.args, trainer.data_collator, eval_dataset=trainer.eval_dataset)
    questions = trainer.train_dataset
    fitted = fit_heads(predict_by_length(embedder, questions.tokens), questions.targets)
    trainer.args.group_by_length = grouped
    bias = fitted(np.zeros((1, model.config.hidden_size)))
    weights = fitted(np.eye(model.config.hidden_size)) - bias
    model.classifier.weight.data = torch.tensor(np.ascontiguousarray(weights.T), dtype=torch.float32)
    model.classifier.bias.data = torch.tensor(bias[0], dtype=torch.float32)


def bias_at_zero(trainer) -> None:
    trainer.model.classifier.bias.data.zero_()


def with_rates(trainer, choose_rate: Callable[[str, float], float]) -> None:
    """Build the optimizer anew, with the rate that ``choose_rate`` makes of a parameter's name and its rate."""
    groups = trainer.optimizer.param_groups
    rates = {id(weights): group["lr"] for group in groups for weights in group["params"]}
    encoder = min(rates.values())  # also of what the recipe does not train
    chosen = {
        name: choose_rate(name, rates.get(id(weights), encoder)) for name, weights in trainer.model.named_parameters()
    }
    decay = max(group["weight_decay"] for group in groups)
    trainer.optimizer = make_optimizer(trainer, chosen, decay)


def one_learning_rate(trainer) -> None:
    encoder = min(group["lr"] for group in trainer.optimizer.param_groups)
    with_rates(trainer, lambda name, rate: encoder)


def slower_lower_layers(trainer) -> None:
    """Give each layer 0.8 times the rate of the one above it (Howard and Ruder 2018, "ULMFiT", section 3.2)."""
    from training.model import layer_depths

    depths = layer_depths(trainer.model.encoder)
    top = max(depths.values())
    with_rates(trainer, lambda name, rate: rate * 0.8 ** (top - depths.get(name.removeprefix("encoder."), top)))


def trained_word_vectors(trainer) -> None:
    trainer.model.encoder.get_input_embeddings().requires_grad_(True)
    with_rates(trainer, lambda name, rate: rate)


def first_token(trainer) -> None:
    trainer.model.pool = lambda tokens, attention_mask: tokens[:, 0]


def with_pooling(name: str) -> Callable:
    """Return a change of the pooling to POOLS[name]."""

    def change(trainer) -> None:
        from training.model import POOLS

        trainer.model.pool = POOLS[name]

    return change


def no_consistency(trainer) -> None:
    trainer.model.consistency = 0.0


def both_fields_alone(trainer) -> None:
    """Read every question by both of its fields, and never by one."""
    trainer.train_dataset.alone = {}


def with_loss(name: str) -> Callable:
    """Return a change of the loss to LOSSES[name]."""

    def change(trainer) -> None:
        trainer.model.loss_name = name

    return change


# name -> options of finetune.py where they differ, the field that is left out, the change of the Trainer
VARIANTS: dict[str, tuple[dict, str | None, Callable | None]] = {
    RECIPE: ({}, None, None),
    "the recipe, next seed": ({"seed": 1}, None, None),
    "no consistency term": ({}, None, no_consistency),
    "no field dropout": ({}, None, both_fields_alone),
    "random head": ({}, None, random_head),
    "head fitted first": ({}, None, head_fitted_first),
    "bias at zero": ({}, None, bias_at_zero),
    "head at the encoder's rate": ({}, None, one_learning_rate),
    "first token, not the mean": ({}, None, first_token),
    "vectors of one length": ({}, None, with_pooling(SCALED_MEAN)),
    "word vectors trained": ({}, None, trained_word_vectors),
    "slower lower layers": ({}, None, slower_lower_layers),
    "focal loss": ({}, None, with_loss("focal loss")),
    "asymmetric loss": ({}, None, with_loss("asymmetric loss")),
    "a positive weighs as 5 negatives": ({}, None, with_loss("weighted cross-entropy")),
    "description left out": ({}, "descriptions", None),
    "title left out": ({}, "titles", None),
    "half the tokens": ({"max_length": 0.5}, None, None),
    "twice the tokens": ({"max_length": 2}, None, None),
    "encoder frozen": ({"recipe": FROZEN_ENCODER}, None, None),
    "encoder frozen, vectors of any length": ({"recipe": FROZEN_ENCODER}, None, with_pooling(MEAN)),
    "the reference": ({"recipe": "reference"}, None, None),
    "the reference, title and tuned threshold": ({"recipe": "reference-tuned"}, None, None),
}


def settings_of(args: argparse.Namespace) -> TrainingSettings:
    """Return the settings of the recipe itself."""
    options = {name: getattr(args, name) for name in ("model", *OPTIONS)}
    return TrainingSettings(**options, head_learning_rate=HEAD_FACTOR * args.learning_rate)


def recipe_of(name: str) -> Recipe:
    """Return the recipe that the variant ``name`` changes."""
    return RECIPES[VARIANTS[name][0].get("recipe", OURS)]


def shown(name: str, part: Part) -> Part:
    """Return ``part`` as the variant ``name`` shows it.

    Raises
    ------
    ValueError : nothing is left to read in too many of its questions
    """
    left_out = VARIANTS[name][1]
    part = replace(part, **{left_out: [""] * len(part)}) if left_out else part  # type: ignore[arg-type]
    fields = [field for field in recipe_of(name).fields if f"{field}s" != left_out]
    check_fields(part, fields, f"the variant {name!r}")
    return part


def train_variant(name: str, args: argparse.Namespace, backbone: Path, train: Part, validation: Part) -> np.ndarray:
    """Train the variant ``name`` and return its validation logits, shape (n, num_labels), of its best epoch."""
    differing, _, change = VARIANTS[name]
    settings = replace(
        settings_of(args),
        **recipe_of(name).defaults,  # type: ignore[arg-type]
        recipe=differing.get("recipe", OURS),
        seed=args.seed + differing.get("seed", 0),
        max_length=min(int(differing.get("max_length", 1) * args.max_length), args.longest),
    )
    parts = shown(name, train), shown(name, validation)
    with tempfile.TemporaryDirectory(prefix="ablation-") as checkpoints:
        trainer, _, _ = train_seed(
            settings,
            settings.seed,
            Path(checkpoints),
            backbone,
            *parts,
            change or (lambda trainer: None),
            args.precision,
        )
        trainer.args.group_by_length = False  # the rows in their order: the variants' are compared one by one
        return trainer.predict(trainer.eval_dataset).predictions


# --- the scores, and what is made of them ---------------------------------------------------------------------------


def markdown(validation: Part, answers: dict[str, tuple[np.ndarray, np.ndarray]], setting: str) -> str:
    """Return the table; ``answers`` maps each row's name to its probabilities and chosen tags, the recipe's first.

    Differences to the recipe carry 95 % intervals over the same bootstrap resamples of questions.
    """
    figures = {name: tagging_metrics(validation.targets, chosen, p) for name, (p, chosen) in answers.items()}
    resampled = {name: resample(validation.targets, chosen, p) for name, (p, chosen) in answers.items()}
    rows = []
    for name in answers:
        cells = [f"{figures[name][figure]:.3f}" for figure in MAIN_FIGURES.values()]
        for figure in ("f1_micro", "f1_macro"):
            difference = figures[name][figure] - figures[RECIPE][figure]
            low, high = interval(difference, resampled[name][figure] - resampled[RECIPE][figure], lowest=-1.0)
            cells.append("" if name == RECIPE else f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]")
        rows.append([name, *cells])
    lines = [
        "# Ablation\n",
        f"{setting}. Each half of the {len(validation)} validation questions at thresholds tuned on the other half; "
        "in brackets the difference to the first row and its 95 % bootstrap interval over questions.\n",
        markdown_table(["", *MAIN_FIGURES, "micro F1, difference", "macro F1, difference"], rows),
    ]
    return "\n".join(lines) + "\n"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_backbone_option(parser)
    add_folder_options(
        parser, data_dir="folder of the output of training/filter_tags.py", reports_dir="folder of the result"
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=list(VARIANTS),
        metavar="NAME",
        help="variants to train beside the recipe; by default, all that the data supports",
    )
    add_force_option(parser, "overwrite the scores of an earlier run")
    add_training_options(parser, epochs=3)
    return parser.parse_args(argv)


def scores_file(kept: Path, name: str) -> Path:
    """Return where the scores of a variant are kept."""
    return kept / f"{re.sub('[^a-z0-9]+', '-', name)}.npy"


def asked(args: argparse.Namespace, train: Part, validation: Part) -> list[str]:
    """Return the names of the variants to train, the recipe first.

    Raises
    ------
    ValueError : one that ``--variants`` names would find nothing to read; without the option, that one is left out
    """
    names = []
    for name in dict.fromkeys([RECIPE, *(args.variants or VARIANTS)]):
        try:
            for part in (train, validation):
                shown(name, part)
            names.append(name)
        except ValueError as error:
            if args.variants:
                raise
            print(f"left out: {error}")
    return names


def variants(
    names: list[str], args: argparse.Namespace, kept: Path, backbone: Path, train: Part, validation: Part
) -> dict:
    """Train those of ``names`` that ``kept`` holds no scores of, and return {name: (probabilities, chosen tags)}."""
    answers = {}
    for name in names:
        scores = scores_file(kept, name)
        if not scores.is_file():
            print(name)
            logits = train_variant(name, args, backbone, train, validation)
            with atomic_path(scores) as temporary, temporary.open("wb") as file:
                np.save(file, logits)
        probabilities = sigmoid(np.load(scores))
        answers[name] = (
            probabilities,
            suggest_by_folds(validation.targets, probabilities, validation.tags, TUNINGS[recipe_of(name).tuning]),
        )
    return answers


def without_training(logits: np.ndarray, train: Part, validation: Part) -> dict:
    """Return {name: (probabilities, chosen tags)} of what changes after the recipe's training, and of TF-IDF."""
    probabilities = sigmoid(logits)
    baseline = TfidfTagger(fit(train)).raw_probabilities(validation.titles, validation.descriptions)
    suggested = partial(suggest_by_folds, validation.targets, tags=validation.tags)
    mixed = sigmoid((1 - MIXED_IN) * logits + MIXED_IN * np.log(baseline / (1 - baseline)))
    return {
        "one threshold for all tags": (probabilities, suggested(probabilities, tune=one_threshold)),
        "threshold 0.5": (probabilities, suggested(probabilities, tune=one_half)),
        "TF-IDF and logistic regression": (baseline, suggested(baseline)),
        f"{MIXED_IN:.0%} of its logits mixed in": (mixed, suggested(mixed)),
    }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    spin_briefly()
    kept = args.reports_dir / "ablation"
    refuse_foreign(args.reports_dir / "ablation.md", "training/ablate.py")
    try:
        train, validation = read_parts(args.data_dir, "train", "validation")
        names = asked(args, train, validation)
        backbone = find_backbone(args.model)
        doubled = replace(settings_of(args), max_length=2 * args.max_length)  # a variant reads so much
        args.longest = longest_input(doubled, backbone)
        args.max_length = min(args.max_length, args.longest)
    except ValueError as error:
        sys.exit(str(error))
    setting = {name: getattr(args, name) for name in ("model", *OPTIONS)} | {"data_sha256": data_hash(args.data_dir)}
    if not args.force and (kept / "setting.json").is_file() and read_json(kept / "setting.json") != setting:
        sys.exit(f"{kept} holds scores of other options or data: give those, or --force to start anew")
    if args.force:
        for name in VARIANTS:
            scores_file(kept, name).unlink(missing_ok=True)
    write_json(kept / "setting.json", setting)
    args.precision = choose_precision()  # once, so that the variants differ in nothing else

    try:
        answers = variants(names, args, kept, backbone, train, validation)
    except BackboneError as error:
        sys.exit(str(error))
    answers |= without_training(np.load(kept / "the-recipe.npy"), train, validation)
    text = markdown(validation, answers, ", ".join(f"{name} {getattr(args, name)}" for name in ("model", *OPTIONS)))
    write_report(args.reports_dir / "ablation.md", text, "training/ablate.py")
    print(text)
    print(f"written: {args.reports_dir / 'ablation.md'}")


if __name__ == "__main__":
    run_script(main)
