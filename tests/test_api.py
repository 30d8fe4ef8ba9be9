"""The harvest of the Stack Exchange API as a user runs it, against the sample site's API over real HTTP."""

import json
import random
import signal
import time
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest

from data.files import iter_rows, read_questions, read_synonyms
from data.sample_site.server import Faults, SampleSite
from scraper import stack_exchange_api
from scraper.api_answers import AnswerError, api_time, parse_question_item, parse_wrapper
from scraper.politeness import RetryLater, StopRun
from tests.test_scraper import Everything, answering, call, days_ago, rows, run, start, true_details, wait_until
from training import filter_tags


def arguments(folder, site, *more):
    return "--site", site.url, "--api", f"{site.url}/2.3", "--output", folder / "ques_details.csv", *more


def harvest(folder, site, *more, **environment):
    return run("stack_exchange_api", *arguments(folder, site, *more), **environment)


def harvested(folder):
    details = rows(folder / "ques_details.csv")
    return sorted((row["title"], row["description"], json.loads(row["tags"]), row["url"]) for row in details)


def calls(site):
    return [entry for entry in site.log if entry.path.startswith("/2.3/")]


def test_the_api_gives_the_questions_that_the_pages_give(sample_site, tmp_path):
    code, output, _ = harvest(tmp_path, sample_site)
    assert code == 0 and "59 questions (59 new)" in output
    assert harvested(tmp_path) == true_details(sample_site)
    dates = {row["url"]: row["creation_date"] for row in rows(tmp_path / "ques_details.csv")}
    question = sample_site.questions[0]
    assert dates[f"{sample_site.url}{question.path}"] == question.asked.strftime("%Y-%m-%dT%H:%M:%SZ")
    source = json.loads((tmp_path / "SOURCE.json").read_text())
    assert source["questions"] == 59 and source["site"] == sample_site.url
    assert source["questions_asked_under"] == {"CC BY-SA 4.0": 59}


def test_run_again_it_asks_for_what_is_new_only(tmp_path):
    with SampleSite(n=450) as site:
        newest = site.questions[:30]
        del site.questions[:30]
        assert harvest(tmp_path, site)[0] == 0
        site.questions[:0] = newest
        before = len(calls(site))
        code, output, _ = harvest(tmp_path, site)
        assert code == 0 and "(29 new)" in output  # one is deleted
        assert len(calls(site)) == before + 1
        assert harvested(tmp_path) == true_details(site)


def test_what_has_changed_since_the_last_run_is_fetched_anew(tmp_path):
    with SampleSite(n=120) as site:
        assert "records no complete run" in harvest(tmp_path, site, "--since-last")[2]
        assert harvest(tmp_path, site)[0] == 0
        urls = {row["url"] for row in rows(tmp_path / "ques_details.csv")}
        site.edit(site.questions[3].id, tags=("python", "plotting"))
        site.edit(site.questions[4].id, title="Another title")
        site.edit(site.questions[5].id)  # an answer came, the question is as it was
        code, output, _ = harvest(tmp_path, site, "--since-last")
        assert code == 0 and "(0 new, 2 changed)" in output
        assert [row[:3] for row in harvested(tmp_path)] == [row[:3] for row in true_details(site)]
        assert {row["url"] for row in rows(tmp_path / "ques_details.csv")} == urls
        assert "(0 new, 0 changed)" in harvest(tmp_path, site, "--since-last")[1]


def test_dates_and_tags_can_be_asked_for(sample_site, tmp_path):
    day = sample_site.questions[20].asked.date()
    code, _, _ = harvest(tmp_path, sample_site, "--from", day, "--to", day + timedelta(days=3))
    kept = {row["url"] for row in rows(tmp_path / "ques_details.csv")}
    first = datetime.combine(day, datetime.min.time())
    inside = [question for question in sample_site.questions if first <= question.asked < first + timedelta(days=3)]
    assert code == 0 and kept == {f"{sample_site.url}{question.path}" for question in inside if not question.deleted}

    code, _, _ = harvest(tmp_path, sample_site, "--tagged", "python", "--force")
    assert code == 0 and all("python" in json.loads(row["tags"]) for row in rows(tmp_path / "ques_details.csv"))


