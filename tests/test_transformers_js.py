"""transformers.js reads the shipped model folder as it is, without a network, and gives the model's probabilities."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tagging.tagger import Tagger
from tests.golden_answers import SHIPPED

PACKAGES = Path(sys.prefix) / "transformers_js" / "node_modules"
OFFLINE = 'import { env } from "@huggingface/transformers";\nenv.allowRemoteModels = false;\n'
CLASSIFY = """
import { pipeline } from "@huggingface/transformers";
const [folder, texts] = process.argv.slice(2);
const classify = await pipeline("text-classification", folder);
console.log(JSON.stringify(await classify(JSON.parse(texts), { top_k: null })));
"""
TEXTS = [
    "Training loss becomes NaN after a few hundred steps",
    "Which metric for churn prediction when only 2 % of customers leave?",
    "Join two pandas data frames on the nearest timestamp",
    "How many clusters should I choose for k-means on customer data?",
    "x",
    "C++ or R?",
    "Почему модель не обучается?",
    "如何选择学习率",
    "naïve Bayes — smoothing (Laplace) \U0001f600",
    "keras.layers.LSTM(units=64, return_sequences=True) raises ValueError: expected ndim=3, found ndim=2",
    "  Random   forest\tor\nboosting?  ",
    "I have a data set with 40 columns and I would like to know how to find the most important of them. " * 4,
]


@pytest.fixture
def run_node(tmp_path):
    """A function that runs a module with the packages and returns what it prints, parsed as JSON."""
    assert PACKAGES.is_dir(), f"{PACKAGES} is missing: run  make test"
    (tmp_path / "node_modules").symlink_to(PACKAGES)

    def run(code: str, *arguments: str):
        (tmp_path / "main.mjs").write_text(OFFLINE + code, encoding="utf-8")
        command = ["node", tmp_path / "main.mjs", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_pipeline_gives_the_raw_probabilities_of_the_model(run_node):
    tagger = Tagger(SHIPPED)
    expected = tagger.raw_probabilities(TEXTS, [""] * len(TEXTS))
    for text, rows, probabilities in zip(
        TEXTS, run_node(CLASSIFY, str(SHIPPED.resolve()), json.dumps(TEXTS)), expected, strict=True
    ):
        scores = {row["label"]: row["score"] for row in rows}
        assert set(scores) == set(tagger.tags)
        assert np.abs([scores[tag] for tag in tagger.tags] - probabilities).max() < 0.02, text


def test_the_javascript_of_the_card_works(run_node):
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```js\n(.*?)```", card, re.DOTALL)[1]
    assert code.count('"OWNER/NAME"') == 1
    code = code.replace('"OWNER/NAME"', json.dumps(str(SHIPPED.resolve())))
    rows = run_node(code.replace("console.log(", "console.log(JSON.stringify(").replace("));", ")));"))
    tagger = Tagger(SHIPPED)
    raw = tagger.raw_probabilities([tagger.settings.examples[0].title], [""])[0]
    assert [row["label"] for row in rows] == [tagger.tags[index] for index in np.argsort(-raw)[:5]]
