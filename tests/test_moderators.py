"""What moderators get: the list of questions whose tags look wrong, and the watch over new and dying tags."""

import json
import random
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from selenium.webdriver.common.by import By

from data.files import write_questions
from data.worklist_file import CHANGES, read_worklist
from training import filter_tags, retag_worklist, tag_watch
from training.backbones import find_backbone
from training.dataset import Part
from training.moderation import worklist
from training.moderation.planted import RANKS, hits, plant, precision_of_scores
from training.moderation.scorers import heads_scorer, neighbours_scorer
from training.vectors import question_vectors

TOPICS = {
    "gardening": ["soil", "seed", "plant", "prune", "water", "compost", "leaf", "root"],
    "sailing": ["boat", "mast", "keel", "harbour", "wind", "rope", "anchor", "deck"],
    "baking": ["flour", "oven", "yeast", "dough", "butter", "crust", "sugar", "loaf"],
    "chess": ["bishop", "rook", "pawn", "opening", "castle", "gambit", "mate", "queen"],
}
ATTACK = '<script>alert("x")</script> & <b>bold</b>'


def topical_questions(n: int = 240) -> pd.DataFrame:
    """Return ``n`` questions of two topics each, tagged right but for three, with an attack in the title of one."""
    rng = random.Random(0)
    rows = []
    for row in range(n):
        tags = rng.sample(list(TOPICS), 2)
        words = [word for tag in tags for word in rng.sample(TOPICS[tag], 4)]
        rows.append([f"Question {row} {' '.join(words[::2])}", " ".join(words), tags, f"https://site.example/q/{row}"])
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])

    def rewrite(row: int, topics: list[str], tags: list[str]) -> None:
        words = " ".join(word for topic in topics for word in TOPICS[topic][:5])
        questions.at[row, "title"], questions.at[row, "description"] = f"Question {row} {words}", words
        questions.at[row, "tags"] = tags

    rewrite(7, ["sailing", "chess"], ["sailing"])  # chess is lacking
    rewrite(8, ["baking"], ["baking", "gardening"])  # gardening is wrong
    rewrite(9, ["gardening", "chess"], ["chess", "sailing"])  # both
    questions.at[9, "title"] += f" {ATTACK}"
    questions.at[8, "url"] = "javascript:alert(1)"
    return questions


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of the default encoder; its vectors are kept in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        folder = find_backbone("all-minilm-l6-v2")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield folder


@pytest.fixture(scope="module")
def make_worklist(encoder):
    """Run retag_worklist.py with the encoder of the tests: make_worklist(data_dir, reports_dir, *options)."""

    def make(data_dir, reports_dir, *options: str) -> None:
        where = ["--data-dir", str(data_dir), "--reports-dir", str(reports_dir)]
        retag_worklist.main([*where, "--model", str(encoder), *options])

    return make


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moderators")
    write_questions(folder / "ques_details.csv", topical_questions())
    filter_tags.main(["--data-dir", str(folder)])
    return folder


@pytest.fixture(scope="module")
def reports(data_dir, make_worklist):
    make_worklist(data_dir, data_dir / "reports")
    return data_dir / "reports"


def test_wrongly_tagged_questions_come_first_with_the_correction(reports):
    listed = pd.read_csv(reports / "retag_worklist.csv", keep_default_na=False)
    assert list(listed) == ["url", "title", "tags", "add", "remove", "score"]
    first = listed.head(3).set_index("url")[["tags", "add", "remove"]].T.to_dict("list")
    assert first == {
        "https://site.example/q/7": ["sailing", "chess", ""],
        "javascript:alert(1)": ["gardening, baking", "", "gardening"],
        "https://site.example/q/9": ["sailing, chess", "gardening", "sailing"],
    }
    assert len(listed) < 12
    assert listed["score"].is_monotonic_decreasing
    changes = [change for row in rows_of(reports) for kind in CHANGES for change in row[kind]]
    assert all(0.8 <= change["confidence"] <= 1 for change in changes)


