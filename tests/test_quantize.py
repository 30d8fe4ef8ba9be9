"""int8: what it must not lose, and that a model which loses too much is refused."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from data.files import write_questions
from onnx_export import int8, quantize
from onnx_export.evaluation.evaluate import loses_too_much
from tagging.tagger import import_onnxruntime
from tests.tiny_backbones import other_config
from tests.tiny_model import TAGS, build_model_folder
from training.model import QuestionTagger, write_onnx

QUESTIONS = {
    "python": ["python"],
    "gradient": ["deep-learning"],
    "dataframe": ["python", "pandas"],
    "layers": ["deep-learning", "neural-network"],
}


@pytest.fixture
def arguments(tmp_path):
    """A model that is always right in fp32, with an unused word so large that one scale for all would lose the rest."""
    folder = build_model_folder(tmp_path / "models" / "tiny" / "onnx")
    model = onnx.load(folder / "model_quantized.onnx")
    (folder / "model_quantized.onnx").unlink()
    evidence = next(tensor for tensor in model.graph.initializer if tensor.name == "evidence")
    values = numpy_helper.to_array(evidence).copy()
    values[-1] = 1e6
    evidence.CopyFrom(numpy_helper.from_array(values, "evidence"))
    onnx.save(model, folder / "model.onnx")

    rows = [[word, "", tags, f"https://site/{word}"] for word, tags in QUESTIONS.items()]
    rows += [[part, "", ["python"], f"https://site/{part}"] for part in ("train", "test")]
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_filtered.csv", questions)
    splits = [*["validation"] * len(QUESTIONS), "train", "test"]
    questions.assign(split=splits)[["url", "split"]].to_csv(tmp_path / "split.csv", index=False)
    (tmp_path / "tag_types_encoded.json").write_text(json.dumps({tag: index for index, tag in enumerate(TAGS)}))
    return ["--model", "tiny", "--data-dir", str(tmp_path), "--models-dir", str(tmp_path / "models")], folder


def test_a_large_word_vector_does_not_affect_other_words(arguments, monkeypatch):
    command, folder = arguments
    monkeypatch.setattr(int8, "MIN_ROWS", 10)  # of the 11 words; the table has 7 columns
    quantize.main(command)
    report = json.loads((folder / "quantization.json").read_text())
    assert report["fp32"]["f1_micro"] > 0.9
    assert report["drop"] == {"f1_micro": 0.0, "f1_macro": 0.0}
    assert report["same_tags"] == 1.0
    stored = onnx.load(folder / "model_quantized.onnx").graph.initializer
    assert {tensor.name for tensor in stored if tensor.data_type == onnx.TensorProto.INT8} == {"evidence_int8"}


def test_a_loss_over_the_limit_is_rejected_without_allow_drop(arguments, monkeypatch):
    command, folder = arguments
    quantized = quantize.quantize

    def spoil(folder, output, validation):
        quantized(folder, output, validation)
        model = onnx.load(output)
        evidence = next(tensor for tensor in model.graph.initializer if tensor.name == "evidence")
        evidence.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(evidence)[::-1].copy(), "evidence"))
        onnx.save(model, output)

    monkeypatch.setattr(quantize, "quantize", spoil)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit, match=r"loses 0\.\d+ \[\+0.* micro F1 .* nothing was written.* --allow-drop"):
        quantize.main(command)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    quantize.main([*command, "--allow-drop"])
    assert (folder / "model_quantized.onnx").is_file()


@pytest.mark.parametrize(
    ("drop", "drop_interval", "rejected"),
    [
        (0.0059, [-0.0061, 0.0179], False),  # one tag of 44 questions
        (0.0059, [0.0021, 0.0097], True),
        (0.0041, [0.0021, 0.0061], False),
        (0.0059, None, True),  # of an older quantization.json
    ],
)
def test_a_loss_that_chance_explains_is_within_the_limit(drop, drop_interval, rejected):
    report = {"drop": {"f1_micro": drop, "f1_macro": 0.0}} | ({"drop_interval": drop_interval} if drop_interval else {})
    assert loses_too_much(report) is rejected


def test_the_thresholds_favour_the_average_that_is_asked_for(arguments):
    command, folder = arguments
    tunings = []
    for options in ([], ["--favour", "micro"], [], ["--favour", "macro"]):
        quantize.main([*command, *options, "--force"])
        thresholds = json.loads((folder / "thresholds.json").read_text())
        tunings.append(thresholds["tuning"])
        assert (len(set(thresholds["per_tag"].values())) == 1) == (thresholds["tuning"] == "one for all tags")
    assert tunings == ["one per tag", "one for all tags", "one for all tags", "one per tag, for macro F1"]


def relative_error(activations: np.ndarray, weights: np.ndarray) -> float:
    """What quantize_matrices costs a product, as the mean error of its values against their mean size."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["questions", "tokens", len(weights)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    product = helper.make_node("MatMul", ["x", "weights"], ["y"])
    graph = helper.make_graph([product], "product", [x], [y], [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", int8.OPSET)], ir_version=10)

    def run() -> np.ndarray:
        return import_onnxruntime().InferenceSession(model.SerializeToString()).run(None, {"x": activations})[0]

    expected = run()
    int8.quantize_matrices(model, [{"x": activations}])
    assert [node.op_type for node in model.graph.node].count("MatMulIntegerToFloat") == 1
    return float(np.abs(run() - expected).mean() / np.abs(expected).mean())


@pytest.fixture
def product():
    """Activations of two questions of nine tokens, and a matrix."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 9, 64)).astype(np.float32), rng.normal(size=(64, 32)).astype(np.float32)


def test_a_product_differs_by_about_one_percent(product):
    assert 0 < relative_error(*product) < 0.011


def test_a_large_channel_does_not_affect_the_others(product):
    activations, weights = product
    activations[..., 7] *= 300
    weights[7] /= 300
    assert relative_error(activations, weights) < 0.011


def test_a_large_token_does_not_affect_the_others(product):
    activations, weights = product
    small = relative_error(activations, weights)
    activations[1, 3] *= 300
    assert relative_error(activations, weights) < 2 * small


def test_activations_after_gelu_and_relu_use_the_whole_range(product):
    activations, weights = product
    gelu = activations / (1 + np.exp(-1.702 * activations))
    assert relative_error(gelu, weights) < 0.0095
    assert relative_error(np.maximum(activations, 0), weights) < 0.0085
    gelu[0] = gelu[0].clip(max=-0.1)  # tokens without a positive one
    assert relative_error(gelu, weights) < 0.012


def test_a_token_of_zeros_stays_zero(product):
    activations, weights = product
    activations[0, 3] = 0
    assert relative_error(activations, weights) < 0.011


def operators(activations: np.ndarray, bias: np.ndarray, limit: float) -> list[str]:
    """The operators of an int8 product to which a bias is added, and which differs by at most ``limit``."""
    weights = np.random.default_rng(1).normal(size=(activations.shape[-1], len(bias))).astype(np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["questions", "tokens", len(weights)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["xw"]), helper.make_node("Add", ["bias", "xw"], ["y"])]
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "layer", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", int8.OPSET)], ir_version=10)
    int8.quantize_matrices(model, [{"x": activations}])
    values = import_onnxruntime().InferenceSession(model.SerializeToString()).run(None, {"x": activations})[0]
    assert np.abs(values - (activations @ weights + bias)).mean() < limit * np.abs(activations @ weights).mean()
    return [node.op_type for node in model.graph.node]


def test_similar_tokens_share_a_scale_that_needs_no_arithmetic_at_run_time(product):
    activations, _ = product
    bias = np.arange(32, dtype=np.float32)
    assert operators(activations, bias, 0.011) == ["Mul", "QuantizeLinear", "MatMulIntegerToFloat"]
    activations[1, 3] *= 100
    assert {"ReduceMax", "Add"} <= set(operators(activations, bias, 0.03))


@pytest.mark.parametrize("inputs", [64, 65])
def test_the_sum_of_two_neighbouring_products_fits_into_16_bits(inputs):
    weights = np.random.default_rng(0).standard_t(2, size=(inputs, 200))
    rounded, scales = int8.round_columns(weights)
    pairs = np.pad(rounded.astype(int), ((0, inputs % 2), (0, 0))).reshape(-1, 2, 200)
    greatest = np.maximum(*(np.maximum(signed, 0).sum(axis=1).max(axis=0) for signed in (pairs, -pairs)))
    assert 255 * greatest.max() < 2**15
    assert greatest.min() >= 126  # and no neuron is rounded more coarsely than that asks for
    assert (np.abs(rounded * scales - weights) <= 0.501 * scales).all()


def largest_change(model, feeds) -> float:
    """How much a logit changes at most, in shares of the largest, when a model is quantized in place."""

    def run() -> np.ndarray:
        session = import_onnxruntime().InferenceSession(model.SerializeToString())
        return np.stack([session.run(None, feed)[0] for feed in feeds])

    expected = run()
    int8.quantize_matrices(model, feeds)
    int8.quantize_tables(model)
    return float(np.abs(run() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    "architecture",
    ["albert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"],
)
def test_every_architecture_is_quantized_and_becomes_smaller(architecture, tmp_path):
    torch.manual_seed(0)
    config = other_config(architecture)
    tagger = QuestionTagger(config)
    torch.nn.init.normal_(tagger.classifier.weight)
    write_onnx(tagger.eval(), tmp_path / "model.onnx")
    model = onnx.version_converter.convert_version(onnx.load(tmp_path / "model.onnx"), int8.OPSET)
    before = len(model.SerializeToString())

    ids = np.random.default_rng(0).integers(5, config.vocab_size, (3, 1, 20))
    names = {model_input.name for model_input in model.graph.input}
    feeds = [{"input_ids": row, "attention_mask": row > 0, "token_type_ids": 0 * row} for row in ids]
    feeds = [{name: values.astype(np.int64) for name, values in feed.items() if name in names} for feed in feeds]
    assert 0 < largest_change(model, feeds) < 0.03
    assert len(model.SerializeToString()) < before
    assert "MatMulIntegerToFloat" in {node.op_type for node in model.graph.node}


def test_a_shared_matrix_is_stored_once_and_kept_for_other_nodes():
    rng = np.random.default_rng(0)
    shared, also_added, table = (rng.normal(size=(600, 600)).astype(np.float32) for _ in range(3))
    make = helper.make_node
    nodes = [
        make("Gather", ["table", "rows"], ["x"]),
        make("Gather", ["table", "rows"], ["again"]),
        make("MatMul", ["x", "shared"], ["once"]),
        make("MatMul", ["once", "shared"], ["twice"]),  # another input, the same matrix
        make("MatMul", ["x", "also_added"], ["other"]),
        make("Add", ["other", "also_added"], ["sum"]),
        make("Sum", ["twice", "sum", "again"], ["y"]),
    ]
    matrices = {"shared": shared, "also_added": also_added, "table": table}
    graph = helper.make_graph(
        nodes,
        "shared",
        [helper.make_tensor_value_info("rows", TensorProto.INT64, [600])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in matrices.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", int8.OPSET)], ir_version=10)
    assert largest_change(model, [{"rows": np.arange(600)}]) < 0.03
    stored = [tensor for tensor in model.graph.initializer if tensor.dims == [600, 600]]
    assert sum(tensor.data_type == TensorProto.INT8 for tensor in stored) == 3
    assert [tensor.name for tensor in stored if tensor.data_type == TensorProto.FLOAT] == ["also_added"]
