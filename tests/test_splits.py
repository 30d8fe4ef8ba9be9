"""Rare tags, duplicates, the random and the time split, and the files that hold them."""

import json
import random
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from data.duplicates import (
    MIN_WORDS,
    duplicate_groups,
    long_duplicate_groups,
    near_duplicates,
    short_near_duplicates,
)
from data.files import QUESTION_COLUMNS, read_questions, write_questions
from training import filter_tags
from training.dataset import FILES, read_part
from training.splits import random_split
from training.tags import frequent_tags, keep_tags


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


def body(seed: int, words: int = 60) -> str:
    """Return a text of its own: two of them share next to no three words in a row."""
    rng = random.Random(seed)
    return " ".join(f"word{rng.randrange(5000)}" for _ in range(words))


def splits_of(titles, descriptions, seed=42):
    return random_split(duplicate_groups(titles, descriptions), seed).tolist()


def test_split_is_80_10_10_and_depends_on_the_seed_only():
    titles, texts = [f"question {row}" for row in range(1000)], [body(row) for row in range(1000)]
    texts[1] = texts[0] + " thanks in advance"
    splits = splits_of(titles, texts)
    assert pd.Series(splits).value_counts().to_dict() == {"train": 800, "validation": 100, "test": 100}
    order = np.random.default_rng(0).permutation(1000)
    assert splits_of([titles[row] for row in order], [texts[row] for row in order]) == [splits[row] for row in order]
    assert splits_of(titles, texts, seed=43) != splits


def test_reposted_questions_stay_on_one_side():
    titles = [f"{'Same' if row % 2 else 'same '}  question {row // 2}" for row in range(1000)]
    splits = splits_of(titles, [""] * 1000)
    assert splits[::2] == splits[1::2]
    assert splits[::2] != splits[2::2] + splits[:1]


def test_reworded_questions_are_duplicates_and_chains_of_them_one_group():
    texts = [body(row) for row in range(50)]
    words = texts[0].split()
    texts += [
        " ".join([*words[:-2], "please", "help!"]),  # another ending
        " ".join(["EDIT:", *words[:-2], "please", "help!"]).upper(),  # and another case and beginning
        " ".join([*words[:30], *body(99, 30).split()]),  # half of the words are shared, a third of the shingles
    ]
    groups = duplicate_groups([""] * len(texts), texts)
    assert groups[0] == groups[50] == groups[51]
    assert len(set(groups)) == len(texts) - 2


def test_short_titles_that_differ_in_a_word_are_no_duplicates():
    titles = ["How do I plot a histogram of one column", "How do I plot a histogram of one row"]
    assert len(set(duplicate_groups(titles, ["", ""]))) == 2


def write_data(folder, rows, columns=(*QUESTION_COLUMNS, "creation_date")):
    pd.DataFrame(rows, columns=columns).assign(tags=lambda table: [json.dumps(tags) for tags in table["tags"]]).to_csv(
        folder / "ques_details.csv", index=False
    )


def dated_rows(n: int) -> list[list]:
    """Return ``n`` questions, one a day, in an order that is not that of their dates."""
    days = pd.date_range("2020-01-01", periods=n)
    rows = [[f"question {row}", body(row), ["ab"[row % 2]], f"u{row}", day.isoformat()] for row, day in enumerate(days)]
    return random.Random(0).sample(rows, n)


def run_filter(folder, *arguments) -> dict[str, str]:
    filter_tags.main(["--data-dir", str(folder), *map(str, arguments)])
    return pd.read_csv(folder / "split.csv").set_index("url")["split"].to_dict()


def test_the_order_of_the_scraped_rows_changes_nothing(tmp_path):
    written = []
    for seed in (1, 2):
        write_data(tmp_path, random.Random(seed).sample(dated_rows(50), 50))
        run_filter(tmp_path, "--force")
        written.append([(tmp_path / name).read_bytes() for name in FILES])
    assert written[0] == written[1]


