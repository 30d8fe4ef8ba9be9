"""The vectors of questions by a pretrained encoder, computed once and kept in the user's cache."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from tagging.files import atomic_path
from tagging.settings import FIELDS
from training.backbones import cache_folder, find_backbone, is_writable, temporary_folder
from training.dataset import Part
from training.provenance import describe_backbone
from training.recipes import Settings
from training.trainers import load_backbone_tokenizer, make_dataset, training_arguments


def question_vectors(model: str, questions: Part) -> np.ndarray:
    """Return the vectors of questions, float array of shape (n, hidden_size), in their order.

    They are those on which finetune.py --freeze-encoder trains: of title and description, without dropout. They are
    kept in the folder ``vectors`` of the cache, by the hash of the texts, of the weights and of the number of tokens.

    Parameters
    ----------
    model : as for :func:`training.backbones.find_backbone`

    Raises
    ------
    BackboneError : the encoder cannot be had or loaded
    """
    backbone, max_length = find_backbone(model), Settings.max_length
    kept = _place(describe_backbone(backbone)["sha256"], max_length, questions)
    if kept.is_file():
        return np.load(kept, allow_pickle=False)
    vectors = _compute(backbone, max_length, questions)
    with atomic_path(kept) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)
    return vectors


def _place(weights: str, max_length: int, questions: Part) -> Path:
    digest = hashlib.sha256(f"{weights} {max_length}".encode())
    for title, description in zip(questions.titles, questions.descriptions, strict=True):
        digest.update(f"{len(title)} {len(description)} {title}{description}".encode(errors="surrogatepass"))
    folder = cache_folder() / "vectors"
    return (folder if is_writable(folder) else temporary_folder()) / f"{digest.hexdigest()}.npy"


def _compute(backbone: Path, max_length: int, questions: Part) -> np.ndarray:
    from transformers import DataCollatorWithPadding, Trainer, logging

    from training.frozen import Embedder
    from training.model import build_model
    from training.predictions import predict_by_length

    logging.set_verbosity_error()
    tokenizer = load_backbone_tokenizer(backbone, max_length)
    model = build_model(backbone, tokenizer, questions)
    dataset = make_dataset(tokenizer, questions, FIELDS)
    with tempfile.TemporaryDirectory() as unused:
        arguments = training_arguments(Settings(), Settings.seed, Path(unused))
        embedder = Trainer(Embedder(model), arguments, DataCollatorWithPadding(tokenizer), eval_dataset=dataset)
        print(f"computing the vectors of {len(questions)} questions")
        inputs = [{name: values for name, values in question.items() if name != "labels"} for question in dataset]
        return predict_by_length(embedder, inputs)
