"""The network: a pretrained encoder, the mean of its token vectors, and a linear layer with one logit per tag."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tagging.decision import calibrate_logits
from tagging.encoding import encode, load_tokenizer
from tagging.model_folder import read_settings
from tagging.tagger import VECTOR
from training.backbones import BackboneError, refuse_code
from training.calibration import fit_platt, shown_error
from training.dataset import Part
from training.losses import CROSS_ENTROPY, LOSSES, divergence
from training.recipes import MEAN, SCALED_MEAN


def mean_of_tokens(tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the mean, shape (n, hidden_size), of the token vectors that the mask, shape (n, length), keeps."""
    kept = attention_mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * kept).sum(dim=1) / kept.sum(dim=1)


def scaled_mean_of_tokens(tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return :func:`mean_of_tokens`, scaled to a mean square of 1, as in RMSNorm (Zhang & Sennrich 2019).

    The more tokens, the shorter is their mean, and a head over it would be the less sure, the longer the question.
    """
    mean = mean_of_tokens(tokens, attention_mask)
    return mean / mean.square().mean(dim=1, keepdim=True).add(1e-12).sqrt()


POOLS = {MEAN: mean_of_tokens, SCALED_MEAN: scaled_mean_of_tokens}


class QuestionTagger(PreTrainedModel):
    """A multi-label classifier over any encoder of transformers; ``config`` is the encoder's, with ``id2label`` set,
    and ``pooling``, a key of POOLS; without it, as in older folders, MEAN.

    The mean over tokens, rather than the first token's vector, is what sentence encoders such as all-MiniLM-L6-v2 were
    trained with (Reimers & Gurevych 2019, "Sentence-BERT").

    The loss is the one that ``loss_name`` gives in training/losses.py. In training every question passes twice, with
    different dropout, and the distance between the two answers, weighted by ``consistency``, is added (Liang et al.
    2021, "R-Drop"): it regularizes the training on a small data set. A weight of 0 saves the second pass, half of the
    time.

    A question counts in the loss by its weight.
    """

    config_class = PretrainedConfig  # type: ignore[assignment]
    base_model_prefix = "encoder"

    def __init__(self, config: PretrainedConfig):
        super().__init__(config)
        self.encoder = without_pooler(AutoModel.from_config(config))
        self.pool = POOLS[getattr(config, "pooling", MEAN)]
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.loss_name = CROSS_ENTROPY
        self.consistency = 0.0
        self.post_init()

    def embed(self, input_ids, attention_mask, token_type_ids=None) -> torch.Tensor:
        """Return the vectors of questions, shape (n, hidden_size)."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        return self.pool(tokens, attention_mask)

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None, weights=None, vectors=None
    ) -> SequenceClassifierOutput:
        """Return logits of shape (n, num_labels), of the first pass, and, given float ``labels`` alike, the loss.

        The loss is a mean over questions, weighted by ``weights`` of shape (n,).
        Given the questions' ``vectors``, those of :meth:`embed`, the encoder is left out.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        inputs = {"vectors": vectors} if vectors is not None else inputs
        passes = 2 if self.training and labels is not None and self.consistency else 1
        if passes == 2:
            inputs = {name: None if values is None else torch.cat([values, values]) for name, values in inputs.items()}
        pooled = inputs["vectors"] if vectors is not None else self.embed(**inputs)
        logits = self.classifier(self.dropout(pooled)).float()
        if labels is None:
            return SequenceClassifierOutput(logits=logits)  # type: ignore[arg-type]  # it asks for FloatTensor
        of_question = LOSSES[self.loss_name](logits, labels.repeat(passes, 1))
        if passes == 2:
            first, second = logits.chunk(2)
            of_question = of_question.view(2, -1).mean(dim=0) + self.consistency * divergence(first, second)
            logits = first
        loss = of_question.mean() if weights is None else (of_question * weights).sum() / weights.sum()
        return SequenceClassifierOutput(loss=loss, logits=logits)  # type: ignore[arg-type]  # it asks for FloatTensor


def without_pooler(encoder: PreTrainedModel) -> PreTrainedModel:
    """Remove the pooling layer, which nothing here uses."""
    if hasattr(encoder, "pooler"):
        encoder.pooler = nn.Identity()  # type: ignore[assignment]  # SqueezeBERT calls it without asking for None
    return encoder


def takes_token_types(config: PretrainedConfig) -> bool:
    """Return whether an encoder distinguishes title and description by token types; RoBERTa has a single type."""
    return getattr(config, "type_vocab_size", 0) > 1


def write_onnx(model: PreTrainedModel, file: Path) -> None:
    """Export a model to ONNX, with dynamic batch and length. It raises what optimum and torch raise."""
    from optimum.exporters.onnx import export
    from optimum.exporters.tasks import TasksManager

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # constants of the mask; logits are checked
        config_class = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=model.config.model_type, task="text-classification", library_name="transformers"
        )
        export(model, config_class(model.config), file)
    add_vectors(file)


def add_vectors(file: Path) -> None:
    """Make what the linear head of an ONNX model reads its second output, where the tagger finds similar questions."""
    import onnx

    model = onnx.load(file)
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    weights = {initializer.name: initializer for initializer in graph.initializer}
    node = made_by[graph.output[0].name]
    while not weights.keys() & set(node.input):  # past a cast of the logits
        node = made_by[node.input[0]]
    (size,) = {weights[name].dims[1] for name in node.input if name in weights and len(weights[name].dims) == 2}
    graph.node.append(onnx.helper.make_node("Identity", [node.input[0]], [VECTOR]))
    graph.output.append(onnx.helper.make_tensor_value_info(VECTOR, onnx.TensorProto.FLOAT, ["batch_size", size]))
    onnx.save(model, file)


def layer_depths(model: PreTrainedModel) -> dict[str, int]:
    """Return each parameter's layer, counted from the input: 0 of the embeddings, and the last layer's of all above."""
    depths: dict[str, int] = {}
    depth = 0
    for name, _ in model.named_parameters():  # in the order of the network
        number = re.search(r"\.(\d+)\.", name)
        depth = int(number[1]) + 1 if number else depth
        depths[name] = depth
    return depths


def calibrate_head(model, targets: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Calibrate the probabilities on validation questions, by scaling the weights of the head.

    Returns
    -------
    for run.json: slope and intercept of the line by which the logits change, and the calibration errors
    """
    slope, intercept = fit_platt(targets, logits)
    with torch.no_grad():
        model.classifier.weight.mul_(slope)
        model.classifier.bias.mul_(slope).add_(intercept)
    calibrated = slope * logits + intercept
    before, after = (shown_error(targets, scores) for scores in (logits, calibrated))
    return {"slope": slope, "intercept": intercept, "error_before": before, "error_after": after}


