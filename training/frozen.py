"""Train the head alone, on the vectors of the questions, which the frozen encoder computes once."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import StackDataset
from transformers import Trainer, default_data_collator

from training.model import QuestionTagger
from training.predictions import predict_by_length
from training.tokenized import TokenizedQuestions

DROPOUT = 0.3  # of the vectors' components: without dropout of its own, the encoder does not regularize the head


class Embedder(nn.Module):
    """The network without its head, for a Trainer that predicts the questions' vectors."""

    def __init__(self, model: QuestionTagger):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids=None) -> dict[str, torch.Tensor]:
        return {"vectors": self.model.embed(input_ids, attention_mask, token_type_ids)}


def use_vectors(trainer) -> None:
    """Replace the questions of a Trainer, whose QuestionTagger has a frozen encoder, by their vectors.

    The vectors are those of evaluation, without dropout. A bar shows the time that they take.
    """
    trainer.model.dropout.p = DROPOUT
    trainer.args.group_by_length = False  # vectors have no length, and those of the questions are sorted here
    embedder = Trainer(Embedder(trainer.model), trainer.args, trainer.data_collator, eval_dataset=trainer.eval_dataset)
    for name in ("train_dataset", "eval_dataset"):
        questions = getattr(trainer, name)
        if trainer.is_world_process_zero():
            print(f"computing the vectors of {len(questions)} questions")
        setattr(trainer, name, _with_vectors(embedder, questions))
    trainer.data_collator = default_data_collator


def _with_vectors(embedder, questions: TokenizedQuestions) -> StackDataset:
    """Return the vector of each question, in their order, with its labels and its weight."""
    vectors = predict_by_length(embedder, questions.tokens)
    columns: dict = {"vectors": vectors, "labels": questions.targets.astype(np.float32)}
    if questions.weights is not None:
        columns["weights"] = questions.weights.astype(np.float32)
    return StackDataset(**columns)