def rows_of(reports) -> list[dict]:
    return read_worklist(reports / "retag_worklist.jsonl")


def test_the_file_for_the_queue_is_the_same_list_with_the_precision_of_each_change(reports):
    listed = pd.read_csv(reports / "retag_worklist.csv", keep_default_na=False)
    rows = rows_of(reports)
    assert [row["url"] for row in rows] == listed["url"].tolist()
    assert [f"{row['score']:.3f}" for row in rows] == [f"{score:.3f}" for score in listed["score"]]
    for kind in CHANGES:
        assert [", ".join(change["tag"] for change in row[kind]) for row in rows] == listed[kind].tolist()
        precisions = [change["precision"] for row in rows for change in row[kind]]
        assert precisions and all(0 <= precision <= 1 for precision in precisions)


def test_each_row_has_three_other_questions_that_resemble_it(reports, data_dir):
    known = pd.read_csv(data_dir / "ques_filtered.csv").set_index("url")
    for row in rows_of(reports):
        assert len({question["url"] for question in row["similar"]} - {row["url"]}) == 3
        assert all(known["title"][question["url"]] == question["title"] for question in row["similar"])
    (of_seven,) = [row["similar"] for row in rows_of(reports) if row["url"].endswith("/7")]  # of sailing and chess
    assert any({"sailing", "chess"} <= set(question["tags"]) for question in of_seven)


def test_the_page_shows_the_same_list_and_loads_nothing(reports):
    page = BeautifulSoup((reports / "retag_worklist.html").read_text(), "html.parser")
    listed = pd.read_csv(reports / "retag_worklist.csv", keep_default_na=False)
    rows = [[cell.get_text(strip=True) for cell in row.find_all("td")] for row in page.tbody.find_all("tr")]
    assert [row[1] for row in rows] == listed["title"].tolist()
    assert [float(row[0]) for row in rows] == listed["score"].tolist()
    assert not page.find_all(["link", "img", "iframe"])
    assert not page.find_all(src=True)
    assert {link["href"] for link in page.find_all("a")} == set(listed["url"]) - {"javascript:alert(1)"}


def test_html_in_titles_is_escaped(reports):
    page = BeautifulSoup((reports / "retag_worklist.html").read_text(), "html.parser")
    assert any(ATTACK in link.text for link in page.find_all("a"))
    assert len(page.find_all("script")) == 1
    assert not page.tbody.find_all("b")


FORMULAS = [
    '=HYPERLINK("http://evil","x")',
    "+1",
    "-1 in NumPy",
    "@SUM(A1)",
    " \t=1+1",
    "\ufeff=1",
    "\uff1d1",
    "a;=1",
    "a\n=1",
]
TEXTS = ["What is x = 1?", "a-b", "C++; C", "1 - 2", "", "'=1"]


def test_cells_that_look_like_formulas_are_text(tmp_path):
    change = {"tag": "=tag", "confidence": 0.9, "score": 0.9}
    row = {"tags": ["-tag", "b"], "add": [change], "remove": [], "score": 0.9, "is_link": True}
    rows = [
        row | {"url": f"https://site.example/{number}", "title": title} for number, title in enumerate(FORMULAS + TEXTS)
    ]
    rows[0] |= {"url": "=1+1", "is_link": False}
    retag_worklist.write_list(tmp_path / "list.csv", tmp_path / "list.html", rows, len(rows))
    cells = pd.read_csv(tmp_path / "list.csv", keep_default_na=False)
    page = BeautifulSoup((tmp_path / "list.html").read_text(), "html.parser")
    shown = [[cell.get_text() for cell in line.find_all("td")] for line in page.tbody.find_all("tr")]
    for cell in [*cells.drop(columns="score").to_numpy().ravel(), *(cell for line in shown for cell in line)]:
        assert not any(
            part.strip().strip("\ufeff").startswith(tuple("=+-@\uff1d")) for part in re.split("[;\t\n]", cell)
        )
    assert cells["title"].tolist()[-len(TEXTS) :] == TEXTS
    assert cells["title"].tolist()[2] == "'-1 in NumPy"
    assert cells["score"].tolist() == [0.9] * len(rows)