def test_more_questions_than_a_page_within_one_second_are_all_taken(tmp_path):
    with SampleSite(n=260) as site:
        site.questions[:] = [replace(question, asked=datetime(2023, 5, 1)) for question in site.questions]
        assert harvest(tmp_path, site)[0] == 0
        assert harvested(tmp_path) == true_details(site)


@pytest.mark.parametrize(
    "faults",
    [Faults(error_every=2), Faults(garbage_every=2), Faults(too_many_requests_every=2, retry_after_s=1)],
    ids=["500", "garbage", "429"],
)
def test_faults_that_pass_lose_nothing(tmp_path, faults):
    with SampleSite(n=150, faults=faults) as site:
        assert harvest(tmp_path, site)[0] == 0
        assert harvested(tmp_path) == true_details(site)


def test_a_backoff_is_obeyed(tmp_path):
    with SampleSite(n=250, faults=Faults(backoff_s=1)) as site:
        assert harvest(tmp_path, site)[0] == 0
        times = [entry.time_s for entry in calls(site)]
    assert len(times) >= 3 and all(later - earlier >= 1 for earlier, later in pairwise(times))


def test_a_spent_quota_stops_the_run_and_the_next_goes_on(tmp_path):
    with SampleSite(n=350, faults=Faults(quota=2)) as site:
        code, _, error = harvest(tmp_path, site)
        assert code != 0 and "used up: run again tomorrow" in error and "STACK_EXCHANGE_KEY" in error
        assert len(calls(site)) == 2  # it does not ask in vain
        code, _, error = harvest(tmp_path, site)
        assert code != 0 and "asks for a pause of 600 minutes" in error
        assert len(rows(tmp_path / "ques_details.csv")) > 150
        port = int(site.url.rpartition(":")[2])
    with SampleSite(port, n=350) as site:  # the next day
        assert harvest(tmp_path, site)[0] == 0
        assert harvested(tmp_path) == true_details(site)


def test_a_key_goes_with_every_call_and_is_not_shown(sample_site, tmp_path):
    before = len(calls(sample_site))
    code, output, error = harvest(tmp_path, sample_site, STACK_EXCHANGE_KEY="s3cret")
    assert code == 0 and "s3cret" not in output + error
    assert all("key=s3cret" in entry.path for entry in calls(sample_site)[before:])
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_it_ends_with_the_rows_of_an_unbroken_run(tmp_path, seed):
    moments = random.Random(seed)
    with SampleSite(n=450, faults=Faults(slow_s=0.05)) as site:
        for _ in range(10):
            process = start("stack_exchange_api", *arguments(tmp_path, site))
            seen = len(calls(site)) + moments.randint(0, 1)
            wait_until(lambda process=process, seen=seen: len(calls(site)) > seen or process.poll() is not None)
            time.sleep(moments.uniform(0, 0.08))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert harvest(tmp_path, site)[0] == 0
        assert harvested(tmp_path) == true_details(site)


def test_a_top_up_that_was_killed_goes_on(tmp_path):
    with SampleSite(n=300, faults=Faults(slow_s=0.1)) as site:
        assert harvest(tmp_path, site)[0] == 0
        for question in site.questions[:250]:
            site.edit(question.id, tags=("python",))
        for calls_before_kill in (2, 3):
            process = start("stack_exchange_api", *arguments(tmp_path, site, "--since-last"))
            seen = len(calls(site)) + calls_before_kill
            wait_until(lambda seen=seen: len(calls(site)) >= seen)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert harvest(tmp_path, site, "--since-last")[0] == 0
        assert harvested(tmp_path) == true_details(site)