def load_trained(folder: Path) -> PreTrainedModel:
    """Return the model that training/finetune.py saved, of either recipe, in evaluation mode."""
    refuse_code(folder)
    config = AutoConfig.from_pretrained(folder)
    model_class = QuestionTagger if config.architectures == ["QuestionTagger"] else AutoModelForSequenceClassification
    return model_class.from_pretrained(folder, config=config, use_safetensors=True).eval()


def pytorch_scorer(folder: Path) -> Callable[[str, str], np.ndarray]:
    """Return a function from (title, description) to the PyTorch model's logits, an array of shape (num_labels,).

    They are calibrated, as :meth:`tagging.tagger.Tagger.logits`.
    """
    model = load_trained(folder)
    settings = read_settings(folder)
    tokenizer, _ = load_tokenizer(folder / "tokenizer.json", settings.max_length)

    @torch.inference_mode()
    def score(title: str, description: str) -> np.ndarray:
        encoding = encode(tokenizer, [title], [description], settings.fields)[0]
        inputs = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
        if takes_token_types(model.config):
            inputs["token_type_ids"] = encoding.type_ids
        logits = model(**{name: torch.tensor([ids]) for name, ids in inputs.items()}).logits.numpy()
        return calibrate_logits(logits, [title], [description], settings)[0]

    return score


def build_model(backbone: Path, tokenizer, train: Part, pooling: str = MEAN) -> QuestionTagger:
    """Return the pretrained encoder under a head that starts from what is known before training.

    The bias starts at each tag's log odds among the training questions, so that no epoch is spent on learning that tags
    are rare (Lin et al. 2017, "Focal loss for dense object detection", section 3.3). The weights start at the encoder's
    own vectors of the tags' names, so that a tag is likelier for a question that resembles it before a single example.

    ``pooling`` is a key of POOLS.

    Raises
    ------
    BackboneError : the folder does not hold the weights of an encoder
    """
    tags = dict(enumerate(train.tags))
    config = AutoConfig.from_pretrained(backbone, id2label=tags, label2id={tag: index for index, tag in tags.items()})
    config.pooling = pooling
    encoder, loading = AutoModel.from_pretrained(backbone, output_loading_info=True, use_safetensors=True)
    missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        raise BackboneError(f"{backbone}: no weights of a {config.model_type} encoder, {missing[0]} and others missing")

    model = QuestionTagger(config)
    model.encoder = without_pooler(encoder)
    # Word vectors, half of the weights of a small encoder, are not trained: a site has too few examples of most words.
    model.encoder.get_input_embeddings().requires_grad_(False)
    weights = np.ones(len(train)) if train.weights is None else train.weights
    prior = (weights @ train.targets + 1) / (weights.sum() + 2)  # Laplace's rule, for a tag without a question
    model.classifier.bias.data = torch.tensor(np.log(prior / (1 - prior)), dtype=torch.float32)
    model.classifier.weight.data = tag_vectors(model.encoder, tokenizer, train.tags)
    return model


@torch.no_grad()
def tag_vectors(encoder: PreTrainedModel, tokenizer, tags: list[str]) -> torch.Tensor:
    """Return unit vectors of the tags' names, shape (num_labels, hidden_size), around their common mean."""
    encoder.eval()
    names = [tag.replace("-", " ") for tag in tags]
    vectors = []
    for encoding in encode(tokenizer.backend_tokenizer, names, [""] * len(names)):
        mask = torch.tensor([encoding.attention_mask])
        tokens = encoder(input_ids=torch.tensor([encoding.ids]), attention_mask=mask).last_hidden_state
        vectors.append(mean_of_tokens(tokens, mask)[0])
    stacked = torch.stack(vectors)
    return nn.functional.normalize(stacked - stacked.mean(dim=0), dim=1)