def test_the_time_split_trains_on_the_past_and_tests_on_the_newest_tenth(tmp_path, capsys):
    write_data(tmp_path, dated_rows(50))
    splits = run_filter(tmp_path, "--split", "time")
    assert [splits[f"u{row}"] for row in range(50)] == ["train"] * 40 + ["validation"] * 5 + ["test"] * 5
    assert "split: 40 train, 5 validation, 5 test" in capsys.readouterr().out
    assert read_part(tmp_path, "test").titles == [f"question {row}" for row in range(45, 50)]


def test_later_copies_of_older_questions_are_not_tested_on(tmp_path, capsys):
    rows = {row[3]: row for row in dated_rows(50)}
    rows["u47"][1] = rows["u3"][1] + " any news?"  # test repeats train
    rows["u42"][0:2] = rows["u4"][0:2]  # validation repeats train
    rows["u49"][0:2] = rows["u48"][0:2]  # test repeats itself
    write_data(tmp_path, rows.values())
    splits = run_filter(tmp_path, "--split", "time")
    assert {url for url, split in splits.items() if split == "repost"} == {"u47", "u42"}
    assert splits["u48"] == splits["u49"] == "test"
    assert len(read_part(tmp_path, "test")) == 4
    printed = capsys.readouterr().out
    assert "duplicates: 6 questions in 3 groups of equal or nearly equal text; 2 left out, as repost" in printed