def test_a_second_run_on_the_same_output_stops(tmp_path):
    with SampleSite(n=300, faults=Faults(slow_s=0.5)) as site:
        first = start("stack_exchange_api", *arguments(tmp_path, site))
        wait_until(lambda: calls(site))
        code, _, error = harvest(tmp_path, site)
        assert code != 0 and "is being written by another run" in error
        first.communicate(timeout=60)
        assert first.returncode == 0 and harvested(tmp_path) == true_details(site)


def test_a_full_disk_stops_the_run_in_one_line_and_loses_no_row(tmp_path):
    with SampleSite(n=450) as site:
        code, _, error = run("stack_exchange_api", *arguments(tmp_path, site), limit_bytes=200_000)
        assert code != 0 and error.startswith("stopped: ")
        taken = rows(tmp_path / "ques_details.csv")
        assert taken and all(None not in row.values() for row in taken)
        assert harvest(tmp_path, site)[0] == 0
        assert harvested(tmp_path) == true_details(site)


@pytest.mark.parametrize(
    "more, complaint",
    [
        (["--from", "yesterday"], "'yesterday' is not a date such as 2024-05-31"),
        (["--from", "2024-05-31", "--to", "2024-05-01"], "--to must be later than --from"),
        (["--tagged", "no-such-tag"], "the API has no matching questions"),
        (["--api", "http://127.0.0.1:9/2.3"], "does not answer"),
    ],
)
def test_a_wrong_request_is_named_in_one_line(sample_site, tmp_path, more, complaint):
    code, _, error = harvest(tmp_path, sample_site, *more)
    assert code != 0 and complaint in error


def test_items_that_are_no_questions_are_named_and_the_others_taken():
    good = {"title": "Is 1 &lt; 2?", "body": "<p>x &amp;lt; y</p>", "tags": ["r"], "link": "https://s.example/q/1"}
    good |= {"creation_date": 1700000000}
    row = parse_question_item(good)
    assert (row["title"], row["description"], row["creation_date"]) == ("Is 1 < 2?", "x &lt; y", "2023-11-14T22:13:20Z")
    wrong = [("title", None, None), ("body", 5, None), ("creation_date", "x", None), ("creation_date", 10**20, None)]
    wrong += [
        ("link", "http://[", None),
        ("link", "", None),
        ("link", "/q/1", None),
        ("link", "https://s.example/\ud83d", None),
    ]
    wrong += [("tags", "r", None), ("tags", [5], None), ("tags", ["Two words"], None), ("tags", ["\ud83d"], None)]
    for field, value, complaint in (*wrong, ("title", " ", "no title"), ("tags", [], "no tags")):
        with pytest.raises(AnswerError, match=complaint):
            parse_question_item(good | {field: value})
    with pytest.raises(AnswerError, match="body"):
        parse_question_item({name: value for name, value in good.items() if name != "body"})


@pytest.mark.parametrize("date", ["2023-11-14T22:13:20", "2023-11-14T22:13:20Z", "2023-11-15T00:13:20+02:00"])
def test_a_date_is_of_utc_unless_it_names_its_zone(date, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert api_time(date) == 1700000000
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text, expected, message",
    [
        ("<html>", RetryLater, "no JSON object"),
        ("[]", RetryLater, "no JSON object"),
        ('{"items": 5}', RetryLater, "without items"),
        ('{"error_id": 503, "error_name": "temporarily_unavailable"}', RetryLater, "temporarily_unavailable"),
        ('{"error_id": 400, "error_name": "bad_parameter", "error_message": "site"}', StopRun, "bad_parameter"),
    ],
)
def test_an_answer_that_is_none_is_told_apart(text, expected, message):
    with pytest.raises(expected, match=message):
        parse_wrapper(text, "api")


