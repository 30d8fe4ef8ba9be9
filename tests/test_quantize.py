"""The int8 gate, on a model whose loss is made on purpose: it gets its remedy, or is refused."""

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
    "shrubbery": ["<script>"],
}


@pytest.fixture
def arguments(tmp_path):
    """A model that is always right in fp32, with one unused word whose entry is so large that int8 loses the others."""
    folder = build_model_folder(tmp_path / "models" / "tiny" / "onnx")
    (folder / "thresholds_quantized.json").replace(folder / "thresholds.json")
    model = onnx.load(folder / "model_quantized.onnx")
    (folder / "model_quantized.onnx").unlink()
    evidence = next(tensor for tensor in model.graph.initializer if tensor.name == "evidence")
    values = numpy_helper.to_array(evidence).copy()
    values[-1] = 1e6
    evidence.CopyFrom(numpy_helper.from_array(values, "evidence"))
    model.graph.node[0].name = "/embeddings/word_embeddings/Gather"
    onnx.save(model, folder / "model.onnx")

    rows = [[word, "", tags, f"https://site/{word}"] for word, tags in QUESTIONS.items()]
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_filtered.csv", questions)
    questions.assign(split="validation")[["url", "split"]].to_csv(tmp_path / "split.csv", index=False)
    (tmp_path / "tag_types_encoded.json").write_text(json.dumps({tag: index for index, tag in enumerate(TAGS)}))
    return ["--model", "tiny", "--data-dir", str(tmp_path), "--models-dir", str(tmp_path / "models")], folder


def test_a_loss_gets_its_remedy(arguments, capsys):
    command, folder = arguments
    quantize.main(command)
    report = json.loads((folder / "quantization.json").read_text())
    assert report["recipe"] == "int8, fp32 embeddings"
    assert report["drop"]["f1_micro"] <= quantize.MAX_DROP
    assert report["fp32"]["f1_micro"] > 0.9
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[: len(quantize.RECIPES)]] == list(quantize.RECIPES)


def test_a_loss_without_remedy_is_refused_unless_allowed(arguments, monkeypatch):
    command, folder = arguments
    monkeypatch.delitem(quantize.RECIPES, "int8, fp32 embeddings")
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(SystemExit, match=r"loses 0\.\d+ micro F1 .* nothing was written.* --allow-drop"):
        quantize.main(command)
    assert sorted(path.name for path in folder.iterdir()) == before
    quantize.main([*command, "--allow-drop"])
    assert (folder / "model_quantized.onnx").is_file()
