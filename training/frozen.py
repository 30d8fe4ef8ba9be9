"""Train the head alone, on the vectors of the questions, which the frozen encoder computes once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import Trainer, default_data_collator

from training.model import QuestionTagger
from training.predictions import predict_by_length

DROPOUT = 0.3  # of the vectors' components: without dropout of its own, the encoder does not regularize the head


KEPT = ("labels", "weights")  # of a question, beside its vector


class Embedder(nn.Module):
    """The network without its head, for a Trainer that predicts the questions' vectors."""

    def __init__(self, model: QuestionTagger):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids=None) -> dict[str, torch.Tensor]:
        return {"vectors": self.model.embed(input_ids, attention_mask, token_type_ids)}


def use_vectors(trainer) -> None:
    """Freeze the encoder of the Trainer's QuestionTagger, and replace its questions by their vectors.

    The vectors are those of evaluation, without dropout. A bar shows the time that they take.
    """
    trainer.model.encoder.requires_grad_(False)
    trainer.model.dropout.p = DROPOUT
    trainer.args.group_by_length = False  # vectors have no length, and those of the questions are sorted here
    embedder = Trainer(Embedder(trainer.model), trainer.args, trainer.data_collator, eval_dataset=trainer.eval_dataset)
    for name in ("train_dataset", "eval_dataset"):
        questions = getattr(trainer, name)
        if trainer.is_world_process_zero():
            print(f"computing the vectors of {len(questions)} questions")
        setattr(trainer, name, _with_vectors(embedder, questions))
    trainer.data_collator = default_data_collator


def _with_vectors(embedder, questions: Sequence[dict]) -> list[dict]:
    """Return the vector of each question, in their order, with its labels and its weight."""
    kept = [{name: question[name] for name in KEPT if name in question} for question in questions]
    vectors = embed(embedder, questions)
    return [{"vectors": vector, **rest} for vector, rest in zip(vectors, kept, strict=True)]


def embed(embedder, questions: Sequence[dict]) -> np.ndarray:
    """Return the vectors of questions by a Trainer of an :class:`Embedder`, shape (n, hidden_size), in their order."""
    inputs = [{name: values for name, values in question.items() if name not in KEPT} for question in questions]
    return predict_by_length(embedder, inputs)
