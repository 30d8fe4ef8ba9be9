"""A data set by reference: ids, tags and parts in a file, the questions fetched by it, and the same parts again."""

import gzip
import json
import random
import signal
import time

import pandas as pd
import pytest

from data.files import read_questions, read_table
from data.question_list import ListedQuestion, encode_question_list, list_questions, read_question_list
from data.sample_site.server import Faults, SampleSite
from scraper import stack_exchange_api
from tagging.stack_exchange import STACK_EXCHANGE
from tests.test_scraper import call, rows, run, start, wait_until
from training import filter_tags

HEADER = "site,id,split,described,tags"
ROW = 'https://cooking.stackexchange.com,12,train,1,"[""rye""]"'


def by_ids(folder, site, more=()):
    output = folder / "ques_details.csv"
    options = ["--site", site.url, "--api", f"{site.url}/2.3", "--ids", folder / "list.csv.gz", "--output", output]
    return [*options, *more]


def fetch(folder, site, *more):
    return run("stack_exchange_api", *by_ids(folder, site, more))


def write_list(folder, site, questions, **changes):
    """Write a list of questions of the sample site, every tenth in test and in validation."""
    parts = ["test", "validation", *["train"] * 8]
    listed = [
        ListedQuestion(
            **{"site": site.url, "id": one.id, "split": parts[n % 10], "described": True, "tags": one.tags} | changes
        )
        for n, one in enumerate(questions)
    ]
    (folder / "list.csv.gz").write_bytes(encode_question_list(listed))
    return listed


def calls_by_id(site):
    """The ids of each call of the API, in order."""
    paths = [entry.path.partition("?")[0] for entry in site.log if entry.path.startswith("/2.3/questions/")]
    return [path.rpartition("/")[2].replace("%3B", ";").split(";") for path in paths]


def fetched(folder):
    return {STACK_EXCHANGE.question_key(row["url"]).rpartition("/")[2] for row in rows(folder / "ques_details.csv")}


def test_a_list_says_which_questions_and_holds_none_of_their_text(tmp_path):
    texts = pd.DataFrame(
        [
            [
                "Secret title one",
                "Secret text",
                ["rye", "flour"],
                "https://Cooking.stackexchange.com/questions/12/secret-slug",
            ],
            ["Secret title two", "", ["rye"], "https://cooking.stackexchange.com/q/7"],
            ["Secret title three", "", ["rye"], "https://forum.example/t/12"],
            ["Secret title four", "", ["rye"], "http://["],
            ["Secret title five", "", ["rye"], "u5"],
        ],
        columns=["title", "description", "tags", "url"],
    )
    listed = list_questions(texts, ["train", "test", "train", "train", "train"], STACK_EXCHANGE)
    site = "https://cooking.stackexchange.com"
    assert listed == [
        ListedQuestion(site, 7, "test", False, ("rye",)),
        ListedQuestion(site, 12, "train", True, ("rye", "flour")),
    ]
    content = encode_question_list(listed)
    assert content == encode_question_list(listed)
    assert b"ecret" not in gzip.decompress(content)
    (tmp_path / "list.csv.gz").write_bytes(content)
    assert read_question_list(tmp_path / "list.csv.gz") == listed


def test_exactly_the_listed_questions_are_fetched_100_a_call(tmp_path):
    with SampleSite(n=300) as site:
        alive = [one for one in site.questions if not one.deleted]
        write_list(tmp_path, site, alive[:230])
        code, output, _ = fetch(tmp_path, site)
        assert code == 0 and "230 questions listed, 0 of them here, 230 to fetch; calls: 3" in output
        assert "0 of the 230 listed are gone" in output
        assert fetched(tmp_path) == {str(one.id) for one in alive[:230]}
        assert [len(ids) for ids in calls_by_id(site)] == [100, 100, 30]
        assert {row["title"] for row in rows(tmp_path / "ques_details.csv")} == {one.title for one in alive[:230]}
        assert fetch(tmp_path, site)[0] == 0
        assert len(calls_by_id(site)) == 3  # nothing is missing
    assert json.loads((tmp_path / "SOURCE.json").read_text())["questions"] == 230


def test_gone_questions_are_counted_recorded_and_not_asked_for_again(tmp_path):
    with SampleSite(n=60) as site:
        deleted = [one for one in site.questions if one.deleted]
        write_list(tmp_path, site, site.questions)
        code, output, _ = fetch(tmp_path, site)
        assert code == 0 and len(deleted) == 1 and "1 of the 60 listed are gone" in output and "1 failures in" in output
        (failure,) = rows(tmp_path / "ques_failed.csv")
        assert failure["url"].endswith(f"/{deleted[0].id}") and failure["kind"] == "permanent"
        assert "59 of them here, 0 to fetch; calls: 0" in fetch(tmp_path, site)[1]
        assert len(calls_by_id(site)) == 1
        write_list(tmp_path, site, deleted)
        other = tmp_path / "other"
        other.mkdir()
        (tmp_path / "list.csv.gz").rename(other / "list.csv.gz")
        code, _, error = fetch(other, site)
        assert code != 0 and "no matching questions; check --site, --ids" in error


