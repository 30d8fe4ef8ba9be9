"""int8: what it must not lose, and that a model which loses too much is refused."""

import json

import onnx
import pandas as pd
import pytest
from onnx import numpy_helper

from data.files import write_questions
from onnx_export import quantize
from tests.tiny_model import TAGS, build_model_folder

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
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_filtered.csv", questions)
    questions.assign(split="validation")[["url", "split"]].to_csv(tmp_path / "split.csv", index=False)
    (tmp_path / "tag_types_encoded.json").write_text(json.dumps({tag: index for index, tag in enumerate(TAGS)}))
    return ["--model", "tiny", "--data-dir", str(tmp_path), "--models-dir", str(tmp_path / "models")], folder


def test_a_large_vector_costs_other_words_nothing(arguments, monkeypatch):
    command, folder = arguments
    monkeypatch.setattr(quantize, "LEAST_ROWS", 1)
    quantize.main(command)
    report = json.loads((folder / "quantization.json").read_text())
    assert report["fp32"]["f1_micro"] > 0.9
    assert report["drop"] == {"f1_micro": 0.0, "f1_macro": 0.0}
    assert report["same_tags"] == 1.0
    stored = onnx.load(folder / "model_quantized.onnx").graph.initializer
    assert {tensor.name for tensor in stored if tensor.data_type == onnx.TensorProto.INT8} == {"evidence_int8"}


def test_a_loss_over_the_limit_is_refused_unless_allowed(arguments, monkeypatch):
    command, folder = arguments
    monkeypatch.setattr(quantize, "MAX_DROP", -0.001)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit, match=r"loses 0\.\d+ micro F1 .* nothing was written.* --allow-drop"):
        quantize.main(command)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    quantize.main([*command, "--allow-drop"])
    assert (folder / "model_quantized.onnx").is_file()