def stopped(folder, *arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        run_filter(folder, *arguments)
    assert "\n" not in str(stop.value.code)
    assert sorted(path.name for path in folder.iterdir()) == ["ques_details.csv"]
    return stop.value.code


def test_a_time_split_without_dates_says_what_is_missing(tmp_path):
    rows = dated_rows(30)
    write_data(tmp_path, [row[:4] for row in rows], QUESTION_COLUMNS)
    assert "ques_details.csv: column creation_date missing" in stopped(tmp_path, "--split", "time")
    rows[4][4] = rows[7][4] = ""
    write_data(tmp_path, rows)
    assert "ques_details.csv, row 5: no creation_date here and in 1 other rows" in stopped(tmp_path, "--split", "time")
    write_data(tmp_path, [[*row[:4], "2020-01-01"] for row in rows])
    assert "too few different creation dates" in stopped(tmp_path, "--split", "time")


def test_an_invalid_date_is_named(tmp_path):
    rows = dated_rows(30)
    rows[2][4] = "13 May 2024"
    write_data(tmp_path, rows)
    assert "ques_details.csv, row 3, column creation_date: must be an ISO 8601 date" in stopped(tmp_path)


def test_dates_are_kept_with_the_questions(tmp_path):
    rows = dated_rows(20)
    dates = ["2024-05-13T23:58:30", "2024-05-13T23:58:30.457Z", "2024-05-13 23:58:30+02:00", "2024-05-13", ""]
    for row, date in zip(rows, dates, strict=False):
        row[4] = date
    write_data(tmp_path, rows)
    run_filter(tmp_path)
    once = (tmp_path / "ques_filtered.csv").read_bytes()
    kept = read_questions(tmp_path / "ques_filtered.csv")
    assert list(kept) == [*QUESTION_COLUMNS, "creation_date"]
    kept_dates = kept.set_index("url")["creation_date"][[row[3] for row in rows]]
    assert kept_dates.isna().tolist() == [row == 4 for row in range(20)]
    assert kept_dates.head(4).tolist() == [
        pd.Timestamp(date, tz="UTC")
        for date in ("2024-05-13 23:58:30", "2024-05-13 23:58:30.457", "2024-05-13 21:58:30", "2024-05-13")
    ]
    write_questions(tmp_path / "again.csv", kept)
    assert (tmp_path / "again.csv").read_bytes() == once


def test_a_published_label_set_replaces_the_frequency_rule(tmp_path, capsys):
    rows = [[f"question {row}", "", ["b", "c"] if row % 2 else ["a"], f"u{row}", ""] for row in range(30)]
    write_data(tmp_path, rows)
    (tmp_path / "published.json").write_text('{"c": 0, "never-used": 1, "b": 2}')
    run_filter(tmp_path, "--tags", tmp_path / "published.json")
    assert json.loads((tmp_path / "tag_types_encoded.json").read_text()) == {"c": 0, "never-used": 1, "b": 2}
    printed = capsys.readouterr().out
    assert "kept 3, dropped 1 of the 3 found; 1 kept ones have no question: never-used" in printed
    assert "questions: kept 15 of 30" in printed
    assert read_part(tmp_path, "train").targets.tolist() == [[True, False, True]] * 12


def test_an_invalid_label_set_or_one_of_another_site_is_rejected(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_data(folder, dated_rows(20))
    tags = tmp_path / "tags.json"
    assert "tags.json: cannot be read as JSON" in stopped(folder, "--tags", tags)
    tags.write_text('{"a": 1}')
    assert "tags.json: expected {tag: index}" in stopped(folder, "--tags", tags)
    tags.write_text('{"cooking": 0}')
    assert "no tag is left at --tags" in stopped(folder, "--tags", tags)


def make_data(folder, rows, splits):
    write_questions(folder / "ques_filtered.csv", pd.DataFrame(rows, columns=["title", "description", "tags", "url"]))
    (folder / "tag_types_encoded.json").write_text(json.dumps({"a": 0, "b": 1}))
    pd.DataFrame(splits, columns=["url", "split"]).to_csv(folder / "split.csv", index=False)


def test_questions_are_the_same_after_writing_and_reading(tmp_path):
    rows = [['say "hi", C++', "line one\nline two; ünïcode 🙂", ["c++", "données"], "u1"]]
    make_data(tmp_path, rows, [["u1", "train"]])
    assert read_questions(tmp_path / "ques_filtered.csv").to_numpy().tolist() == rows


def test_a_part_holds_its_questions_only(tmp_path):
    make_data(
        tmp_path,
        [["t1", "d1", ["a"], "u1"], ["t2", "", ["b", "a"], "u2"], ["t3", "", ["b"], "u3"]],
        [["u2", "test"], ["u3", "validation"], ["u1", "train"]],
    )
    part = read_part(tmp_path, "test")
    assert (part.titles, part.descriptions, part.tags) == (["t2"], [""], ["a", "b"])
    assert part.targets.tolist() == [[True, True]]


def test_unusable_data_is_rejected_by_the_first_stage(tmp_path):
    rows = [[f"t{number}", "", ["a"], f"u{number}"] for number in range(2)]
    make_data(tmp_path, rows, [["u0", "train"], ["u1", "validation"]])
    with pytest.raises(ValueError, match="no question is in the part 'test'"):
        read_part(tmp_path, "train")
    (tmp_path / "tag_types_encoded.json").write_text('{"a": 0}')
    with pytest.raises(ValueError, match="only the tag a; two or more are needed"):
        read_part(tmp_path, "train")


def test_files_of_different_runs_are_refused(tmp_path):
    make_data(tmp_path, [["t", "d", ["a"], "u1"]], [["another", "train"]])
    with pytest.raises(ValueError, match=r"do not belong together.*filter_tags\.py --force"):
        read_part(tmp_path, "train")


def with_another_end(words: int, changed: int) -> list[str]:
    """Return two texts of ``words`` words that differ in the last ``changed`` ones."""
    begin = [f"word{number}" for number in range(words - changed)]
    return [" ".join([*begin, *(f"{end}{number}" for number in range(changed))]) for end in ("this", "that")]


@pytest.mark.parametrize("words", [MIN_WORDS - 1, MIN_WORDS])
def test_short_texts_are_compared_by_words_and_long_ones_by_shingles(words):
    texts = with_another_end(words, 1)
    assert list(near_duplicates(texts)) == ([] if words < MIN_WORDS else [(0, 1)])
    assert list(short_near_duplicates(texts, ["", ""])) == ([(0, 1)] if words < MIN_WORDS else [])
    assert len(set(duplicate_groups(texts, ["", ""]))) == 1


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("How do I plot a confusion matrix?", "Plotting confusion matrices", False),  # no stemming beyond a plural s
        ("How do I plot a confusion matrix?", "Plot of a confusion matrix", True),
        ("Time series - anomaly detection", "How can I detect anomalies in time series?", False),
        ("Time series - anomaly detection", "What is anomaly detection on TIME SERIES?", True),
        ("What is an activation function", "Activation functions", True),
        ("Multivariate time series", "Multivariate time series classification", False),
        ("Plot two columns of one data frame", "Plot two columns of one data frame in pandas", True),
        ("Why is my model learning", "Why is my model not learning", False),
        ("What is this?", "How is this?", False),  # of stop words alone: all of them count
        ("ベクトル化の方法", "クラスタリングの方法", False),
        ("???", "!!!", False),
    ],
)
def test_titles_are_nearly_equal_by_their_content_words(one, other, equal):
    assert len(set(duplicate_groups([one, other], ["", ""]))) == (1 if equal else 2)


