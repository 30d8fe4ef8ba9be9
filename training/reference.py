"""The reference's recipe, so that recipe can stand against recipe on one backbone and one split.

Transformers' own classification head with random weights, trained in two phases: the encoder frozen, then the whole,
with learning rates that rise from the lowest layer to the highest. Each phase has a one-cycle schedule of its own
(Smith and Topin 2019, "Super-convergence"), with fastai's settings. As the reference did, "reference" reads
descriptions alone and suggests at 0.5; "reference-tuned" is the same network given what our recipe is given: title and
description, and a threshold tuned on validation. What no figure of the reference depended on (length grouping, early
stopping once the whole is trained, mixed precision) is shared with our recipe, and so is the rule of at least one tag,
which favours the reference: at its threshold many questions got no tag.
"""

from pathlib import Path

from torch.optim.lr_scheduler import OneCycleLR
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel, Trainer

from training.dataset import Part
from training.model import layer_depths

LOWEST = 0.1  # the lowest layer's learning rate over the highest's
RISING, FIRST, LAST = 0.25, 1 / 25, 1e-5  # the share of updates in which the rate rises; its ends over its peak
MIN_UPDATES = 5  # OneCycleLR divides by zero in 4


def build_reference_model(backbone: Path, train: Part, frozen: bool) -> PreTrainedModel:
    """Return the encoder, ``frozen`` or not, under transformers' classification head with random weights."""
    tags = dict(enumerate(train.tags))
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone,
        use_safetensors=True,
        problem_type="multi_label_classification",
        id2label=tags,
        label2id={tag: index for index, tag in tags.items()},
    )
    model.base_model.requires_grad_(not frozen)
    return model


def untrained_reference_model(config: PretrainedConfig) -> PreTrainedModel:
    """Return the network of :func:`build_reference_model` with random weights throughout."""
    config.problem_type = "multi_label_classification"
    return AutoModelForSequenceClassification.from_config(config)


def rates_by_depth(model: PreTrainedModel, highest: float) -> dict[str, float]:
    """Return each parameter's learning rate: ``highest`` of the last layer and the head, falling geometrically to
    LOWEST times that of the embeddings."""
    depths = layer_depths(model)
    top = max(depths.values())
    return {name: highest * LOWEST ** (1 - depth / top) if top else highest for name, depth in depths.items()}


class OneCycleTrainer(Trainer):
    """A Trainer in which each learning rate rises to that of the optimizer and falls to almost nothing."""

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        trained = optimizer or self.optimizer
        assert trained is not None  # make_trainer gives one
        self.lr_scheduler = OneCycleLR(  # type: ignore[assignment]  # typed as one of transformers' own
            trained,
            [group["lr"] for group in trained.param_groups],
            total_steps=max(num_training_steps, MIN_UPDATES),
            pct_start=RISING,
            div_factor=1 / FIRST,
            final_div_factor=FIRST / LAST,
        )
        return self.lr_scheduler