def test_the_page_sorts_and_filters(reports, browser):
    browser.get((reports / "retag_worklist.html").as_uri())

    def column(number):
        cells = browser.find_elements(By.CSS_SELECTOR, f"tbody tr:not([hidden]) td:nth-child({number})")
        return [cell.text for cell in cells]

    scores = column(1)
    heading = browser.find_element(By.CSS_SELECTOR, "th:first-child")
    heading.find_element(By.TAG_NAME, "button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(1) == scores[::-1]
    browser.find_element(By.CSS_SELECTOR, "th:nth-child(2) button").click()
    assert column(2) == sorted(column(2), key=str.casefold)
    assert heading.get_attribute("aria-sort") is None
    browser.find_element(By.ID, "filter").send_keys("question 9 ")
    assert len(column(2)) == 1
    assert ATTACK in column(2)[0]
    assert browser.find_element(By.ID, "count").text == "1 shown"


def stopped(stage, *arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        stage.main([str(argument) for argument in arguments])
    assert "\n" not in str(stop.value.code)
    return stop.value.code


def test_duplicates_are_in_the_same_fold(tmp_path, make_worklist):
    questions = topical_questions()
    for row in range(20, 26):
        questions.at[row, "title"] = questions.at[row, "description"] = "brioche brioche brioche flour oven yeast"
        questions.at[row, "tags"] = ["baking", "sailing"]
    write_questions(tmp_path / "ques_details.csv", questions)
    filter_tags.main(["--data-dir", str(tmp_path)])
    make_worklist(tmp_path, tmp_path)
    listed = pd.read_csv(tmp_path / "retag_worklist.csv").set_index("url")["remove"]
    assert [listed.get(f"https://site.example/q/{row}") for row in range(20, 26)] == ["sailing"] * 6


def test_a_rare_tag_is_not_removed_for_its_low_prior():
    targets = np.zeros((1000, 2), bool)
    targets[:10, 0] = targets[:500, 1] = True
    probabilities = np.full(targets.shape, 0.1)  # ten times the share of the first tag, a fifth of that of the second
    confidence = worklist.confidence_of_change(targets, probabilities)
    assert confidence[0].tolist() == pytest.approx([0.09, 0.9], abs=0.01)
    assert confidence[-1].tolist() == pytest.approx([0.1, 0.1])
    few = np.array([[True, False], [True, False]])  # by Laplace's rule 3 in 4 carry the first tag
    assert worklist.confidence_of_change(few, np.full(few.shape, 0.5))[0].tolist() == pytest.approx([0.75, 0.5])


def test_a_change_scores_more_where_one_of_the_other_kind_is_confident():
    targets = np.array([True, False, False])
    alone = worklist.scores_of_change(targets, np.array([0.1, 0.8, 0.2]))
    both = worklist.scores_of_change(targets, np.array([0.9, 0.8, 0.2]))
    assert both[1] > alone[1]
    assert alone.argmax() == 1
    assert both.argmax() == 0


def test_planted_errors_are_lost_and_swapped_tags_of_few_questions():
    rng = np.random.default_rng(0)
    targets = rng.random((1000, 30)) < np.linspace(0.3, 0.02, 30)
    planted = plant(targets, seed=1)
    changed = np.flatnonzero(planted.changes.any(axis=1))
    assert len(changed) == 50
    assert (planted.targets != targets)[changed].sum(axis=1).max() == 2
    assert np.array_equal(planted.targets, (targets | planted.wrong) & ~planted.lost & ~planted.replaced)
    assert planted.wrong.sum() == planted.replaced.sum() == 50 - planted.lost.sum()
    assert 20 <= planted.lost.sum() <= 25  # one of a question's only tag is swapped
    assert planted.targets[targets.any(axis=1)].any(axis=1).all()
    rank = np.argsort(np.argsort(-targets.sum(axis=0), kind="stable"))
    lost, gained = planted.replaced.nonzero(), planted.wrong.nonzero()
    assert np.array_equal(lost[0], gained[0])
    assert (abs(rank[lost[1]] - rank[gained[1]]) <= RANKS).all()


def test_precision_is_read_off_the_suggestions_that_repair_a_planted_error():
    targets = np.array([[True, False], [False, True]] * 20)
    planted = plant(targets, share=0.1)  # each has one tag, which is swapped
    rows = [
        {"row": row, "add": [{"tag": "ab"[int(not b)], "score": 0.9 if row < 20 else 0.3}], "remove": []}
        for row, (_, b) in enumerate(planted.targets)
    ]
    scores, right = hits(rows, planted, ["a", "b"], "add")
    assert scores.tolist() == [0.9] * 20 + [0.3] * 20
    assert right.sum() == planted.replaced.sum() == 4
    assert not len(hits(rows, planted, ["a", "b"], "remove")[0])
    precision = precision_of_scores(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert precision([0.95, 0.85, 0.15, 0.0]).tolist() == [1, 1, 0, 0]


def test_vectors_are_computed_once_and_go_with_their_questions(encoder, capsys):
    texts = ["oven and dough", "a boat", "castle the king, then the queen, then take the bishop", "soil"]
    part = Part(texts, [""] * 4, np.eye(4, dtype=bool), list("abcd"), list("wxyz"))
    vectors = question_vectors(str(encoder), part)
    capsys.readouterr()
    assert np.array_equal(question_vectors(str(encoder), part), vectors)
    assert "computing" not in capsys.readouterr().out
    turned = question_vectors(str(encoder), part.take(np.array([3, 2, 1, 0])))
    assert "computing the vectors of 4 questions" in capsys.readouterr().out
    assert turned == pytest.approx(vectors[::-1], abs=1e-4)
    assert np.linalg.norm(vectors[:, None] - vectors, axis=2)[~np.eye(4, dtype=bool)].min() > 1e-3


@pytest.mark.parametrize("scorer", [heads_scorer, neighbours_scorer])
def test_a_scorer_learns_from_the_vectors_of_other_questions(scorer):
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=300)
    vectors = np.eye(3)[kind] @ rng.normal(size=(3, 16)) + 0.1 * rng.normal(size=(300, 16))
    part = Part([""] * 300, [""] * 300, np.eye(3, dtype=bool)[kind], list("abc"), [""] * 300)
    seen, unseen = np.arange(200), np.arange(200, 300)
    assert np.array_equal(scorer(part, vectors)(seen, unseen).argmax(axis=1), kind[unseen])


def test_a_tag_can_be_added_for_each_one_removed():
    targets, confidence = np.array([True] * 5 + [False] * 2), np.array([0.9] + [0.1] * 4 + [0.8, 0.7])
    changed = worklist.changes(targets, confidence, list("abcdefg"), 0.5)
    assert [(kind, change["tag"], change["confidence"]) for kind in CHANGES for change in changed[kind]] == [
        ("add", "f", 0.8),
        ("remove", "a", 0.9),
    ]
    assert not worklist.changes(targets, np.where(targets, 0.1, 0.9), list("abcdefg"), 0.5)["add"]


def test_limit_and_confidence_shorten_the_list(data_dir, tmp_path, make_worklist):
    make_worklist(data_dir, tmp_path, "--limit", "2")
    assert len(pd.read_csv(tmp_path / "retag_worklist.csv")) == len(rows_of(tmp_path)) == 2
    where = ["--data-dir", data_dir, "--reports-dir", tmp_path]
    assert "already there: give --force" in stopped(retag_worklist, *where)
    make_worklist(data_dir, tmp_path, "--min-confidence", "0.9999", "--force")
    assert pd.read_csv(tmp_path / "retag_worklist.csv").empty
    assert "a lower --min-confidence shows more" in (tmp_path / "retag_worklist.html").read_text()
    assert rows_of(tmp_path) == []


def test_no_sixth_tag_is_suggested(tmp_path, make_worklist):
    rng = random.Random(0)
    topics = [f"topic{number}" for number in range(6)]
    rows = [[tag, f"{tag} {row}", [tag], f"u{row}"] for row, tag in enumerate(rng.choices(topics, k=200))]
    rows += [[" ".join(topics), f"all {row}", topics[:5], f"full{row}"] for row in range(6)]
    write_questions(tmp_path / "ques_details.csv", pd.DataFrame(rows, columns=["title", "description", "tags", "url"]))
    filter_tags.main(["--data-dir", str(tmp_path)])
    make_worklist(tmp_path, tmp_path, "--min-confidence", "0.01")
    listed = pd.read_csv(tmp_path / "retag_worklist.csv", keep_default_na=False)
    sizes = [
        len({*row.tags.split(", "), *row.add.split(", ")} - {*row.remove.split(", "), ""})
        for row in listed.itertuples()
    ]
    assert max(sizes) == 5


def test_too_few_questions_and_unknown_tags_are_rejected(tmp_path, encoder):
    model = ["--model", encoder]
    where = ["--data-dir", tmp_path, "--reports-dir", tmp_path / "reports", *model]
    assert "run  python training/filter_tags.py  first" in stopped(retag_worklist, *where)
    rows = [["the same", "", ["a"], f"u{row}"] for row in range(20)]
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_filtered.csv", questions)
    (tmp_path / "tag_types_encoded.json").write_text('{"a": 0}')
    assert "at least 5 different questions are needed, found 1" in stopped(retag_worklist, *where)
    write_questions(tmp_path / "ques_filtered.csv", questions.head(5).assign(title=list("abcde")))
    retag_worklist.main([str(part) for part in (*where[:2], "--reports-dir", tmp_path, *model)])
    (tmp_path / "tag_types_encoded.json").write_text('{"b": 0}')
    assert "do not belong together" in stopped(retag_worklist, *where)
    assert not (tmp_path / "reports").exists()


def write_history(folder, recent_tags: list[list[str]], known=("a", "b")) -> list[str]:
    """Write 400 old questions, tagged a, b or both, and recent ones; return the arguments of tag_watch."""
    old = [["a"], ["b"], ["a", "b"], ["a", "rare"]] * 100
    days = [*pd.date_range("2020-01-01", periods=400), *pd.date_range("2022-01-01", periods=len(recent_tags), freq="h")]
    rows = [
        ["t", "", tags, f"u{row}", day] for row, (tags, day) in enumerate(zip(old + recent_tags, days, strict=True))
    ]
    random.Random(0).shuffle(rows)
    columns = ["title", "description", "tags", "url", "creation_date"]
    write_questions(folder / "ques_details.csv", pd.DataFrame(rows, columns=columns))
    (folder / "model.json").write_text(json.dumps({tag: index for index, tag in enumerate(known)}))
    where = ["--data-dir", folder, "--model-tags", folder / "model.json", "--reports-dir", folder]
    return [str(part) for part in [*where, "--min-frequency", 0.02, "--force"]]


def verdict(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        tag_watch.main(arguments)
    return stop.value.code


def test_the_verdict_is_retrain_for_a_frequent_new_tag(tmp_path, capsys):
    arguments = write_history(tmp_path, [["a"]] * 90 + [["a", "new"]] * 10, ("a", "b", "rare"))
    assert verdict(arguments) == 1
    report = (tmp_path / "tag_watch.md").read_text()
    assert report.partition("\n<!--")[0].strip() in capsys.readouterr().out
    assert "# Tag watch: retrain" in report
    assert "100 recent questions" in report
    assert "| recent questions with a new tag | 10.0% | below 5% |" in report
    assert "| new | 10 | 10 |" in report


@pytest.mark.parametrize("known, code, share", [(20, 1, "5.0%"), (21, 0, "4.8%")])
def test_the_verdict_is_retrain_for_many_new_tags(known, code, share, tmp_path):
    """However few ask for them now."""
    tags = ["a", "b", *(f"seldom-{number}" for number in range(known - 2))]
    assert verdict(write_history(tmp_path, [["a"]] * 100, tags)) == code
    report = (tmp_path / "tag_watch.md").read_text()
    assert f"| new tags, to those of the model | {share} | below 5% |" in report
    assert "| recent questions with a new tag | 0.0% |" in report
    assert "| the same of the older questions | 25.0% |" in report


def test_new_tags_below_the_limit_do_not_count(tmp_path):
    assert verdict(write_history(tmp_path, [["a"]] * 91 + [["odd"]] * 9, ("a", "b", "rare"))) == 0
    report = (tmp_path / "tag_watch.md").read_text()
    assert "# Tag watch: still good" in report
    assert "| recent questions with a tag that the model cannot give | 9.0% |  |" in report
    assert "| recent questions none of whose tags the model can give | 9.0% |  |" in report
    assert "odd (9)" in report


def test_dying_tags_are_significantly_absent(tmp_path):
    known = ("a", "b", "rare", "seldom")
    assert verdict(write_history(tmp_path, [["a"]] * 100, known)) == 0
    report = (tmp_path / "tag_watch.md").read_text()
    assert "| b | 200 | 50.0 | 2021-02-02 |" in report
    assert "| rare | 100 | 25.0 | 2021-02-03 |" in report
    assert "too rare to tell: seldom." in report


@pytest.mark.parametrize("recent, dying", [(12, True), (11, False)])
def test_a_dying_tag_has_at_least_three_expected_questions(recent, dying, tmp_path):
    verdict(write_history(tmp_path, [["a"]] * recent, ("a", "b", "rare")))  # 1 in 4 of the older ones were rare
    assert ("| rare | 100 | 3.0 |" in (tmp_path / "tag_watch.md").read_text()) == dying


def test_recent_months_count_back_from_the_newest_question(tmp_path):
    arguments = write_history(tmp_path, [["a"]] * 50)
    verdict([*arguments, "--months", "11"])
    assert "50 recent questions" in (tmp_path / "tag_watch.md").read_text()
    verdict([*arguments, "--months", "12"])
    assert "50 recent questions" not in (tmp_path / "tag_watch.md").read_text()


def test_the_watch_overwrites_only_its_own_report(tmp_path, capsys):
    arguments = [part for part in write_history(tmp_path, [["a"]] * 100, ("a", "b", "rare")) if part != "--force"]
    report = tmp_path / "tag_watch.md"
    assert verdict(arguments) == 0
    assert verdict([*arguments, "--months", "3"]) == 0
    assert "of the 3 months" in report.read_text()
    report.write_text("# Tag watch\n\nmy own notes\n")
    capsys.readouterr()
    assert verdict(arguments) == 2
    assert "not a report of training/tag_watch.py: choose another place" in capsys.readouterr().err
    assert "my own notes" in report.read_text()
    assert verdict([*arguments, "--force"]) == 0
    assert "my own notes" not in report.read_text()


def test_bad_input_exits_with_status_2(tmp_path, capsys):
    arguments = write_history(tmp_path, [["a"]] * 10)

    def complaint(*more) -> str:
        assert verdict([*arguments, *more]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "name the model's tag_types_encoded.json with --model-tags" in complaint("--model-tags", "missing.json")
    assert "every question is of the last 120 months" in complaint("--months", "120")
    (tmp_path / "ques_details.csv").write_text('title,description,tags,url\na,b,"[""x""]",u\n')
    assert "no creation_date in any row" in complaint()
    (tmp_path / "ques_details.csv").unlink()
    assert "run  python scraper/question_details_scraper.py  first" in complaint()
    assert not (tmp_path / "tag_watch.md").exists()


@pytest.mark.parametrize("script", ["retag_worklist", "tag_watch"])
def test_help_is_quick_and_shows_defaults(script):
    command = [sys.executable, "-X", "importtime", f"training/{script}.py", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "(default: reports)" in shown.stdout
    assert not {"pandas", "sklearn", "jinja2", "scipy"} & {
        line.split("|")[-1].strip() for line in shown.stderr.split("\n")
    }