def test_a_title_just_below_and_a_text_just_above_the_length_are_compared_too():
    long = " ".join(f"word{number}" for number in range(MIN_WORDS))
    short = " ".join(long.split()[:-1])
    assert list(short_near_duplicates([short, long], ["", ""])) == [(0, 1)]


def test_near_duplicates_are_removed_from_train_and_never_from_test(tmp_path, capsys):
    rows = [[f"Question {row} about plots", "", ["ab"[row % 2]], f"u{row:03d}", ""] for row in range(200)]
    for pair in range(60):
        rows[2 * pair][0], rows[2 * pair + 1][0] = f"What is the gradient of layer {pair}?", f"Layer {pair}: gradients"
    write_data(tmp_path, rows)
    splits = list(run_filter(tmp_path).values())
    titles, texts = [row[0] for row in rows], [""] * 200
    placed = random_split(long_duplicate_groups(titles, texts)).tolist()
    assert all(part in (before, "repost") for part, before in zip(splits, placed, strict=True))
    worth = ["train", "validation", "test"].index
    found = set()
    for pair in range(60):
        before = placed[2 * pair : 2 * pair + 2]
        kept = max(before, key=worth)
        assert splits[2 * pair : 2 * pair + 2] == [part if part == kept else "repost" for part in before]
        found.add(tuple(sorted(before)))
    assert found > {("test", "train"), ("train", "validation")}
    assert f"{splits.count('repost')} left out, as repost" in capsys.readouterr().out


@pytest.mark.parametrize("split", ["random", "time"])
def test_too_few_questions_for_three_parts_are_refused(tmp_path, split):
    write_data(tmp_path, dated_rows(5))
    assert "too few" in stopped(tmp_path, "--split", split)


def test_data_of_nearly_equal_questions_only_is_rejected(tmp_path):
    rows = dated_rows(100)
    for row, question in enumerate(rows):
        question[:2] = f"What is {'a' if row % 2 else 'the'} loss function{'s' * (row % 3 > 0)}{'?' * (row % 20)}", ""
    write_data(tmp_path, rows)
    assert "none is left for" in stopped(tmp_path)


@pytest.mark.parametrize(("changed", "pairs"), [(10, [(0, 1)]), (11, [])])
def test_nearly_equal_begins_where_half_of_the_shingles_are_shared(changed, pairs):
    # 32 words are 30 shingles; 20 shared of 40 are exactly half, 19 of 41 less.
    assert list(near_duplicates(with_another_end(32, changed))) == pairs


def test_a_search_for_duplicates_keeps_little_more_than_the_texts():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"{number:x}" for number in rng.integers(2**40, size=150)) for _ in range(300)]
    long_duplicate_groups(texts[:2], ["", ""])  # what it imports
    tracemalloc.start()
    long_duplicate_groups(texts, [""] * len(texts))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * sum(map(len, texts))  # the shingles of all texts at once take 10 times the texts


def test_the_default_seed_is_42():
    groups = np.arange(200)
    assert random_split(groups).tolist() == random_split(groups, seed=42).tolist()
