"""Gaps in the tags of a site, in the tag watch's report: topics without a tag, and tags that are not told apart."""

import json

import numpy as np
import pandas as pd
import pytest

from data.files import write_questions
from tests.tiny_backbones import save_backbone
from tests.tiny_model import TAGS, build_model_folder
from training import tag_watch
from training.moderation.gaps import describe, distinctive_words, find_pairs, find_topics

KNOWN = ["python dataframe", "layers of layers", "gradient of shrubbery", "python gradient"]


def scattered(rng, centre: int, count: int, size: int = 16) -> np.ndarray:
    vectors = rng.normal(0, 0.15, size=(count, size))
    vectors[:, centre] += 3
    return vectors


def test_a_topic_is_a_cluster_of_unsure_questions_named_by_its_own_words():
    rng = np.random.default_rng(0)
    titles = [f"{KNOWN[row % 4]} number {row}" for row in range(96)]
    titles += [f"quantum annealing {['solver', 'of a graph', 'in python'][row % 3]} {row}" for row in range(12)]
    titles += [f"{word} question" for word in "abcdefghijkl"]
    vectors = np.concatenate([*(scattered(rng, row % 4, 1) for row in range(96)), scattered(rng, 9, 12)])
    vectors = np.concatenate([vectors, rng.normal(0, 3, size=(12, 16))])
    highest = np.concatenate([np.full(96, 0.9), np.full(24, 0.2)])
    topic = find_topics(titles, highest, vectors)[0]
    assert sorted(topic.rows) == list(range(96, 108))
    assert topic.words[0] == "quantum annealing"
    assert "python" not in topic.words, "frequent elsewhere"
    assert find_topics(titles[:50], highest[:50], vectors[:50]) == [], "too few questions"


def test_words_are_those_of_the_topic_and_none_where_all_titles_differ():
    titles = ["plot a tensor", "plot two tensors", "plot the tensor of it", "read csv", "read csv files", "plot csv"]
    assert distinctive_words(titles, np.array([3, 4]))[0] in ("read", "read csv")
    assert distinctive_words(["a", "b"], np.array([0])) == []


def test_two_tags_for_one_thing_are_a_pair_and_others_are_not():
    rng = np.random.default_rng(0)
    topic = rng.integers(3, size=600)
    targets = np.zeros((600, 4), dtype=bool)
    targets[topic == 0, 0], targets[topic == 1, 1] = True, True
    either = rng.uniform(size=600) < 0.5  # cnn or convolutional network, as it happens
    targets[:, 2], targets[:, 3] = (topic == 2) & either, (topic == 2) & ~either
    scores = np.stack([topic == 0, topic == 1, topic == 2, topic == 2], axis=1) * 4.0
    scores += rng.normal(size=scores.shape)
    (pair,) = find_pairs(targets, scores, ["python", "r", "cnn", "convolutional-network"])
    assert (pair.first, pair.second) == ("cnn", "convolutional-network")
    assert 0.4 < pair.area < pair.upper < 0.7
    assert sum(pair.exclusive) == (topic == 2).sum() and pair.common == 0
    targets[np.flatnonzero(targets[:, 3])[10:], 3] = False
    assert find_pairs(targets, scores, list("abcd")) == [], "too few questions to tell"


def test_titles_cannot_break_the_table():
    rng = np.random.default_rng(0)
    titles = ["a | b [x](y) <script> odd thing"] * 12 + [f"other {row}" for row in range(100)]
    vectors = np.concatenate([scattered(rng, 9, 12), scattered(rng, 1, 100)])
    topics = find_topics(titles, np.concatenate([np.full(12, 0.1), np.full(100, 0.9)]), vectors)
    (line,) = [line for line in describe(topics, [], titles, ["u"] * 112).splitlines() if "odd" in line]
    assert line.count("|") == 4 and "<script>" not in line and "[x](y)" not in line
    assert "Tags that the model does not tell apart\n\nNone." in describe(topics, [], titles, ["u"] * 112)


@pytest.fixture
def watched(tmp_path):
    """A model folder and a site whose recent questions have a topic that the model does not know."""
    model = build_model_folder(tmp_path / "model")
    tags = {"python dataframe": ["python"], "layers of layers": ["neural-network"]}
    rows = [[f"{title} {number}", tags.get(title, ["optimization"])] for number in range(80) for title in KNOWN]
    dates = [*pd.date_range("2020-01-01", periods=160), *pd.date_range("2022-01-01", periods=160, freq="h")]
    rows += [[f"quantum annealing of quantum {number}", ["c++"]] for number in range(20)]
    dates += [*pd.date_range("2022-01-05", periods=20, freq="h")]
    questions = pd.DataFrame(rows, columns=["title", "tags"])
    questions = questions.assign(description="", url=[f"https://site.example/q/{row}" for row in range(len(rows))])
    write_questions(tmp_path / "ques_details.csv", questions.assign(creation_date=dates))
    backbone = save_backbone("bert-base-uncased", questions["title"].tolist(), tmp_path)
    return ["--data-dir", tmp_path, "--reports-dir", tmp_path, "--model", model, "--backbone", backbone]


def test_the_watch_reports_the_gaps_of_a_model(watched, tmp_path):
    def watch(*more) -> int:
        with pytest.raises(SystemExit) as stop:
            tag_watch.main([str(word) for word in (*watched, *more)])
        return stop.value.code

    assert watch() in (0, 1)
    report = (tmp_path / "tag_watch.md").read_text()
    assert f"against the {len(TAGS)} tags of" in report
    topics = report.partition("## Topics without a tag")[2].partition("## Tags that the model")[0]
    assert any("annealing" in line and "(<https://site.example/q/" in line for line in topics.splitlines()), report
    (tmp_path / "model" / "tag_types_encoded.json").write_text(json.dumps({"a": 0}))
    assert watch("--force") == 2
