"""The rules of a site, rules.toml of a model folder, in the tagger, at the shell, and in the browser page's code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tagging.decision import DecisionRule
from tagging.model_folder import ModelFolderError
from tagging.rules import parse_rules
from tagging.selection import Selection
from tagging.tagger import Tagger
from tests.tiny_model import TAGS, build_model_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ruled(tmp_path):
    """A function that returns the tagger of a model folder with rules."""

    def make(rules: str) -> Tagger:
        folder = build_model_folder(tmp_path / "model")
        (folder / "rules.toml").write_text(rules, encoding="utf-8")
        return Tagger(folder)

    return make


def rows(found: list[dict]) -> dict:
    return {row["tag"]: row.get("rule", "") for row in found}


@pytest.mark.parametrize(
    ("rules", "title", "suggested"),
    [
        ('never_suggest = ["python"]', "python dataframe", {"pandas": ""}),
        ('only_for_people = ["python"]', "python dataframe", {"pandas": ""}),
        ('[implied]\npandas = ["python"]', "csv", {"python": "implied", "pandas": ""}),
        ('[implied]\npandas = ["data"]\ndata = ["all"]', "csv", {"all": "implied", "data": "implied", "pandas": ""}),
        ('at_least_one_of = [["c++", "optimization"]]', "python", {"python": "", "optimization": "required"}),
        ('[[at_most]]\nnumber = 1\ntags = ["deep-learning", "neural-network"]', "layers", {"neural-network": ""}),
        ('[synonyms]\npandas = "data-frames"', "csv", {"data-frames": ""}),
    ],
)
def test_each_rule_changes_the_suggested_tags(ruled, rules, title, suggested):
    tagger = ruled(rules)
    answer = tagger.answer(title, "")
    assert rows(answer["suggested"]) == suggested
    assert [tag for tag, _ in tagger.tag(title, "")] == list(suggested)
    assert not rows(answer["others"]).keys() & suggested.keys()


def test_what_a_rule_keeps_out_is_shown_with_its_reason_or_not_at_all(ruled):
    people = ruled('only_for_people = ["python"]').answer("python dataframe", "")
    assert rows(people["others"])["python"] == "people"
    never = ruled('never_suggest = ["python"]')
    assert "python" not in rows(never.answer("python dataframe", "")["others"])
    assert "python" not in [tag for tag, _ in never.tag("python dataframe", "", top_k=99)]
    most = ruled('[[at_most]]\nnumber = 1\ntags = ["deep-learning", "neural-network"]').answer("layers", "")
    assert rows(most["others"])["deep-learning"] == "at_most"


@pytest.mark.parametrize(
    ("rules", "line", "told"),
    [
        ("# mine\nnever_suggest = [", 2, "not readable as TOML"),
        ('\nnever_sugest = ["python"]', 2, "unknown key 'never_sugest'"),
        ('[implied]\ncsv = ["a"]\npandas = "python"', 3, "pandas must be a list of tags"),
        ('[implied]\npandas = ["python"]\npython = ["pandas"]', 2, "circle"),
        ('never_suggest = ["python"]\n[implied]\npandas = ["python"]', 3, "never suggested"),
        ('at_least_one_of = [\n  ["python"],\n  ["bug"],\n]', 3, "none of bug"),
        ('[synonyms]\na = "b"\nb = "c"', 2, "itself a synonym"),
        ('[[at_most]]\nnumber = 0\ntags = ["python"]', 3, "number of at least 1"),
    ],
)
def test_a_broken_file_is_one_line_with_its_line_number(ruled, rules, line, told):
    with pytest.raises(ModelFolderError) as error:
        ruled(rules)
    assert f"rules.toml, line {line}: " in str(error.value)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_predict_stops_with_that_line(tmp_path):
    folder = build_model_folder(tmp_path / "model")
    (folder / "rules.toml").write_text("x = 1\n", encoding="utf-8")
    command = [sys.executable, ROOT / "deployment/predict.py", "--model", folder, "--title", "python"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "rules.toml, line 1: unknown key 'x'" in result.stderr


RULES = """
never_suggest = ["c++"]
only_for_people = ["<script>"]
at_least_one_of = [["optimization", "pandas"]]
[implied]
neural-network = ["deep-learning", "machine-learning"]
[synonyms]
python = "python-3"
[[at_most]]
number = 1
tags = ["python-3", "pandas"]
"""


@pytest.mark.parametrize("text", ["", RULES])
def test_the_browser_page_selects_as_python_does(text, tmp_path):
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    random = np.random.default_rng(0).uniform(0, 1, size=(200, len(TAGS))).round(2)
    rules = parse_rules(text, TAGS)
    selection = Selection(TAGS, DecisionRule(np.full(len(TAGS), 0.5), 1.0, 0.6, 3, 0.0), rules)
    expected = [[[list(choice) for choice in part] for part in selection.select(row)] for row in random]
    shutil.copy(ROOT / "deployment/browser/selection.js", tmp_path / "selection.mjs")
    given = json.dumps([TAGS, 0.6, 3, rules.as_json(), random.tolist()])
    (tmp_path / "run.mjs").write_text(
        'import { Selection } from "./selection.mjs";\n'
        f"const [tags, threshold, most, rules, rows] = {given};\n"
        "const selection = new Selection(tags, threshold, most, rules);\n"
        "const values = (part) => part.map(Object.values);\n"
        "const found = rows.map((row) => Object.values(selection.select(row)).map(values));\n"
        "console.log(JSON.stringify(found));\n",
        encoding="utf-8",
    )
    shown = subprocess.run(["node", tmp_path / "run.mjs"], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown) == expected
