"""Show which step of the recipe gives what: train it with one step changed at a time, and score on validation.

    data/ques_filtered.csv, data/tag_types_encoded.json, data/split.csv  ->  reports/ablation.md and ablation/*.npy

    python training/ablate.py --model all-minilm-l6-v2

Each half of the validation part is tagged at thresholds tuned on the other half, so that no variant is scored on what
it was tuned on; the test part stays unread. Each variant's scores are kept in reports/ablation/: a run that was cut
goes on with the variant that it was cut in. The changes live here and not in finetune.py, which holds the recipe alone.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import atomic_path, write_json
from deployment.options import at_least_one, number_from, positive, seed_number, text_length
from deployment.tagger import DecisionRule, read_json, sigmoid, suggest
from training import finetune
from training.backbones import BackboneError, find_backbone
from training.baseline import TfidfTagger, fit
from training.metrics import interval, resample, tagging_metrics
from training.questions import Part, data_hash, read_part
from training.thresholds import best_f1_threshold, tune_thresholds

RECIPE = "the recipe"
FIGURES = {"f1_micro": "micro F1", "f1_macro": "macro F1", "precision_at_1": "P@1", "recall_at_5": "R@5"}
OPTIONS = ("epochs", "batch_size", "learning_rate", "max_length", "consistency", "seed")
MIXED_IN = 0.2  # share of the baseline's logits


# --- one change each, made to a Trainer before it trains ------------------------------------------------------------


def random_head(trainer) -> None:
    import torch

    torch.nn.init.normal_(trainer.model.classifier.weight, std=trainer.model.config.initializer_range)


def bias_at_zero(trainer) -> None:
    trainer.model.classifier.bias.data.zero_()


def one_learning_rate(trainer) -> None:
    encoder, head = trainer.optimizer.param_groups
    head["lr"] = encoder["lr"]


def slower_lower_layers(trainer) -> None:
    """Give each layer 0.8 times the rate of the one above it (Howard and Ruder 2018, "ULMFiT", section 3.2)."""
    encoder, head = trainer.optimizer.param_groups
    names = {id(weights): name for name, weights in trainer.model.named_parameters()}
    by_depth: dict[int, list] = {}
    for weights in encoder["params"]:
        number = re.search(r"\.layer\.(\d+)\.", names[id(weights)])
        by_depth.setdefault(int(number[1]) + 1 if number else 0, []).append(weights)
    groups = [
        {"params": weights, "lr": encoder["lr"] * 0.8 ** (max(by_depth) - depth)} for depth, weights in by_depth.items()
    ]
    head_group = {"params": head["params"], "lr": head["lr"]}
    trainer.optimizer = type(trainer.optimizer)([*groups, head_group], weight_decay=encoder["weight_decay"])


def trained_word_vectors(trainer) -> None:
    vectors = trainer.model.encoder.get_input_embeddings().requires_grad_(True)
    trainer.optimizer.param_groups[0]["params"].append(vectors.weight)


def first_token(trainer) -> None:
    trainer.model.pool = lambda tokens, attention_mask: tokens[:, 0]


def no_consistency(trainer) -> None:
    trainer.model.consistency = 0.0


def loss(weigh: Callable) -> Callable:
    """Return a change of the loss to the mean of ``weigh(cross_entropies, probabilities, labels)``."""

    def change(trainer) -> None:
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        trainer.model.criterion = lambda logits, labels: weigh(
            cross_entropy(logits, labels, reduction="none"), logits.sigmoid(), labels
        ).mean()

    return change


def focal(losses, probabilities, labels):
    """Lin et al. 2017, "Focal loss for dense object detection", with gamma 2."""
    return losses * (labels - probabilities).abs() ** 2


def asymmetric(losses, probabilities, labels):
    """Ridnik et al. 2021, "Asymmetric loss for multi-label classification", with gammas 0 and 4, and margin 0.05."""
    shifted = (probabilities - 0.05).clamp(min=0)
    return labels * losses - (1 - labels) * shifted**4 * (1 - shifted).clamp(min=1e-8).log()


def weighted(losses, probabilities, labels):
    return losses * (1 + 4 * labels)


# name -> options of finetune.py where they differ, the field that is left out, the change of the Trainer
VARIANTS: dict[str, tuple[dict, str | None, Callable | None]] = {
    RECIPE: ({}, None, None),
    "the recipe, next seed": ({"seed": 1}, None, None),
    "no consistency term": ({}, None, no_consistency),
    "random head": ({}, None, random_head),
    "bias at zero": ({}, None, bias_at_zero),
    "head at the encoder's rate": ({}, None, one_learning_rate),
    "first token, not the mean": ({}, None, first_token),
    "word vectors trained": ({}, None, trained_word_vectors),
    "slower lower layers": ({}, None, slower_lower_layers),
    "focal loss": ({}, None, loss(focal)),
    "asymmetric loss": ({}, None, loss(asymmetric)),
    "a positive weighs as 5 negatives": ({}, None, loss(weighted)),
    "description left out": ({}, "descriptions", None),
    "title left out": ({}, "titles", None),
    "half the tokens": ({"max_length": 0.5}, None, None),
    "twice the tokens": ({"max_length": 2}, None, None),
    "the reference's recipe": ({"recipe": "reference"}, None, None),
}


def train_variant(name: str, args: argparse.Namespace, backbone: Path, train: Part, validation: Part) -> np.ndarray:
    """Train the variant ``name`` and return its validation logits, shape (n, num_labels), of its best epoch."""
    differing, left_out, change = VARIANTS[name]
    options = {name: getattr(args, name) for name in OPTIONS}
    options["seed"] += differing.get("seed", 0)
    options["max_length"] = int(differing.get("max_length", 1) * args.max_length)
    settings = finetune.parse_args(["--model", args.model, "--recipe", differing.get("recipe", "tagger")])
    vars(settings).update(options)
    if left_out:
        train, validation = (replace(part, **{left_out: [""] * len(part)}) for part in (train, validation))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="ablation-") as checkpoints:
        trainer = finetune.make_trainer(settings, settings.seed, Path(checkpoints), backbone, train, validation)
        if change:
            change(trainer)
        trainer.train()
        trainer.args.group_by_length = False  # the rows in their order: the variants' are compared one by one
        return trainer.predict(trainer.eval_dataset).predictions


# --- the scores, and what is made of them ---------------------------------------------------------------------------


def one_threshold(targets: np.ndarray, probabilities: np.ndarray, tags: list[str]) -> dict:
    return {"per_tag": dict.fromkeys(tags, best_f1_threshold(targets, probabilities)[0])}


def one_half(targets: np.ndarray, probabilities: np.ndarray, tags: list[str]) -> dict:
    return {"per_tag": dict.fromkeys(tags, 0.5)}


def choose(part: Part, probabilities: np.ndarray, tune: Callable = tune_thresholds) -> np.ndarray:
    """Return the tags chosen in each half of ``part`` at the thresholds of the other, bool, shape (n, num_labels)."""
    half = np.random.default_rng(0).permutation(len(part)) % 2 == 0
    chosen = np.zeros_like(part.targets)
    for scored in (half, ~half):
        rule = DecisionRule.of(tune(part.targets[~scored], probabilities[~scored], part.tags), part.tags)
        chosen[scored] = suggest(rule.probabilities(probabilities[scored]), rule.threshold)
    return chosen


def markdown(validation: Part, answers: dict[str, tuple[np.ndarray, np.ndarray]], setting: str) -> str:
    """Return the table; ``answers`` maps each row's name to its probabilities and chosen tags, the recipe's first.

    Differences to the recipe carry 95 % intervals over the same bootstrap resamples of questions.
    """
    figures = {name: tagging_metrics(validation.targets, chosen, p) for name, (p, chosen) in answers.items()}
    resampled = {name: resample(validation.targets, chosen, p) for name, (p, chosen) in answers.items()}
    lines = [
        "# Ablation\n",
        f"{setting}. Each half of the {len(validation)} validation questions at thresholds tuned on the other half; "
        "in brackets the difference to the first row and its 95 % bootstrap interval over questions.\n",
        "| | " + " | ".join(FIGURES.values()) + " | micro F1, difference | macro F1, difference |",
        "|---|" + "---:|" * (len(FIGURES) + 2),
    ]
    for name in answers:
        cells = [f"{figures[name][figure]:.3f}" for figure in FIGURES]
        for figure in ("f1_micro", "f1_macro"):
            difference = figures[name][figure] - figures[RECIPE][figure]
            low, high = interval(difference, resampled[name][figure] - resampled[RECIPE][figure], lowest=-1.0)
            cells.append("" if name == RECIPE else f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="distilroberta-base", help="backbone, as for training/finetune.py")
    add("--data-dir", type=Path, default=Path("data"), help="folder of the output of training/filter_tags.py")
    add("--reports-dir", type=Path, default=Path("reports"), help="folder of the result")
    add("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME",
        help="the recipe and these; without it, every variant")  # fmt: skip
    add("--epochs", type=positive, default=3, help="passes over the training part")
    add("--batch-size", type=at_least_one, default=32, help="questions per update")
    add("--learning-rate", type=positive, default=1e-4, help="encoder's peak learning rate")
    add("--max-length", type=text_length, default=256, help="tokens of title and description")
    add("--consistency", type=number_from(0), default=1.0, help="weight of the consistency term")
    add("--seed", type=seed_number, default=42, help="seed of the runs")
    add("--force", action="store_true", help="forget the scores of an earlier run")
    return parser.parse_args(argv)


def variants(args: argparse.Namespace, kept: Path, backbone: Path, train: Part, validation: Part) -> dict:
    """Train what ``kept`` holds no scores of, and return {name: (probabilities, chosen tags)} of the variants."""
    answers = {}
    for name in dict.fromkeys([RECIPE, *args.variants]):
        scores = kept / f"{re.sub('[^a-z0-9]+', '-', name)}.npy"
        if not scores.is_file():
            print(name)
            logits = train_variant(name, args, backbone, train, validation)
            with atomic_path(scores) as temporary, temporary.open("wb") as file:
                np.save(file, logits)
        probabilities = sigmoid(np.load(scores))
        fixed = "recipe" in VARIANTS[name][0]
        answers[name] = probabilities, choose(validation, probabilities, one_half if fixed else tune_thresholds)
    return answers


def without_training(logits: np.ndarray, train: Part, validation: Part) -> dict:
    """Return {name: (probabilities, chosen tags)} of what changes after the recipe's training, and of TF-IDF."""
    probabilities = sigmoid(logits)
    baseline = TfidfTagger(fit(train)).raw_probabilities(validation.titles, validation.descriptions)
    mixed = sigmoid((1 - MIXED_IN) * logits + MIXED_IN * np.log(baseline / (1 - baseline)))
    return {
        "one threshold for all tags": (probabilities, choose(validation, probabilities, one_threshold)),
        "threshold 0.5": (probabilities, choose(validation, probabilities, one_half)),
        "TF-IDF and logistic regression": (baseline, choose(validation, baseline)),
        f"{MIXED_IN:.0%} of its logits mixed in": (mixed, choose(validation, mixed)),
    }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    kept = args.reports_dir / "ablation"
    try:
        train, validation = read_part(args.data_dir, "train"), read_part(args.data_dir, "validation")
        backbone = find_backbone(args.model)
    except ValueError as error:
        sys.exit(str(error))
    setting = {name: getattr(args, name) for name in ("model", *OPTIONS)} | {"data_sha256": data_hash(args.data_dir)}
    if not args.force and (kept / "setting.json").is_file() and read_json(kept / "setting.json") != setting:
        sys.exit(f"{kept} holds scores of other options or data: give those, or --force to start anew")
    if args.force:
        for scores in kept.glob("*.npy"):
            scores.unlink()
    write_json(kept / "setting.json", setting)

    try:
        answers = variants(args, kept, backbone, train, validation)
    except BackboneError as error:
        sys.exit(str(error))
    answers |= without_training(np.load(kept / "the-recipe.npy"), train, validation)
    text = markdown(validation, answers, ", ".join(f"{name} {getattr(args, name)}" for name in ("model", *OPTIONS)))
    with atomic_path(args.reports_dir / "ablation.md") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(text)
    print(f"written: {args.reports_dir / 'ablation.md'}")


if __name__ == "__main__":
    main()
