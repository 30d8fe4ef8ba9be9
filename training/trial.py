"""Try an encoder before hours go into its training: can it be trained, exported, and how long a text does it read.

What is tried has the encoder's architecture and settings, but two layers, few words, and random weights: seconds
instead of minutes. So transformers and optimum answer themselves, whatever their versions support.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from tagging.tagger import import_onnxruntime
from training.backbones import HUB_IDS, BackboneError
from training.model import write_onnx

LAYERS, WORDS, TOKENS = 2, 1000, 8
MAX_DIFFERENCE = 1e-4  # of a logit, as a share of the largest one


def longest_input(
    backbone: Path, tokenizer, max_length: int, build: Callable[[PretrainedConfig], PreTrainedModel]
) -> int:
    """Return how many tokens, ``max_length`` or fewer, the encoder reads, once it has been trained and exported.

    Parameters
    ----------
    build : returns the network, with random weights, that a configuration describes

    Raises
    ------
    BackboneError : the encoder cannot be loaded, trained or exported, or its tokenizer is not made for it
    """
    attempt = "loaded"
    try:
        config = AutoConfig.from_pretrained(backbone)
        check_tokenizer(tokenizer, config)
        model = build(small(config))
        attempt = "trained"
        train_once(model)
        longest = most_tokens(model.eval(), max_length)
        attempt = "exported to ONNX"
        export_once(model)
    except BackboneError as error:
        raise BackboneError(f"{backbone}: {error}") from error
    except Exception as error:  # each architecture fails in a way of its own
        reason = str(error.args[0] if error.args else error).strip().partition("\n")[0].partition(". ")[0]
        raise BackboneError(
            f"{backbone}: this encoder cannot be {attempt} here ({type(error).__name__}: {reason}); take "
            f"{', '.join(HUB_IDS)}, or another one of their kinds"
        ) from error
    return longest


def check_tokenizer(tokenizer, config: PretrainedConfig) -> None:
    """Raise BackboneError if a tokenizer cannot pad, or gives ids that the encoder does not know."""
    if tokenizer.pad_token is None:
        raise BackboneError(
            "its tokenizer has no padding token, so that questions cannot be put together; name another"
        )
    words = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    greatest = max(*words.values(), tokenizer.pad_token_id)
    if greatest >= config.vocab_size:
        raise BackboneError(
            f"its tokenizer gives ids up to {greatest}, but the encoder knows {config.vocab_size} words"
        )


def small(config: PretrainedConfig) -> PretrainedConfig:
    """Return the configuration with few layers and words."""
    reduced = copy.deepcopy(config)
    if config.num_hidden_layers > LAYERS:
        reduced.num_hidden_layers = LAYERS
    reduced.vocab_size = min(config.vocab_size, max(WORDS, config.pad_token_id or 0, config.eos_token_id or 0) + 1)
    return reduced


def example(config: PretrainedConfig, length: int) -> dict[str, torch.Tensor]:
    """Return the inputs of one question of ``length`` tokens, the last of them the end of the text."""
    ids = torch.arange(length) % (config.vocab_size - 1)
    ids[ids == config.pad_token_id] = config.vocab_size - 1
    if config.eos_token_id is not None:
        ids[-1] = config.eos_token_id
    return {"input_ids": ids[None], "attention_mask": torch.ones(1, length, dtype=torch.long)}


def train_once(model: PreTrainedModel) -> None:
    """Pass an example forth and back."""
    labels = torch.zeros(1, model.config.num_labels)
    model.train()(**example(model.config, TOKENS), labels=labels).loss.backward()


@torch.inference_mode()
def most_tokens(model: PreTrainedModel, max_length: int) -> int:
    """Return the length of the longest text, of at most ``max_length`` tokens, that the model reads."""

    def reads(length: int) -> bool:
        try:
            model(**example(model.config, length))
        except (IndexError, RuntimeError):  # it has no vector for the position
            return False
        return True

    if reads(max_length):
        return max_length
    longest, too_long = TOKENS, max_length
    while too_long - longest > 1:
        middle = (longest + too_long) // 2
        longest, too_long = (middle, too_long) if reads(middle) else (longest, middle)
    return longest


def export_once(model: PreTrainedModel) -> None:
    """Export the model, and compare it with itself, on an example alone and beside padding.

    Raises
    ------
    BackboneError : the answers are not the same
    """
    inputs = example(model.config, TOKENS)
    with torch.inference_mode():
        expected = model(**inputs).logits.numpy()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(model, file)
        session = import_onnxruntime().InferenceSession(str(file), providers=["CPUExecutionProvider"])
        names = [model_input.name for model_input in session.get_inputs()]
        for padding in (0, 5):
            ids, mask = (np.pad(values.numpy(), ((0, 0), (0, padding))) for values in inputs.values())
            ids[mask == 0] = model.config.pad_token_id or 0
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            logits = session.run(None, {name: feed[name] for name in names})[0]
            if np.abs(logits - expected).max() > MAX_DIFFERENCE * np.abs(expected).max():
                change = "padding changes its answers" if padding else "exported to ONNX, it gives other answers"
                raise BackboneError(f"this encoder cannot be served: {change}; take {', '.join(HUB_IDS)}")
