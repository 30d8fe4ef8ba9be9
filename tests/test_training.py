"""The pure parts of training: rare tags, the split and thresholds."""

import json

import numpy as np
import pandas as pd
import pytest

from data.files import read_questions, write_questions
from deployment.tagger import suggest
from training.filter_tags import frequent_tags, keep_tags
from training.metrics import tagging_metrics
from training.questions import read_part
from training.splits import assign_splits
from training.thresholds import best_f1_threshold, tune_thresholds


def test_rare_tags_are_those_below_the_whole_part_of_the_share():
    # 2,999 questions at 0.001: int(2.999) = 2, so two questions are enough and one is not.
    tag_lists = [["common"]] * 2996 + [["common", "twice"]] * 2 + [["common", "once"]]
    assert frequent_tags(tag_lists, 0.001) == ["common", "twice"]


def test_a_tag_repeated_within_a_question_counts_once():
    assert frequent_tags([["a", "a"], ["b"], ["b"]], 0.7) == ["b"]


def test_questions_without_a_frequent_tag_are_dropped():
    questions = pd.DataFrame({"title": ["1", "2"], "tags": [["rare"], ["rare", "common"]]})
    kept = keep_tags(questions, ["common"])
    assert kept.to_dict("list") == {"title": ["2"], "tags": [["common"]]}


def split_of(titles, seed=42, order=None):
    order = range(len(titles)) if order is None else order
    urls = [f"https://site/{row}" for row in order]
    splits = assign_splits(urls, [titles[row] for row in order], [""] * len(titles), seed)
    return dict(zip(urls, splits, strict=True))


def test_split_is_80_10_10_and_depends_on_the_seed_only():
    titles = [f"question {row}" for row in range(1000)]
    split = split_of(titles)
    assert pd.Series(split).value_counts().to_dict() == {"train": 800, "validation": 100, "test": 100}
    assert split_of(titles, order=np.random.default_rng(0).permutation(1000)) == split
    assert split_of(titles, seed=43) != split


def test_reposted_questions_stay_on_one_side():
    titles = [f"{'Same' if row % 2 else 'same '}  question {row // 2}" for row in range(1000)]
    split = list(split_of(titles).values())
    assert split[::2] == split[1::2]


def test_best_threshold_is_the_best_of_all_cuts():
    rng = np.random.default_rng(0)
    targets, scores = rng.random(200) < 0.2, rng.random(200).round(2)  # with ties
    threshold, f1 = best_f1_threshold(targets, scores)

    def f1_at(cut):
        chosen = scores >= cut
        return 2 * (chosen & targets).sum() / (chosen.sum() + targets.sum())

    assert f1 == pytest.approx(f1_at(threshold)) == pytest.approx(max(map(f1_at, np.linspace(0, 1, 2001))))
    assert threshold not in scores


def test_no_positive_target_is_refused():
    with pytest.raises(ValueError, match="no positive target"):
        best_f1_threshold(np.zeros(3, bool), np.ones(3))


def test_rare_tags_thresholds_stay_near_the_global_one():
    targets = np.zeros((400, 3), bool)
    targets[:200, 0] = targets[0, 1] = True
    scores = np.full((400, 3), 0.1)
    scores[:200, 0], scores[200:, 0] = 0.4, 0.3  # many positives, best cut 0.35
    scores[0, 1] = 0.9  # one positive, best cut 0.5
    thresholds = tune_thresholds(targets, scores, ["frequent", "rare", "unseen"])
    own = {"frequent": 0.35, "rare": 0.5}
    assert thresholds["per_tag"]["unseen"] == thresholds["global"] == pytest.approx(0.35)
    assert thresholds["per_tag"]["frequent"] == pytest.approx(own["frequent"], abs=0.01)
    assert 0.35 < thresholds["per_tag"]["rare"] < 0.38


def test_tuned_thresholds_beat_one_half_on_underconfident_scores():
    rng = np.random.default_rng(0)
    targets = rng.random((500, 10)) < 0.1
    scores = np.clip(0.05 + 0.25 * targets + 0.05 * rng.standard_normal(targets.shape), 0.001, 0.999)
    tuned = tune_thresholds(targets, scores, [str(tag) for tag in range(10)])
    cut = np.array(list(tuned["per_tag"].values()))
    f1 = [tagging_metrics(targets, suggest(scores, t), scores)["f1_micro"] for t in (cut, np.full(10, 0.5))]
    assert f1[0] > f1[1] + 0.1


def make_data(folder, rows, splits):
    write_questions(folder / "ques_filtered.csv", pd.DataFrame(rows, columns=["title", "description", "tags", "url"]))
    (folder / "tag_types_encoded.json").write_text(json.dumps({"a": 0, "b": 1}))
    pd.DataFrame(splits, columns=["url", "split"]).to_csv(folder / "split.csv", index=False)


def test_questions_survive_the_file(tmp_path):
    rows = [['say "hi", C++', "line one\nline two; ünïcode 🙂", ["c++", "données"], "u1"]]
    make_data(tmp_path, rows, [["u1", "train"]])
    assert read_questions(tmp_path / "ques_filtered.csv").to_numpy().tolist() == rows


def test_a_part_holds_its_questions_only(tmp_path):
    make_data(
        tmp_path,
        [["t1", "d1", ["a"], "u1"], ["t2", "", ["b", "a"], "u2"]],
        [["u2", "test"], ["u1", "train"]],
    )
    part = read_part(tmp_path, "test")
    assert (part.titles, part.descriptions, part.tags) == (["t2"], [""], ["a", "b"])
    assert part.targets.tolist() == [[True, True]]
    with pytest.raises(ValueError, match="no question is in the part 'validation'"):
        read_part(tmp_path, "validation")


def test_files_of_different_runs_are_refused(tmp_path):
    make_data(tmp_path, [["t", "d", ["a"], "u1"]], [["another", "train"]])
    with pytest.raises(ValueError, match=r"do not belong together.*filter_tags\.py --force"):
        read_part(tmp_path, "train")
