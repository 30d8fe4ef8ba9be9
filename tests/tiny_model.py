"""A real model folder of a few kilobytes whose tags follow from single words, so that tests can name them exactly.

The ONNX graph looks every token's row up in a table (vocabulary, tags), takes the largest entry per tag over the tokens
that the attention mask keeps, and gives that as the logit: a tag is as probable as its strongest word makes it.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tagging.similar import SIMILAR, SIMILAR_TITLES, Index, write_index
from tagging.tagger import Tagger

MAX_LENGTH = 32
NO_EVIDENCE = -6.0  # logit of a tag none of whose words occurs: probability 0.0025

# word: {tag: logit}; 0.0 is probability 0.5, 2.0 is 0.88, 4.0 is 0.98
WORDS = {
    "python": {"python": 4.0},
    "dataframe": {"pandas": 3.0, "python": 1.0},
    "csv": {"pandas": -0.5},
    "layers": {"deep-learning": 2.0, "neural-network": 2.5},
    "gradient": {"deep-learning": 3.5, "optimization": -0.2},
    "shrubbery": {"<script>": 3.0},
    "everything": {
        "python": 1.0, "pandas": 1.2, "deep-learning": 1.4, "neural-network": 1.6, "optimization": 1.8, "c++": 2.0
    },
}  # fmt: skip
TAGS = ["python", "pandas", "deep-learning", "neural-network", "optimization", "c++", "<script>"]
THRESHOLDS = dict.fromkeys(TAGS, 0.5) | {"pandas": 0.3}
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def build_model_folder(folder: Path, **settings: object) -> Path:
    """Write a model folder (see deployment/tagging/model_folder.py) with ``settings`` in its tagger.json; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = SPECIAL_TOKENS + list(WORDS)
    build_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    onnx.save(build_graph(vocabulary), folder / "model_quantized.onnx")
    write_json(folder / "tag_types_encoded.json", {tag: index for index, tag in enumerate(TAGS)})
    write_json(folder / "thresholds.json", {"global": 0.5, "per_tag": THRESHOLDS})
    write_json(folder / "tagger.json", settings)
    return folder


def add_index(folder: Path, titles: list[str], show_titles: bool) -> None:
    """Add an index of questions with the ids 1, 2, ... and the tags of the tiny model to a model folder."""
    tagger = Tagger(folder)
    rows = [[TAGS.index(tag) for tag, _ in tagger.tag(title, "")] for title in titles]
    index = Index.of(tagger.vectors(titles, [""] * len(titles)), range(1, len(titles) + 1), rows)
    write_index(index, folder / SIMILAR)
    if show_titles:
        (folder / SIMILAR_TITLES).write_text("".join(f"{title}\n" for title in titles), encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def build_tokenizer(vocabulary: list[str]) -> Tokenizer:
    """Return a tokenizer of whole words that joins pairs, truncates and pads as the trained ones do."""
    token_ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(token_ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", token_ids["[CLS]"]), ("[SEP]", token_ids["[SEP]"])],
    )
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.enable_padding(pad_id=token_ids["[PAD]"], pad_token="[PAD]")
    return tokenizer


def build_graph(vocabulary: list[str]) -> onnx.ModelProto:
    """Return the ONNX model: input_ids and attention_mask (n, length) int64 -> logits (n, num_labels) float32.

    Its second output, vector, is the same.
    """
    evidence = np.full((len(vocabulary), len(TAGS)), NO_EVIDENCE, dtype=np.float32)
    for word, logits in WORDS.items():
        for tag, logit in logits.items():
            evidence[vocabulary.index(word), TAGS.index(tag)] = logit
    # Padding would win every maximum if the mask were ignored, so a test notices.
    evidence[vocabulary.index("[PAD]")] = 9.0
    nodes = [
        helper.make_node("Gather", ["evidence", "input_ids"], ["per_token"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.BOOL),
        helper.make_node("Unsqueeze", ["kept", "last_axis"], ["kept_column"]),
        helper.make_node("Where", ["kept_column", "per_token", "no_evidence"], ["masked"]),
        helper.make_node("ReduceMax", ["masked", "token_axis"], ["logits"], keepdims=0),
        helper.make_node("Identity", ["logits"], ["vector"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(TAGS)]) for name in ("logits", "vector")
    ]
    constants = [
        numpy_helper.from_array(evidence, "evidence"),
        numpy_helper.from_array(np.array(NO_EVIDENCE, dtype=np.float32), "no_evidence"),
        numpy_helper.from_array(np.array([2]), "last_axis"),
        numpy_helper.from_array(np.array([1]), "token_axis"),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
