"""The model that the repository ships: its files belong together, and it answers as on the day it was shipped."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCardData
from onnx import numpy_helper

from data.question_list import read_question_list
from onnx_export import ship
from onnx_export.evaluation.best_shipped import BEST_SHIPPED, best_shipped, served_decisions
from onnx_export.evaluation.decisions import as_arrays, hashed_url
from onnx_export.evaluation.hub_files import card_examples, card_header, model_config, tokenizer_config
from onnx_export.evaluation.model_card import describe_question_list, reproduction
from onnx_export.evaluation.reproduction import describe_list
from onnx_export.ship import MODEL
from tagging.model_folder import read_json
from tagging.stack_exchange import STACK_EXCHANGE
from tagging.tagger import Tagger
from tests.card_example import run_card_example
from tests.golden_answers import ANSWERS, SHIPPED, answers

# Processors round int8 products otherwise: emulated ones without AVX512 and VNNI, and without AVX, were within 0.0032.
TOLERANCE = 0.01


def mismatches(tagger: Tagger) -> list[str]:
    """Return the titles whose golden answer the tagger does not give."""
    golden = json.loads(ANSWERS.read_text(encoding="utf-8"))
    wrong = []
    for expected, found in zip(golden, answers(tagger), strict=True):
        scores = tagger.probabilities([expected["title"]], [expected["description"]])[0]
        scores = dict(zip(tagger.tags, scores, strict=True))
        near = {tag for tag, score in scores.items() if abs(score - tagger.rule.threshold) <= TOLERANCE}
        close = all(abs(scores.get(tag, 2) - score) <= TOLERANCE for tag, score in expected["probabilities"].items())
        if not close or set(expected["suggested"]) - near != set(found["suggested"]) - near:
            wrong.append(expected["title"])
    return wrong


def test_it_gives_its_golden_answers():
    assert not mismatches(Tagger(SHIPPED))


FILES = set(ship.SHIPPED) - {"tiers.json", "similar_titles.txt"}  # no promise, and no text


@pytest.mark.parametrize("part", ["head", "encoder"])
def test_a_damaged_or_swapped_model_is_detected(part, tmp_path):
    tags = json.loads((SHIPPED / "tag_types_encoded.json").read_text(encoding="utf-8"))
    model = onnx.load(SHIPPED / MODEL)
    matrices = [array for array in model.graph.initializer if len(array.dims) == 2]
    if part == "head":  # another order of the tags
        altered = next(array for array in matrices if len(tags) in array.dims)
        axis = list(altered.dims).index(len(tags))
        values = np.random.default_rng(0).permutation(numpy_helper.to_array(altered), axis=axis)
    else:
        altered = next(array for array in matrices if array.dims[0] == array.dims[1])
        values = np.zeros_like(numpy_helper.to_array(altered))
    altered.CopyFrom(numpy_helper.from_array(values, altered.name))
    for name in ("tokenizer.json", "tag_types_encoded.json", "thresholds.json", "tagger.json"):
        shutil.copyfile(SHIPPED / name, tmp_path / name)
    onnx.save(model, tmp_path / "model_quantized.onnx")
    assert len(mismatches(Tagger(tmp_path))) > 8


def test_its_files_belong_together():
    assert {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*") if path.is_file()} == FILES
    decisions = served_decisions(SHIPPED)  # whose hashes are those of the files
    metrics = json.loads((SHIPPED / "metrics.json").read_text(encoding="utf-8"))
    assert {name: metrics["int8"][name] for name in decisions["figures"]} == pytest.approx(decisions["figures"])
    assert (metrics["test_questions"], metrics["tags"]) == (len(decisions["questions"]), len(decisions["tags"]))
    assert metrics["int8"]["size_mb"] == (SHIPPED / MODEL).stat().st_size / 1e6
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert all(f" {value:.3f} [" in card for value in decisions["figures"].values())
    assert metrics["data_sha256"] in card

    per_tag = pd.read_csv(SHIPPED / "per_tag.tsv", sep="\t", keep_default_na=False).set_index("tag")
    thresholds = json.loads((SHIPPED / "thresholds.json").read_text(encoding="utf-8"))["per_tag"]
    assert per_tag["threshold"].to_dict() == pytest.approx(thresholds, abs=5e-5)
    targets, chosen = as_arrays(decisions)
    counted = per_tag.loc[decisions["tags"], ["test_questions", "true_positives", "false_positives"]].to_numpy().T
    assert (counted == [targets.sum(axis=0), (targets & chosen).sum(axis=0), (~targets & chosen).sum(axis=0)]).all()


def test_its_list_of_questions_is_the_recorded_one_and_holds_no_text():
    record, card = read_json(SHIPPED / "run.json"), (SHIPPED / "README.md").read_text(encoding="utf-8")
    listed = read_question_list(SHIPPED / "questions.csv.gz")
    content = (SHIPPED / "questions.csv.gz").read_bytes()
    assert len(content) < 300_000
    assert record["question_list"] == describe_list(listed, hashlib.sha256(content).hexdigest())
    assert describe_question_list(record) in card and reproduction(record, SHIPPED) in card
    tags = set(read_json(SHIPPED / "tag_types_encoded.json"))
    assert all(question.tags and set(question.tags) <= tags for question in listed)
    metrics, decisions = read_json(SHIPPED / "metrics.json"), served_decisions(SHIPPED)
    test = [question for question in listed if question.split == "test"]
    assert len(test) == metrics["test_questions"]
    urls = {hashed_url(STACK_EXCHANGE.question_url(question.site, question.id)): question for question in test}
    names = {key: {decisions["tags"][index] for index in row[0]} for key, row in decisions["questions"].items()}
    assert names == {key: set(question.tags) for key, question in urls.items()}


def test_its_files_for_the_hub_are_those_that_ship_py_writes():
    tagger = Tagger(SHIPPED)
    config, tokenizer = (read_json(SHIPPED / name) for name in ("config.json", "tokenizer_config.json"))
    assert json.loads(json.dumps(model_config(config, tagger.tags))) == config
    assert tokenizer_config(tokenizer, tagger.settings) == tokenizer
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    metrics = read_json(SHIPPED / "metrics.json")
    header = card_header(tagger.settings, metrics, "sentence-transformers/all-MiniLM-L6-v2")
    assert card.startswith(f"---\n{header}\n---\n")
    assert all(text in card for text in card_examples(tagger.settings, SHIPPED).values())
    declared = ModelCardData(**yaml.safe_load(header), ignore_metadata_errors=False)
    values = {result.metric_name: result.metric_value for result in declared.eval_results}
    assert values["Micro F1"] == pytest.approx(metrics["int8"]["f1_micro"], abs=5e-5)


def test_the_python_of_its_card_gives_the_same_tags():
    tagger = Tagger(SHIPPED)
    suggested = tagger.answer(tagger.settings.examples[0].title, "")["suggested"]
    assert run_card_example(SHIPPED) == {row["tag"]: pytest.approx(row["probability"], abs=1e-3) for row in suggested}


def test_the_best_model_ever_shipped_is_recorded():
    decisions = served_decisions(SHIPPED)
    best = best_shipped(BEST_SHIPPED, decisions)
    assert set(best) == set(decisions["figures"])
    assert all(best[figure]["figures"][figure] >= value for figure, value in decisions["figures"].items())