def test_a_throttled_answer_slows_the_run_down_and_names_its_pause():
    message = "too many requests from this IP, more requests available in 34 seconds"
    answer = {"error_id": 502, "error_name": "throttle_violation", "error_message": message}
    with pytest.raises(RetryLater) as caught:
        parse_wrapper(json.dumps(answer), "api")
    assert (caught.value.slow_down, caught.value.pause_s) == (True, 34)


def test_synonyms_are_fetched_and_applied(sample_site, tmp_path, capsys):
    target = tmp_path / "tag_synonyms.csv"
    site = ["--site", sample_site.url, "--api", f"{sample_site.url}/2.3", "--output", target]
    code, output, _ = run("tag_synonyms", *site)
    assert code == 0 and "3 synonyms" in output
    assert read_synonyms(target)["ml"] == "machine-learning"
    assert "already there: give --force" in run("tag_synonyms", *site)[2]

    assert harvest(tmp_path, sample_site)[0] == 0
    tags = [json.loads(row["tags"]) for row in iter_rows(tmp_path / "ques_details.csv")]
    old = next(tag for tag in tags[0] if tag != "python")
    target.write_text(f"from,to\n{old},between\nbetween,python\n")
    filter_tags.main(["--data-dir", str(tmp_path), "--min-frequency", "0"])
    assert f"synonyms: {sum(old in row for row in tags)} questions carried tags" in capsys.readouterr().out
    filtered = read_questions(tmp_path / "ques_filtered.csv")
    assert not any(old in row for row in filtered["tags"])
    assert all(len(row) == len(set(row)) for row in filtered["tags"])


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("from,to\na,b\nb,a\n", "leads back"),
        ("from,to\na,b\na,c\n", "row 2: 'a' -> 'c' comes twice"),
        ("from,to\na,\n", "row 1: 'a' -> '' names no tag"),
        ("old,new\na,b\n", "column from, to missing"),
    ],
)
def test_wrong_synonyms_are_named_with_their_row(tmp_path, text, complaint):
    (tmp_path / "tag_synonyms.csv").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_synonyms(tmp_path / "tag_synonyms.csv")


# ---- nothing lost: half characters, edits between runs, failures ----


def harvest_here(folder, site, *more):
    return call(stack_exchange_api, *arguments(folder, site, "--delay", 0, *more))


@pytest.fixture
def begin(monkeypatch):
    """A function that dates the next runs so many days back."""

    def at(days):
        moment = time.time() - days * 86_400
        monkeypatch.setattr(stack_exchange_api, "time", SimpleNamespace(time=lambda: moment))

    return at


def titles(folder):
    return [row["title"] for row in rows(folder / "ques_details.csv")]


def test_half_an_emoji_loses_nothing_but_itself(tmp_path):
    with SampleSite(n=20) as site:
        site.edit(site.questions[9].id, title="cut in an emoji \ud83d")
        site.edit(site.questions[8].id, title="\ude00 an emoji \U0001f600 and its half")
        assert harvest_here(tmp_path, site) is None
        assert len(titles(tmp_path)) == 19
        assert {"cut in an emoji", "an emoji \U0001f600 and its half"} <= set(titles(tmp_path))
        assert harvest_here(tmp_path, site, "--since-last") is None
        assert len(titles(tmp_path)) == 19


def test_a_question_that_cannot_be_written_is_one_failure_and_asked_for_again(tmp_path):
    with SampleSite(n=120) as site:
        odd, gone = site.questions[50], site.questions[51]
        for question in (odd, gone):
            site.edit(question.id, tags=("r", "half \ud83d"))
        assert harvest_here(tmp_path, site) is None
        assert len(titles(tmp_path)) == 117
        failed = rows(tmp_path / "ques_failed.csv")
        assert {row["url"] for row in failed} == {f"{site.url}/questions/{question.id}" for question in (odd, gone)}
        assert {row["kind"] for row in failed} == {"temporary"}

        site.edit(odd.id, tags=("r",))
        site.edit(gone.id, deleted=True)
        assert harvest_here(tmp_path, site) is None
        assert harvested(tmp_path) == true_details(site)
        (failure,) = rows(tmp_path / "ques_failed.csv")
        assert (failure["url"], failure["kind"]) == (f"{site.url}/questions/{gone.id}", "permanent")

        before = len(calls(site))
        assert harvest_here(tmp_path, site) is None
        assert not any(str(gone.id) in entry.path for entry in calls(site)[before:])
        assert rows(tmp_path / "ques_failed.csv") == [failure]


