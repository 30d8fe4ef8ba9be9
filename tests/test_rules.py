"""The rules of a site, rules.toml of a model folder, in the tagger, at the shell, and in the browser page's code."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.files import write_json, write_questions
from tagging.decision import DecisionRule
from tagging.model_folder import ModelFolderError
from tagging.rules import parse_rules
from tagging.selection import Selection
from tagging.tagger import Tagger
from tagging.tiers import Tiers
from tests.tiny_model import TAGS, build_model_folder
from training import propose_rules

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


@pytest.mark.parametrize("tiers", [None, Tiers(0.8, {"python": 0.7, "pandas": 0.9, "c++": 0.2}, 0.3)])
@pytest.mark.parametrize("text", ["", RULES])
def test_the_browser_page_selects_as_python_does(text, tiers, tmp_path):
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    random = np.random.default_rng(0).uniform(0, 1, size=(200, len(TAGS))).round(2)
    rules = parse_rules(text, TAGS)
    selection = Selection(TAGS, DecisionRule(np.full(len(TAGS), 0.5), 1.0, 0.6, 3, 0.0), rules, tiers)
    expected = [[[list(choice) for choice in part] for part in selection.select(row)] for row in random]
    shutil.copy(ROOT / "deployment/browser/selection.js", tmp_path / "selection.mjs")
    given = json.dumps([TAGS, 0.6, 3, rules.as_json(), tiers and asdict(tiers), random.tolist()])
    (tmp_path / "run.mjs").write_text(
        'import { Selection } from "./selection.mjs";\n'
        f"const [tags, threshold, most, rules, tiers, rows] = {given};\n"
        "const selection = new Selection(tags, threshold, most, rules, tiers);\n"
        "const values = (part) => part.map(Object.values);\n"
        "const found = rows.map((row) => Object.values(selection.select(row)).map(values));\n"
        "console.log(JSON.stringify(found));\n",
        encoding="utf-8",
    )
    shown = subprocess.run(["node", tmp_path / "run.mjs"], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown) == expected


# ---- proposals ----


def propose(folder: Path, groups: list[tuple[int, list[str]]], *options: str) -> list[str]:
    """Run the script on so many questions with these tags each; return the proposals, without their figures."""
    rows = [
        [f"Question {row}", "", tags, f"u{row}.{'-'.join(tags)}"] for number, tags in groups for row in range(number)
    ]
    write_questions(folder / "ques_filtered.csv", pd.DataFrame(rows, columns=["title", "description", "tags", "url"]))
    tags = sorted({tag for _, tags in groups for tag in tags})
    write_json(folder / "tag_types_encoded.json", {tag: index for index, tag in enumerate(tags)})
    propose_rules.main(["--data-dir", str(folder), "--reports-dir", str(folder), "--force", *options])
    lines = (folder / "proposed_rules.toml").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("# ").partition("  #")[0] for line in lines if line.startswith('# "')]


def test_a_planted_implication_and_synonyms_are_proposed_and_an_accepted_one_is_applied(tmp_path):
    groups = [
        (96, ["pandas", "python"]), (4, ["pandas"]), (200, ["python"]),  # 96 % of pandas
        (94, ["keras", "python"]), (6, ["keras"]),  # 94 % of keras
        (19, ["c++", "r"]),  # always, but too few
        (30, ["forecast"]), (50, ["forecasting"]), (2, ["forecast", "forecasting"]),
        (30, ["nlp"]), (40, ["natural-language-processing"]), (40, ["sha-1"]), (40, ["sha-2"]),
        (30, ["loss", "cost"]),  # neither without the other
    ]  # fmt: skip
    assert propose(tmp_path, groups) == [
        '"pandas" = ["python"]',
        '"forecast" = "forecasting"',
        '"cost" = "loss"',
        '"nlp" = "natural-language-processing"',
    ]
    model = build_model_folder(tmp_path / "model")
    proposed = (tmp_path / "proposed_rules.toml").read_text(encoding="utf-8")
    for rules, suggested in ((proposed, {"pandas": ""}), (accepted(proposed), {"python": "implied", "pandas": ""})):
        (model / "rules.toml").write_text(rules, encoding="utf-8")
        assert rows(Tagger(model).answer("csv", "")["suggested"]) == suggested


def accepted(proposed: str) -> str:
    """Return the proposals as a person leaves them who accepts the one for pandas."""
    return proposed.replace('# "pandas"', '"pandas"')


def test_nothing_is_proposed_where_nothing_is_found_and_no_file_is_replaced_without_being_asked(tmp_path):
    assert propose(tmp_path, [(50, ["a", "b"]), (50, ["a"]), (50, ["b"])]) == []
    before = (tmp_path / "proposed_rules.toml").read_bytes()
    with pytest.raises(SystemExit, match=r"proposed_rules\.toml already there: give --force"):
        propose_rules.main(["--data-dir", str(tmp_path), "--reports-dir", str(tmp_path)])
    assert (tmp_path / "proposed_rules.toml").read_bytes() == before
    assert propose(tmp_path, [(50, ["a", "b"]), (50, ["a"]), (50, ["b"])], "--min-confidence", "0.5") != []
