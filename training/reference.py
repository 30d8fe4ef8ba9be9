"""The reference's recipe, so that recipe can stand against recipe on one backbone and one split.

Description only, transformers' own classification head, one learning rate, the encoder frozen for the first half of the
training, and one fixed threshold. What no figure of the reference depended on (length grouping, early stopping, mixed
precision) is shared with our recipe, and so is the rule of one to five tags, which favours the reference: at its
threshold many questions got no tag.
"""

from pathlib import Path

from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel, Trainer

from training.questions import Part


def build_reference_model(backbone: Path, train: Part) -> PreTrainedModel:
    """Return the encoder under transformers' classification head with random weights."""
    tags = dict(enumerate(train.tags))
    return AutoModelForSequenceClassification.from_pretrained(
        backbone,
        problem_type="multi_label_classification",
        id2label=tags,
        label2id={tag: index for index, tag in tags.items()},
    )


def untrained_reference_model(config: PretrainedConfig) -> PreTrainedModel:
    """Return the network of :func:`build_reference_model` with random weights throughout."""
    config.problem_type = "multi_label_classification"
    return AutoModelForSequenceClassification.from_config(config)


class FreezeThenUnfreeze(Trainer):
    """A Trainer whose first group of parameters, the encoder, learns from the middle of the training on."""

    def create_scheduler(self, num_training_steps: int, optimizer=None) -> LambdaLR:
        def falling(step: int) -> float:
            return max(0.0, 1 - step / num_training_steps)

        def frozen_first(step: int) -> float:
            return 0.0 if 2 * step < num_training_steps else falling(step)

        trained = optimizer or self.optimizer
        assert trained is not None  # make_trainer gives one
        self.lr_scheduler = LambdaLR(trained, [frozen_first, falling])
        return self.lr_scheduler