def test_a_spent_quota_stops_the_run_and_the_same_command_goes_on_the_next_day(tmp_path):
    with SampleSite(n=350, faults=Faults(quota=2)) as site:
        alive = [one for one in site.questions if not one.deleted]
        write_list(tmp_path, site, alive)
        code, _, error = fetch(tmp_path, site)
        assert code != 0 and "used up: run again tomorrow" in error
        assert len(fetched(tmp_path)) == 200 and len(calls_by_id(site)) == 2
        port = int(site.url.rpartition(":")[2])
    with SampleSite(port, n=350) as site:  # the next day
        assert fetch(tmp_path, site)[0] == 0
        assert fetched(tmp_path) == {str(one.id) for one in alive}
        assert sum(map(len, calls_by_id(site))) == len(alive) - 200


def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path):
    moments = random.Random(1)
    with SampleSite(n=450, faults=Faults(slow_s=0.05)) as site:
        alive = [one for one in site.questions if not one.deleted]
        write_list(tmp_path, site, alive)
        for _ in range(3):
            process = start("stack_exchange_api", *by_ids(tmp_path, site))
            seen = len(calls_by_id(site))
            wait_until(lambda process=process, seen=seen: len(calls_by_id(site)) > seen or process.poll() is not None)
            time.sleep(moments.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert fetch(tmp_path, site)[0] == 0
        assert fetched(tmp_path) == {str(one.id) for one in alive}


def test_an_output_with_other_questions_or_of_another_site_is_left_unchanged(tmp_path):
    with SampleSite(n=60) as site, SampleSite(n=20) as other:
        write_list(tmp_path, site, site.questions)
        assert fetch(tmp_path, site)[0] == 0
        before = (tmp_path / "ques_details.csv").read_bytes()
        write_list(tmp_path, site, site.questions[:10])
        code, _, error = fetch(tmp_path, site)
        assert code != 0 and "questions that --ids does not list: choose another --output" in error
        write_list(tmp_path, other, other.questions)
        code, _, error = fetch(tmp_path, other)
        assert code != 0 and f"belongs to {site.url}: choose another --output" in error
        assert (tmp_path / "ques_details.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (f"{HEADER}\n{ROW}\n".encode(), "not a question list, which is CSV in UTF-8 compressed by gzip"),
        (gzip.compress(f"{HEADER}\n{ROW}\n".encode(), mtime=0)[:-9], "not a question list, which is CSV"),
        (b"", "expected the columns site, id, split, described, tags, found ''"),
        ("title,url\na,b\n", "expected the columns site, id, split, described, tags, found 'title, url'"),
        (f"{HEADER}\n", "lists no question"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "row 2: question 12 of https://cooking.stackexchange.com comes twice"),
        (f"{HEADER}\n{ROW.replace('12', 'twelve')}\n", "row 1, column id: 'twelve' is not the id of a question"),
        (f"{HEADER}\n{ROW.replace('12', '2147483648')}\n", "row 1, column id: '2147483648' is not the id"),
        (f"{HEADER}\n{ROW.replace('12', '²')}\n", "row 1, column id: '²' is not the id"),
        (f"{HEADER}\n{ROW.replace('train', 'mine')}\n", "row 1, column split: expected train, validation, test"),
        (f"{HEADER}\n{ROW.replace(',1,', ',yes,')}\n", "row 1, column described: expected 0 or 1, found 'yes'"),
        (f"{HEADER}\n{ROW.replace('rye', 'Rye')}\n", "row 1, column tags: 'Rye' is not a tag"),
        (f"{HEADER}\n{ROW.replace('https://', '')}\n", "row 1, column site: 'cooking.stackexchange.com' is not"),
        (f"{HEADER}\n{ROW},more\n", "row 1: 6 cells, expected 5"),
        (f"{HEADER}\n{ROW}\n", "no question of https://other.example: give --site https://cooking.stackexchange.com"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_list_of_this_site_is_reported_in_one_line(tmp_path, content, complaint):
    packed = content if isinstance(content, bytes) else gzip.compress(content.encode())
    (tmp_path / "list.csv.gz").write_bytes(packed)
    options = ["--site", "https://other.example", "--ids", tmp_path / "list.csv.gz", "--output", tmp_path / "out.csv"]
    line = call(stack_exchange_api, *options)
    assert isinstance(line, str) and complaint in line and "\n" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv.gz"]


def test_other_selections_are_not_combined_with_a_list(tmp_path, capsys):
    for more in (["--from", "2020-01-01"], ["--to", "2020-01-01"], ["--tagged", "rye"], ["--since-last"]):
        with pytest.raises(SystemExit, match="2"):
            stack_exchange_api.parse_args(["--ids", "list.csv.gz", *more])
        assert "--ids cannot be combined with" in capsys.readouterr().err
    line = call(stack_exchange_api, "--ids", tmp_path / "none.csv.gz")
    assert "none.csv.gz: not a question list" in line and "No such file" in line


# ---- tags and parts of a list ----


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder of filtered questions of the sample site with their list, and the site's questions."""
    folder = tmp_path_factory.mktemp("first")
    with SampleSite(n=240) as site:
        options = ["--site", site.url, "--api", f"{site.url}/2.3", "--output", folder / "ques_details.csv"]
        assert call(stack_exchange_api, *options, "--delay", 0) is None
    filter_tags.main(["--data-dir", str(folder), "--min-frequency", "0.03"])
    questions, parts = filtered(folder)
    (folder / "list.csv.gz").write_bytes(encode_question_list(list_questions(questions, parts, STACK_EXCHANGE)))
    return folder


def filtered(folder):
    questions = read_questions(folder / "ques_filtered.csv")
    return questions, read_table(folder / "split.csv", ["url", "split"]).set_index("url")["split"][questions["url"]]


def by_question(folder):
    """{key: (title, description, tags, part)} of the filtered questions."""
    questions, parts = filtered(folder)
    cells = zip(questions["title"], questions["description"], map(tuple, questions["tags"]), parts, strict=True)
    return dict(zip(map(STACK_EXCHANGE.question_key, questions["url"]), cells, strict=True))


def again(first, folder, details: pd.DataFrame, *more) -> dict:
    """Filter questions by the list of the first folder, and return them."""
    details.to_csv(folder / "ques_details.csv", index=False)
    filter_tags.main(["--data-dir", str(folder), "--question-list", str(first / "list.csv.gz"), *map(str, more)])
    return by_question(folder)


def read_details(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "ques_details.csv", keep_default_na=False, dtype=str)


def test_the_same_questions_get_the_same_tags_and_parts(first, tmp_path, capsys):
    details = read_details(first).sample(frac=1, random_state=0)
    assert again(first, tmp_path, details) == by_question(first)
    tags, before = ((folder / "tag_types_encoded.json").read_text() for folder in (tmp_path, first))
    assert tags == before
    left_out = len(details) - len(by_question(first))
    said = capsys.readouterr().out
    assert f"0 are missing; 0 have other tags today and keep those of the list; {left_out} that are not listed" in said
    record = json.loads((tmp_path / "filter_tags.json").read_text())
    assert record["arguments"] == {"question_list": (first / "list.csv.gz").as_posix()}


def test_missing_retagged_renamed_and_new_questions_are_reported_and_parts_stay(first, tmp_path, capsys):
    before, details = by_question(first), read_details(first)
    keys = details["url"].map(STACK_EXCHANGE.question_key)
    missing, retagged, renamed, plain = [key for key in keys if key in before][:4]
    details.loc[keys == retagged, "tags"] = '["python"]' if before[retagged][2] != ("python",) else '["plotting"]'
    details.loc[keys == renamed, "url"] += "-with-another-title"
    new = details[keys == plain].assign(url=f"{details['url'][0].rpartition('/questions/')[0]}/questions/999999/new")
    after = again(first, tmp_path, pd.concat([details[keys != missing], new]))
    assert after == {key: cells for key, cells in before.items() if key != missing}
    said = capsys.readouterr().out
    assert (
        f"question list: {len(before) - 1} of {len(before)} questions are here, 1 are missing; 1 have other tags"
        in said
    )


def test_descriptions_that_the_data_did_not_have_are_left_out(first, tmp_path):
    listed = [
        ListedQuestion(one.site, one.id, one.split, False, one.tags)
        for one in read_question_list(first / "list.csv.gz")
    ]
    (tmp_path / "list.csv.gz").write_bytes(encode_question_list(listed))
    after = again(tmp_path, tmp_path, read_details(first))
    assert after == {key: (title, "", *rest) for key, (title, _, *rest) in by_question(first).items()}
    assert any(description for _, description, *_ in by_question(first).values())


def test_a_list_of_another_site_leaves_no_question(first, tmp_path):
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{ROW}\n".encode()))
    read_details(first).to_csv(tmp_path / "ques_details.csv", index=False)
    line = call(filter_tags, "--data-dir", tmp_path, "--question-list", tmp_path / "list.csv.gz")
    assert "list.csv.gz lists none of its questions: name the list of this site" in line
    assert not (tmp_path / "split.csv").exists()