def test_items_of_any_shape_are_failures_and_never_the_end(tmp_path):
    good = {"title": "A", "body": "b", "tags": ["r"], "link": "https://s.example/questions/1", "question_id": 1}
    good["creation_date"] = good["last_activity_date"] = 1_700_000_000
    odd = [
        {"question_id": [2], "link": "http://["},
        {"question_id": 3, "creation_date": 10**30},
        {"question_id": "4", "tags": None},
        {"question_id": 5, "link": {"a": 1}},
        {"question_id": 6, "body": None},
    ]
    items = [good, *({**good, **item} for item in odd), "no item", None]
    wrapper = {"items": items, "has_more": False, "backoff": "soon", "quota_remaining": 9}
    answer = 200, {"Content-Type": "application/json"}, json.dumps(wrapper).encode()
    with answering(Everything(answer)) as (api, _):
        where = ["--site", "https://s.example", "--api", api, "--output", tmp_path / "ques_details.csv", "--delay", 0]
        for _ in range(2):
            assert call(stack_exchange_api, *where) is None
            assert titles(tmp_path) == ["A"]
            assert len(rows(tmp_path / "ques_failed.csv")) == 5


def test_an_edit_between_a_cut_run_and_its_continuation_is_taken_over(tmp_path, begin):
    with SampleSite(n=250, faults=Faults(quota=1)) as site:
        begin(5)
        assert "used up" in harvest_here(tmp_path, site)
        port = int(site.url.rpartition(":")[2])
    with SampleSite(port, n=250) as site:
        site.edit(site.questions[-1].id, title="Edited meanwhile", edited=days_ago(4))
        begin(3)
        assert harvest_here(tmp_path, site) is None
        site.edit(site.questions[-2].id, title="Edited after that", edited=days_ago(2))
        begin(1)
        assert harvest_here(tmp_path, site) is None  # takes what is new, and must not hide the edit
        assert harvest_here(tmp_path, site, "--since-last") is None
        assert [row[:3] for row in harvested(tmp_path)] == [row[:3] for row in true_details(site)]


def test_a_run_that_asks_for_something_else_takes_over_what_has_changed(tmp_path, begin):
    with SampleSite(n=60) as site:
        begin(3)
        assert harvest_here(tmp_path, site) is None
        assert harvest_here(tmp_path, site, "--tagged", "python") is None
        edited = next(question for question in site.questions if not question.deleted)
        site.edit(edited.id, title="Edited meanwhile", edited=days_ago(2))
        begin(1)
        assert harvest_here(tmp_path, site) is None
        assert [row[:3] for row in harvested(tmp_path)] == [row[:3] for row in true_details(site)]


def test_a_top_up_keeps_to_the_period_that_was_asked_for(tmp_path):
    with SampleSite(n=60) as site:
        period = ["--from", site.questions[40].asked.isoformat(), "--to", site.questions[20].asked.isoformat()]
        assert harvest_here(tmp_path, site, *period) is None
        asked = {question.id for question in site.questions[21:41] if not question.deleted}
        for place in (10, 30, 50):
            site.edit(site.questions[place].id, title=f"Edited {place}")
        assert harvest_here(tmp_path, site, *period, "--since-last") is None
        found = rows(tmp_path / "ques_details.csv")
        assert {int(row["url"].split("/")[4]) for row in found} == asked
        assert [title for title in titles(tmp_path) if title.startswith("Edited")] == ["Edited 30"]
