"""The losses of training, each a function of logits and float labels, tensors of shape (n, num_labels), to shape (n,):
the loss of each question, a mean over tags.

To add one, write its function and give it a name in LOSSES. The model, the ablation and the training curve use that
name.
"""

from collections.abc import Callable


def cross_entropy(logits, labels):
    """Return the binary cross-entropy."""
    return _cross_entropies(logits, labels).mean(dim=1)


def weighted_cross_entropy(logits, labels):
    """Return the binary cross-entropy with every positive counted five times."""
    return (_cross_entropies(logits, labels) * (1 + 4 * labels)).mean(dim=1)


def focal_loss(logits, labels):
    """Lin et al. 2017, "Focal loss for dense object detection", with gamma 2."""
    return (_cross_entropies(logits, labels) * (labels - logits.sigmoid()).abs() ** 2).mean(dim=1)


def asymmetric_loss(logits, labels):
    """Ridnik et al. 2021, "Asymmetric loss for multi-label classification", with gammas 0 and 4, and margin 0.05."""
    shifted = (logits.sigmoid() - 0.05).clamp(min=0)
    negative = -(shifted**4) * (1 - shifted).clamp(min=1e-8).log()
    return (labels * _cross_entropies(logits, labels) + (1 - labels) * negative).mean(dim=1)


def divergence(first, second):
    """Return the consistency term of each question, shape (n,): how far the logits of its two passes are apart.

    The mean over tags of the Kullback-Leibler divergence, in nats and summed over both directions, between the
    Bernoulli distributions of the two logits of a pair (Liang et al. 2021, "R-Drop").
    """
    return ((first.sigmoid() - second.sigmoid()) * (first - second)).mean(dim=1)


def _cross_entropies(logits, labels):
    from torch.nn.functional import binary_cross_entropy_with_logits  # here, so that --help need not load torch

    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


CROSS_ENTROPY = "cross-entropy"  # the recipe's
LOSSES: dict[str, Callable] = {
    CROSS_ENTROPY: cross_entropy,
    "weighted cross-entropy": weighted_cross_entropy,
    "focal loss": focal_loss,
    "asymmetric loss": asymmetric_loss,
}
