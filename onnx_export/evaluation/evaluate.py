"""The figures of one model's answers to the test questions, and of two models' against each other. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tagging.tiers import Tiers
from training.calibration import expected_calibration_error, shown_pairs
from training.dataset import Part
from training.metrics import RANKING_FIGURES, f1_by_frequency, interval, resample, tagging_metrics
from training.tiers import promise_kept

MAX_DROP = 0.005  # of validation micro F1, by quantization
# Name of a calibration error -> the pairs of a question and a tag that it is measured over.
CALIBRATION_FIGURES: dict[str, Callable] = {
    "calibration_error_all": lambda targets, probabilities: (targets, probabilities),
    "calibration_error_shown": shown_pairs,
}


def loses_too_much(quantization: Mapping) -> bool:
    """Return whether int8 loses more micro F1 than MAX_DROP, and more than chance explains.

    A few validation questions have so few tags that one of them changes the micro F1 by more than the limit.

    Parameters
    ----------
    quantization : a quantization.json; in an older one, which has no interval of the loss, the loss alone counts
    """
    drop = quantization.get("drop", {}).get("f1_micro", 0)
    low, _ = quantization.get("drop_interval", (drop, drop))
    return drop > MAX_DROP and low > 0


@dataclass(frozen=True)
class Evaluation:
    """What a model answered, and what that is worth.

    Attributes
    ----------
    model, precision : the names of the row, e.g. "roberta-base" and "int8"; no precision for a row without a model
    probabilities, chosen : arrays of shape (n, num_labels), float and bool
    figures : name -> value; the ends of a figure's 95 % interval are under its name with _low and _high
    resampled : figure -> its values on bootstrap resamples, see :func:`training.metrics.resample`
    thresholds : float array of shape (num_labels,), what was tuned for the model's own probabilities
    """

    model: str
    precision: str
    probabilities: np.ndarray
    chosen: np.ndarray
    figures: dict[str, float]
    resampled: dict[str, np.ndarray]
    thresholds: np.ndarray | None = None

    @property
    def row(self) -> dict:
        """The evaluation as a row of the comparison."""
        return {"model": self.model, "precision": self.precision, **self.figures}


def evaluate(
    model: str,
    precision: str,
    train: Part,
    test: Part,
    probabilities: np.ndarray,
    chosen: np.ndarray,
    thresholds: np.ndarray | None = None,
) -> Evaluation:
    """Measure answers to the questions of ``test``; ``train`` says which tags are frequent."""
    figures = tagging_metrics(test.targets, chosen, probabilities)
    figures |= f1_by_frequency(test.targets, chosen, train.targets.sum(axis=0))
    for name, pairs in CALIBRATION_FIGURES.items():
        figures[name] = expected_calibration_error(*pairs(test.targets, probabilities))
    resampled = resample(test.targets, chosen, probabilities)
    for name, values in resampled.items():
        figures[f"{name}_low"], figures[f"{name}_high"] = interval(figures[name], values)
    return Evaluation(model, precision, probabilities, chosen, figures, resampled, thresholds)


def no_tags(train: Part, test: Part) -> Evaluation:
    """Evaluate the empty answer, the only row with a Hamming accuracy: the share of right (question, tag) decisions.

    It has no probabilities, so RANKING_FIGURES and CALIBRATION_FIGURES are left out.
    """
    empty = np.zeros_like(test.targets)
    evaluation = evaluate("no tags at all", "", train, test, empty.astype(float), empty)
    left_out = {f"{name}{end}" for name in (*RANKING_FIGURES, *CALIBRATION_FIGURES) for end in ("", "_low", "_high")}
    figures = {name: value for name, value in evaluation.figures.items() if name not in left_out}
    return replace(evaluation, figures=figures | {"hamming_accuracy": float((test.targets == empty).mean())})


def most_frequent_tags(train: Part, test: Part) -> Evaluation:
    """Evaluate the same tags for every question: the most frequent of ``train``, as many as a question has there.

    A tag's probability is its share of the training questions.
    """
    shares = train.targets.mean(axis=0)
    num_tags = round(shares.sum())
    chosen = np.zeros(len(shares), dtype=bool)
    chosen[np.argsort(-shares, kind="stable")[:num_tags]] = True
    probabilities = np.broadcast_to(shares, test.targets.shape)
    name = f"the {num_tags} most frequent tags"
    return evaluate(name, "", train, test, probabilities, np.broadcast_to(chosen, test.targets.shape))


def differences(evaluation: Evaluation, other: Evaluation, name: str) -> dict[str, float]:
    """Return how ``evaluation`` differs from ``other``, with intervals over the same resamples.

    Returns
    -------
    f1_micro_minus_NAME and f1_macro_minus_NAME, each with _low and _high, and same_tags_as_NAME: the share of
    questions that both give the same set of tags
    """
    figures = {}
    for figure in ("f1_micro", "f1_macro"):
        key = f"{figure}_minus_{name}"
        figures[key] = evaluation.figures[figure] - other.figures[figure]
        resampled = evaluation.resampled[figure] - other.resampled[figure]
        figures[f"{key}_low"], figures[f"{key}_high"] = interval(figures[key], resampled, lowest=-1.0)
    figures[f"same_tags_as_{name}"] = float((evaluation.chosen == other.chosen).all(axis=1).mean())
    return figures


def ticked_figures(evaluation: Evaluation, test: Part, tiers: Tiers) -> dict[str, float]:
    """Return what was promised of the ticked tags and what is kept of it, see :func:`training.tiers.promise_kept`.

    Returns
    -------
    ticked_promised, ticked_precision with _low and _high, ticked_recall and ticked_questions
    """
    ticked = evaluation.chosen & (evaluation.probabilities >= tiers.thresholds(test.tags))
    kept = promise_kept(test.targets, ticked)
    return {"ticked_promised": tiers.precision} | {f"ticked_{name}": value for name, value in kept.items()}


def loss_by_question(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each question's cross-entropy, summed over its tags, in nats: float array of shape (n,)."""
    of_the_truth = np.where(targets, probabilities, 1 - probabilities)
    return -np.log(np.clip(of_the_truth, 1e-12, 1)).sum(axis=1)
