"""Each benchmark that needs no browser, server or cluster runs at toy size; what it measures there means nothing."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import (
    bulk,
    cost,
    decisions,
    doubt,
    dump,
    fine_tuning,
    frontier,
    int8_recipes,
    rivals,
    session,
    tfidf,
    thresholds,
    vocabulary,
)
from data.decisions import REPLACE, Decision, as_jsonl
from data.files import read_questions, write_questions
from tests.tiny_backbones import save_other
from tests.tiny_model import TAGS, build_model_folder
from training import filter_tags


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The places of a tiny model, of questions with its tags, and of a random encoder."""
    data_dir = tmp_path_factory.mktemp("data")
    model = build_model_folder(tmp_path_factory.mktemp("model"))
    rows = [[f"python {TAGS[row % 2]} {row}", f"text {row}", [TAGS[row % 2]], f"u{row}"] for row in range(60)]
    questions = data_dir / "ques_details.csv"
    write_questions(questions, pd.DataFrame(rows, columns=["title", "description", "tags", "url"]))
    filter_tags.main(["--data-dir", str(data_dir), "--tags", str(model / "tag_types_encoded.json")])
    decided = [
        Decision(
            row.url, row.title, tuple(row.tags), (), (), REPLACE, (TAGS[0],), 0.5, "Ada", "2026-11-26T12:00:00+00:00"
        )
        for row in read_questions(data_dir / "ques_filtered.csv").itertuples()
    ]
    (data_dir / "decisions.jsonl").write_text(as_jsonl(decided[:30]), encoding="utf-8")
    onnx = build_model_folder(data_dir / "models" / "tiny" / "onnx")
    (onnx / "model_quantized.onnx").rename(onnx / "model.onnx")
    backbone = save_other("bert", [row[0] for row in rows], tmp_path_factory.mktemp("backbone"))
    return {"data_dir": data_dir, "model": model, "questions": questions, "backbone": backbone}


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        (bulk, "--model {model} --questions {questions} --rows 8"),
        (cost, "--model {model} --questions {questions}"),
        (decisions, "--decisions {data_dir}/decisions.jsonl --data-dir {data_dir} --model {backbone}"),
        (doubt, "--model {model} --own {questions} --other {questions}"),
        (dump, "--megabytes 1"),
        (fine_tuning, "--data-dir {data_dir} --model {backbone} --num-questions 16 --batch-size 8 --max-length 32"),
        (session, "--model {model} --questions {questions}"),
        (tfidf, "--data-dir {data_dir}"),
        (thresholds, "--model {model} --data-dir {data_dir}"),
        (vocabulary, "--model {model} --data-dir {data_dir} --other {questions}"),
    ],
    ids=lambda value: value.__name__.rpartition(".")[2] if hasattr(value, "__name__") else "",
)
def test_a_benchmark_writes_its_report(benchmark, options, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(doubt, "QUESTIONS", 10)
    monkeypatch.setattr(cost, "QUESTIONS", 3)
    report = tmp_path / "report.md"
    with contextlib.suppress(SystemExit):  # a target that is missed at this size; then the report is there, too
        benchmark.main([*options.format(**inputs).split(), "--output", str(report)])
    assert report.read_text(encoding="utf-8").startswith("# ")


def test_the_frontier_leaves_out_a_rival_that_is_not_installed(inputs, tmp_path, monkeypatch, capsys):
    def fasttext(material):
        raise ModuleNotFoundError(name="fasttext")

    makers = (rivals.tfidf, fasttext, rivals.onnxruntime_fp32, rivals.ours)
    monkeypatch.setattr(frontier, "MAKERS", makers)
    monkeypatch.setattr(frontier, "LENGTHS", (4, 8))
    models = inputs["data_dir"] / "models"
    (models / "tiny" / "run.json").write_text(json.dumps({"arguments": {"model": str(inputs["backbone"])}}))
    report = tmp_path / "frontier.md"
    places = ["--data-dir", str(inputs["data_dir"]), "--models-dir", str(models), "--output", str(report)]
    with contextlib.suppress(SystemExit):  # a target that is missed at this size
        frontier.main(["--model", "tiny", "--rounds", "1", *places])
    assert "left out: fasttext needs fasttext; python -m pip install '.[bench]'" in capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in report.read_text(encoding="utf-8").splitlines() if "|" in line]
    assert rows[2:] == ["TF-IDF, logistic regression", frontier.FP32, rivals.OURS]
    assert report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_frontier_names_what_is_ahead_of_the_served_tagger():
    def rival(name, **of):
        return rivals.Rival(name, score=None, size=of.pop("size", 24.0), **of)

    compared = [rival(frontier.FP32, size=90.0), rival(rivals.OURS), rival("faster"), rival("worse")]
    compared.append(rival("words", size=1.0, is_transformer=False))
    f1 = {frontier.FP32: 0.5, rivals.OURS: 0.5, "faster": 0.496, "worse": 0.49, "words": 0.51}
    figures = {name: {"f1_micro": value, "same_tags": 0.98} for name, value in f1.items()}
    ms = {frontier.FP32: 9.0, rivals.OURS: 3.0, "faster": 2.0, "worse": 1.0, "words": 0.1}
    times = {length: {name: np.full(10, value) for name, value in ms.items()} for length in (12, 125)}
    assert frontier.missed_targets(compared, figures, times) == [
        "faster takes 0.67 of its time at 12 tokens",
        "faster takes 0.67 of its time at 125 tokens",
        "words is better, faster and smaller",
    ]


def test_every_int8_recipe_is_compared_with_fp32(inputs, tmp_path):
    report = tmp_path / "report.md"
    places = ["--data-dir", str(inputs["data_dir"]), "--models-dir", str(inputs["data_dir"] / "models")]
    int8_recipes.main([*places, "--model", "tiny", "--rounds", "1", "--output", str(report)])
    lines = report.read_text(encoding="utf-8").splitlines()
    heading, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|"))
    assert heading[1:5] == ["micro F1", "macro F1", "same tags as fp32", "same in batches of 32"]
    assert [row[0] for row in rows] == ["fp32", *int8_recipes.recipes(None)]
    assert {tuple(row[1:5]) for row in rows} == {(rows[0][1], rows[0][2], "1.000", "1.000")}  # all weights are alike
