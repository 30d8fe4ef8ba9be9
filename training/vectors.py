"""The vectors of questions by a pretrained encoder, computed once and kept in the user's cache."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from tagging.settings import FIELDS
from training.array_cache import cached_array
from training.backbones import find_backbone
from training.dataset import Part
from training.predictions import predict_by_length
from training.provenance import describe_backbone
from training.recipes import TrainingSettings
from training.tokenized import Tokens
from training.trainers import load_backbone_tokenizer, training_arguments


def question_vectors(model: str, questions: Part) -> np.ndarray:
    """Return the vectors of questions, float array of shape (n, hidden_size), in their order.

    They are the means of the token vectors of title and description, without dropout and not scaled. They are
    kept in the folder ``vectors`` of the cache, by the hash of the texts, of the weights and of the number of tokens.

    Parameters
    ----------
    model : as for :func:`training.backbones.find_backbone`

    Raises
    ------
    BackboneError : the encoder cannot be had or loaded
    """
    backbone, max_length = find_backbone(model), TrainingSettings.max_length
    key = hashlib.sha256(f"{describe_backbone(backbone)['sha256']} {max_length}".encode())
    for title, description in zip(questions.titles, questions.descriptions, strict=True):
        key.update(f"{len(title)} {len(description)} {title}{description}".encode(errors="surrogatepass"))
    return cached_array("vectors", key.hexdigest(), lambda: _compute(backbone, max_length, questions))


def _compute(backbone: Path, max_length: int, questions: Part) -> np.ndarray:
    from transformers import DataCollatorWithPadding, Trainer, logging

    from training.frozen import Embedder
    from training.model import build_model

    logging.set_verbosity_error()
    tokenizer = load_backbone_tokenizer(backbone, max_length)
    model = build_model(backbone, tokenizer, questions)
    tokens = Tokens(tokenizer, questions, FIELDS)
    with tempfile.TemporaryDirectory() as unused:
        arguments = training_arguments(TrainingSettings(), TrainingSettings.seed, Path(unused))
        embedder = Trainer(Embedder(model), arguments, DataCollatorWithPadding(tokenizer), eval_dataset=tokens)
        print(f"computing the vectors of {len(questions)} questions")
        return predict_by_length(embedder, tokens)
