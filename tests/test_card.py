"""The model card says what was counted and recorded, and no more."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from onnx_export.evaluation.model_card import (
    commands,
    describe_backbone,
    describe_data,
    describe_split,
    describe_weak_side,
    hub_id,
)

RUN = {"arguments": {"model": "owner/encoder", "epochs": 4.0, "patience": 3, "unused": None}}
RECORD = {"arguments": {"split": "random", "seed": 7}, "published_tags": True, "synonyms": True}
DATA = {"site": "cooking.stackexchange.com", "record": RECORD}
OUTPUT = Path("deployment/model")


def split_text(parts: str, groups: list[int], record: dict | None = None) -> str:
    names = {"t": "train", "v": "validation", "x": "test", "r": "repost"}
    return describe_split(np.array([names[part] for part in parts]), np.array(groups), record)


@pytest.mark.parametrize(
    ("parts", "groups", "expected"),
    [
        ("tttvx", [0, 0, 1, 2, 3], "3 train, 1 validation, 1 test; equal and nearly equal questions lie on one side"),
        ("ttrvx", [0, 1, 3, 2, 3], "; 1 more left out, nearly equal to one of another part; equal and nearly equal"),
        ("ttvvxx", [0, 1, 1, 2, 2, 0], "; 2 of the test questions have an equal or nearly equal one in train or"),
        ("ttvvxx", [0, 1, 1, 2, 2, 0], "validation, 1 of validation in train"),
    ],
)
def test_the_card_counts_what_it_states_about_the_split(parts, groups, expected):
    assert expected in split_text(parts, groups)


def test_the_card_tells_how_the_parts_were_made_where_it_was_recorded():
    assert ", at random with seed 7;" in split_text("tvx", [0, 1, 2], RECORD)
    assert ", the newest questions last;" in split_text("tvx", [0, 1, 2], {"arguments": {"split": "time"}})
    assert "3 train" not in split_text("tvx", [0, 1, 2]) and "random" not in split_text("tvx", [0, 1, 2])


def test_nearly_equal_titles_are_counted():
    titles = ["Activation functions", "What is an activation function?", "Plot two columns", "Loss is nan"]
    urls = [f"https://site/{row}" for row in range(4)]
    questions = pd.DataFrame({"title": titles, "description": "", "url": urls})
    data = describe_data(questions, np.array(["train", "test", "validation", "train"]), None)
    assert "1 of the test questions have an equal or nearly equal one" in data["split"]


def test_the_card_prints_each_command_with_all_relevant_options():
    lines = commands("encoder", RUN | {"processes": 2}, DATA, {"drop": {"f1_micro": 0.01}}, OUTPUT).splitlines()
    assert [line.strip() for line in lines] == [
        "python scraper/tag_synonyms.py --site https://cooking.stackexchange.com",
        "python training/filter_tags.py --tags deployment/model/tag_types_encoded.json --split random --seed 7",
        "torchrun --nproc-per-node 2 training/finetune.py --model owner/encoder --epochs 4.0 --patience 3",
        "python onnx_export/export.py --model encoder",
        "python onnx_export/quantize.py --model encoder --allow-drop",
        "python onnx_export/compare.py",
        "python onnx_export/ship.py --model encoder",
    ]


def test_older_folders_have_no_record_of_the_filtering():
    lines = commands("encoder", RUN, DATA | {"record": None}, {}, OUTPUT).splitlines()
    assert lines[0].strip() == "python training/filter_tags.py  # with options that were not written down"
    assert lines[1].strip().startswith("python training/finetune.py --model owner/encoder")


@pytest.mark.parametrize(
    ("model", "header", "backbone"),
    [
        ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", "licence Apache-2.0"),
        (
            "owner/roberta-base",
            "owner/roberta-base",
            "(https://huggingface.co/owner/roberta-base),\nlicence as its own",
        ),
        ("/home/me/roberta-base", "FacebookAI/roberta-base", "licence MIT"),
        ("/home/me/mine", None, "mine, a local folder,\nlicence as its own card names it"),
    ],
)
def test_the_card_names_the_backbone_as_it_was_given(model, header, backbone):
    run = {"arguments": {"model": model}}
    described = describe_backbone(run)
    assert hub_id(run) == header
    assert backbone in described
    command = commands("shipped", {"arguments": {"model": model}}, DATA, {}, OUTPUT)
    assert "/home/me" not in described + command


def test_two_tags_are_neither_rare_nor_frequent():
    assert describe_weak_side({"f1_micro": 0.5}) == ""
    assert "0.46 over the most frequent third of the tags, 0.26" in describe_weak_side(
        {"f1_head": 0.46, "f1_tail": 0.26}
    )
