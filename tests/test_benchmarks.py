"""Each benchmark that needs no browser, server or cluster runs at toy size; what it measures there means nothing."""

import contextlib

import pandas as pd
import pytest

from benchmarks import bulk, cost, doubt, dump, fine_tuning, session, tfidf, vocabulary
from data.files import write_questions
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
    backbone = save_other("bert", [row[0] for row in rows], tmp_path_factory.mktemp("backbone"))
    return {"data_dir": data_dir, "model": model, "questions": questions, "backbone": backbone}


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        (bulk, "--model {model} --questions {questions} --rows 8"),
        (cost, "--model {model} --questions {questions}"),
        (doubt, "--model {model} --own {questions} --other {questions}"),
        (dump, "--megabytes 1"),
        (fine_tuning, "--data-dir {data_dir} --model {backbone} --num-questions 16 --batch-size 8 --max-length 32"),
        (session, "--model {model} --questions {questions}"),
        (tfidf, "--data-dir {data_dir}"),
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
