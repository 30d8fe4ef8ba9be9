"""One logistic regression per tag on the encoder's vectors of questions. No I/O."""

from collections.abc import Callable

import numpy as np

# Of the squared weights, beside the mean over questions of the summed cross-entropy. Chosen on the planted errors of
# benchmarks/worklist.py, among powers of ten and three times these.
WEIGHT_DECAY = 3e-3
STEPS = 60  # of L-BFGS; more change the fourth digit of the loss


def fit_heads(vectors: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit the weights of all tags at once, by L-BFGS over all questions.

    Parameters
    ----------
    vectors : float array of shape (n, hidden_size)
    targets : bool array of shape (n, num_labels)

    Returns
    -------
    function from vectors of shape (m, hidden_size) to logits of shape (m, num_labels)
    """
    import torch

    mean, scale = vectors.mean(axis=0), vectors.std() or 1.0
    prior = (targets.sum(axis=0) + 1) / (len(targets) + 2)  # Laplace's rule, for a tag that none or all carry
    inputs = torch.tensor((vectors - mean) / scale, dtype=torch.float32)
    labels = torch.tensor(targets, dtype=torch.float32)
    weights = torch.zeros(targets.shape[1], vectors.shape[1], requires_grad=True)
    biases = torch.tensor(np.log(prior / (1 - prior)), dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, biases], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = inputs @ weights.T + biases
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(labels)
        value = entropy + WEIGHT_DECAY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    fitted, intercepts = weights.detach().numpy(), biases.detach().numpy()
    return lambda others: (others - mean) / scale @ fitted.T + intercepts
