"""The two scrapers as a user runs them: real processes, real headless Chromium, the sample site over real HTTP."""

import csv
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from data.sample_site.server import Faults, SampleSite
from deployment.html_text import html_to_text
from scraper import question_details_scraper, question_url_scraper
from scraper.csv_store import complete_length
from scraper.plain import PlainClient
from scraper.politeness import RetryLater, parse_retry_after

ROOT = Path(__file__).parents[1]


def start(script, *arguments, delay=0, limit_bytes=resource.RLIM_INFINITY, **environment):
    """Start a scraper; with --delay 0 unless the arguments say otherwise. No file may grow beyond ``limit_bytes``."""

    def prepare():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it

    delays = [] if delay is None else ["--delay", str(delay)]
    command = [sys.executable, f"scraper/{script}.py", *delays, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def run(script, *arguments, **options):
    """Run a scraper to its end; return its exit code, standard output and the last line of its standard error."""
    process = start(script, *arguments, **options)
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    return process.returncode, output, errors.rstrip().rpartition("\n")[2]


def scrape_urls(folder, site, *arguments):
    return run("question_url_scraper", "--site", site.url, "--output", folder / "ques_urls.csv", *arguments)


def details_arguments(folder):
    return "--input", folder / "ques_urls.csv", "--output", folder / "ques_details.csv"


def scrape_details(folder, *arguments, **environment):
    return run("question_details_scraper", *details_arguments(folder), *arguments, **environment)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_urls(folder, site, questions):
    lines = [f"a title,{site.url}{question.path}\n" for question in questions]
    (folder / "ques_urls.csv").write_text("title,url\n" + "".join(lines))


def present(site):
    return [question for question in site.questions if not question.deleted]


def true_details(site):
    """The rows that an unbroken run must give, as a sorted list of tuples."""
    return sorted(
        (question.title, html_to_text(question.body_html), list(question.tags), f"{site.url}{question.path}")
        for question in present(site)
    )


def scraped_details(folder):
    details = rows(folder / "ques_details.csv")
    return sorted((row["title"], row["description"], json.loads(row["tags"]), row["url"]) for row in details)


def page_requests(site):
    return [entry for entry in site.log if entry.path.startswith("/questions")]


def wait_until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def descendants(pid):
    """The living processes below ``pid``, as {pid: name}."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, state, parent = re.match(r"\d+ \((.*)\) (\S) (\d+)", stat.read_text()).groups()
        except OSError:  # ended meanwhile
            continue
        if state != "Z":
            parents[int(stat.parent.name)], names[int(stat.parent.name)] = int(parent), name
    found, todo = {}, [pid]
    while todo:
        children = [child for child, parent in parents.items() if parent == todo[0]]
        found |= {child: names[child] for child in children}
        todo = todo[1:] + children
    return found


def all_ended(pids):
    def ended(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    return all(map(ended, pids))


def kill_at(process, output, least_rows):
    """SIGKILL a scraper once its output has so many rows, and wait for the end of its browsers."""
    wait_until(lambda: output.exists() and output.read_bytes().count(b"/questions/") >= least_rows)
    children = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: all_ended(children))


@pytest.fixture(scope="module")
def scraped(sample_site, tmp_path_factory):
    """A folder with both results of unbroken runs, and what the runs said."""
    folder = tmp_path_factory.mktemp("scraped")
    said = [scrape_urls(folder, sample_site), scrape_details(folder, "--contact", "mail@example.org")]
    return folder, said


def test_an_unbroken_run_gives_every_question_once(scraped, sample_site):
    folder, said = scraped
    assert [code for code, _, _ in said] == [0, 0]
    urls = [(row["title"], row["url"]) for row in rows(folder / "ques_urls.csv")]
    assert sorted(urls) == sorted((q.title, f"{sample_site.url}{q.path}") for q in sample_site.questions)
    assert scraped_details(folder) == true_details(sample_site)


def test_the_last_line_has_counts_and_files(scraped):
    folder, ((_, urls_said, _), (_, details_said, _)) = scraped
    assert urls_said == f"60 questions (60 new) in {folder}/ques_urls.csv, 0 failures\n"
    failed = f"1 failures in {folder}/ques_failed.csv"
    assert details_said == f"59 questions (59 new, 0 changed) in {folder}/ques_details.csv, {failed}\n"


def test_browser_and_robots_requests_carry_the_name_and_contact(scraped, sample_site):
    agents = {entry.user_agent for entry in sample_site.log}
    assert agents == {"QuestionTagger/0.1", "QuestionTagger/0.1 (+mail@example.org)"}
    assert "/robots.txt" in [entry.path for entry in sample_site.log]


def test_a_complete_listing_is_not_fetched_again(scraped, sample_site):
    folder, _ = scraped
    before = len(sample_site.log)
    code, output, _ = scrape_urls(folder, sample_site)
    assert code == 0
    assert "nothing to do: 60 questions" in output
    assert len(sample_site.log) == before


def test_only_the_failed_question_is_tried_again(scraped, sample_site):
    folder, _ = scraped
    (deleted,) = [question for question in sample_site.questions if question.deleted]
    before = len(page_requests(sample_site))
    code, _, _ = scrape_details(folder)
    assert code == 0
    assert [entry.path for entry in page_requests(sample_site)[before:]] == [deleted.path]
    (failure,) = rows(folder / "ques_failed.csv")
    assert failure["url"] == sample_site.url + deleted.path
    assert "404" in failure["reason"]


def test_another_site_into_the_same_file_is_refused(scraped, sample_site):
    folder, _ = scraped
    before = (folder / "ques_urls.csv").read_bytes()
    code, _, error = run(
        "question_url_scraper", "--site", "https://cooking.example", "--output", folder / "ques_urls.csv"
    )
    assert code == 1
    assert "https://cooking.example" in error
    assert "--output" in error
    assert (folder / "ques_urls.csv").read_bytes() == before


def test_sigkill_at_any_moment_loses_and_doubles_nothing(scraped, sample_site, tmp_path):
    (tmp_path / "ques_urls.csv").write_bytes((scraped[0] / "ques_urls.csv").read_bytes())
    output = tmp_path / "ques_details.csv"
    stale = sample_site.url + present(sample_site)[-1].path
    (tmp_path / "ques_failed.csv").write_text(f"url,reason\n{stale},HTTP 500\n")
    for least_rows in range(0, 60, 3):  # 20 kills
        kill_at(start("question_details_scraper", *details_arguments(tmp_path)), output, least_rows)
    with output.open("ab") as file:  # what a kill within the write would leave
        file.write(b'"A title, with ""quotes""","a description\nof two li')
    code, _, _ = scrape_details(tmp_path)
    assert code == 0
    assert scraped_details(tmp_path) == true_details(sample_site)
    assert [row["url"] for row in rows(tmp_path / "ques_failed.csv")] == [
        sample_site.url + question.path for question in sample_site.questions if question.deleted
    ]


def test_a_killed_listing_run_rereads_only_what_is_missing(tmp_path):
    with SampleSite(n=150, faults=Faults(slow_s=0.4)) as site:
        output = tmp_path / "ques_urls.csv"
        arguments = ("--site", site.url, "--output", output, "--workers", 1)
        process = start("question_url_scraper", *arguments)
        wait_until((tmp_path / "ques_urls.progress.json").exists)
        process.kill()
        process.communicate()
        code, _, _ = run("question_url_scraper", *arguments)
        assert code == 0
        assert sorted(row["url"] for row in rows(output)) == sorted(site.url + q.path for q in site.questions)
        first_page = [entry for entry in page_requests(site) if entry.path.endswith("page=1")]
        assert len(first_page) == 1
        output.write_bytes(output.read_bytes()[:-200])  # lost by a power failure, say
        code, _, _ = run("question_url_scraper", *arguments)
        assert sorted(row["url"] for row in rows(output)) == sorted(site.url + q.path for q in site.questions)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(sample_site, tmp_path):
    write_urls(tmp_path, sample_site, present(sample_site))
    process = start("question_details_scraper", *details_arguments(tmp_path))
    wait_until(lambda: (tmp_path / "ques_details.csv").exists() and (tmp_path / "ques_details.csv").stat().st_size)
    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "run again" in errors.rstrip().rpartition("\n")[2]
    assert {"chromedriver", "chromium"} <= set(children.values())
    wait_until(lambda: all_ended(children))
    assert scraped_details(tmp_path)
    assert {row[3] for row in scraped_details(tmp_path)} < {row[3] for row in true_details(sample_site)}


def test_a_crashed_browser_is_replaced(tmp_path):
    with SampleSite(n=14, faults=Faults(slow_s=0.2)) as site:
        write_urls(tmp_path, site, present(site))
        process = start("question_details_scraper", *details_arguments(tmp_path), "--workers", 1)
        wait_until(lambda: len(page_requests(site)) >= 3)
        crashed = [pid for pid, name in descendants(process.pid).items() if name == "chromium"]
        os.kill(min(crashed), signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert scraped_details(tmp_path) == true_details(site)


def test_retry_after_lets_the_host_rest(tmp_path):
    with SampleSite(n=12, faults=Faults(too_many_requests_every=5, retry_after_s=2)) as site:
        write_urls(tmp_path, site, present(site))
        code, _, _ = scrape_details(tmp_path, "--delay", 0.02)
        assert code == 0
        assert scraped_details(tmp_path) == true_details(site)
        requests = page_requests(site)
        refused = [i for i, entry in enumerate(requests[:-1]) if entry.status == 429]
        assert refused
        assert all(requests[i + 1].time_s - requests[i].time_s >= 2 for i in refused)


def test_server_errors_are_tried_again(tmp_path):
    with SampleSite(n=12, faults=Faults(error_every=4)) as site:
        code, _, _ = scrape_urls(tmp_path, site)
        assert code == 0
        code, _, _ = scrape_details(tmp_path)
        assert 500 in [entry.status for entry in site.log]
        assert scraped_details(tmp_path) == true_details(site)


def test_a_challenge_page_stops_the_run_and_keeps_what_was_taken(tmp_path):
    with SampleSite(n=30, faults=Faults(challenge_after=8)) as site:
        write_urls(tmp_path, site, present(site))
        code, _, error = scrape_details(tmp_path)
        assert code == 1
        assert "proof of being human" in error
        taken = {row["url"] for row in rows(tmp_path / "ques_details.csv")}
        assert taken
        assert taken == {site.url + entry.path for entry in page_requests(site) if entry.status == 200}
        assert len(page_requests(site)) < 12


def test_robots_txt_is_obeyed(tmp_path):
    with SampleSite(n=5, faults=Faults(robots_disallow_all=True)) as site:
        code, _, error = scrape_urls(tmp_path, site)
        assert code == 1
        assert "robots.txt" in error
        assert not (tmp_path / "ques_urls.csv").exists()
        write_urls(tmp_path, site, site.questions)
        code, _, error = scrape_details(tmp_path)
        assert code == 1
        assert "robots.txt" in error
        assert len(rows(tmp_path / "ques_failed.csv")) == 5
        assert page_requests(site) == []


@pytest.mark.parametrize(("faults", "delay_s"), [(Faults(), 0.3), (Faults(crawl_delay_s=1), 1.0)])
def test_workers_share_the_delay(tmp_path, faults, delay_s):
    with SampleSite(n=4, faults=faults) as site:
        write_urls(tmp_path, site, present(site))
        code, _, _ = scrape_details(tmp_path, "--delay", 0.3, "--workers", 2)
        assert code == 0
        times = [entry.time_s for entry in site.log if not entry.path.startswith("/static")]
        assert len(times) == len(present(site)) + 1
        assert all(later - earlier >= delay_s for earlier, later in pairwise(times[1:]))


def test_a_second_run_on_the_same_file_stops(tmp_path):
    with SampleSite(n=12, faults=Faults(slow_s=1.0)) as site:
        write_urls(tmp_path, site, present(site))
        first = start("question_details_scraper", *details_arguments(tmp_path), "--workers", 1)
        wait_until((tmp_path / "ques_details.csv").exists)
        code, _, error = scrape_details(tmp_path)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=20)
        assert code == 1
        assert "another run" in error


def test_a_missing_browser_is_named_with_its_cure(sample_site, tmp_path):
    write_urls(tmp_path, sample_site, sample_site.questions)
    code, _, error = scrape_details(tmp_path, PATH="/nowhere", SE_OFFLINE="true", HOME=str(tmp_path))
    assert code == 1
    assert "apt-get install chromium chromium-driver" in error


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "question_url_scraper.py"),
        (b"", "the file is empty"),
        (b"title,url\n", "no rows"),
        (b"title,link\nx,https://example.org/questions/1\n", "column url missing; found title, link"),
        (b"title,url\nx\n", "row 1"),
        (b"title,url\n\xff\xfe,https://example.org/questions/1\n", "UTF-8"),
        (b"title,url\nx,questions/1\n", "row 1"),
    ],
)
def test_a_bad_input_file_gets_one_line(tmp_path, content, complaint):
    path = tmp_path / "ques_urls.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        question_details_scraper.main(["--input", str(path), "--output", str(tmp_path / "ques_details.csv")])
    assert complaint in stop.value.code
    assert "\n" not in stop.value.code
    assert not (tmp_path / "ques_details.csv").exists()


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"notes without an end", b"title,url\none,two,three\n"])
def test_a_foreign_output_file_is_left_alone(tmp_path, content):
    path = tmp_path / "ques_urls.csv"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        question_url_scraper.main(["--output", str(path)])
    assert str(path) in stop.value.code
    assert "--force" in stop.value.code
    assert path.read_bytes() == content


def test_a_damaged_progress_file_gets_one_line(tmp_path):
    (tmp_path / "ques_urls.progress.json").write_text('{"site": ')
    with pytest.raises(SystemExit, match=r"ques_urls\.progress\.json is damaged: remove it"):
        question_url_scraper.main(["--output", str(tmp_path / "ques_urls.csv")])


@pytest.mark.parametrize(
    "arguments",
    [["--workers", "0"], ["--delay", "-1"], ["--delay", "nan"], ["--pages", "x"], ["--site", "ftp://x.org"]],
)
def test_a_bad_option_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        question_url_scraper.main(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("whole", "torn"),
    [
        (b"", b"ti"),
        (b"title,url\n", b""),
        (b"title,url\n", b"a,b"),
        (b'title,url\n"a\nb, ""c""",d\n', b'"e\n""f"",'),
        (b'title,url\n"a",b\n', b'"x ""y"", z""\nq'),
        (b"title,url\r\na,b\r\n", b'"c'),
        (b'title,url\na 5" disk,b\n,\n', b'"'),
        ("title,url\né,b\n".encode(), "é".encode()[:1]),
    ],
)
def test_a_torn_record_is_told_from_whole_ones(whole, torn):
    assert complete_length(whole + torn) == len(whole)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert parse_retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("cooking", "https://cooking.stackexchange.com"),
        ("ru.stackoverflow.com/", "https://ru.stackoverflow.com"),
        ("http://127.0.0.1:8765/questions", "http://127.0.0.1:8765"),
        ("https://Gaming.StackExchange.com", "https://gaming.stackexchange.com"),
    ],
)
def test_a_site_may_be_named_in_short(given, address):
    assert question_url_scraper.site_address(given) == address


# ---- --engine requests, --since-last ----


def test_plain_http_gives_the_same_rows_as_the_browser(sample_site, scraped, tmp_path):
    plain = ["--engine", "requests"]
    assert scrape_urls(tmp_path, sample_site, *plain)[0] == 0
    assert scrape_details(tmp_path, *plain)[0] == 0
    assert scraped_details(tmp_path) == scraped_details(scraped[0]) == true_details(sample_site)
    dates = {row["url"]: row["creation_date"] for row in rows(tmp_path / "ques_details.csv")}
    assert dates == {row["url"]: row["creation_date"] for row in rows(scraped[0] / "ques_details.csv")}
    source = json.loads((tmp_path / "SOURCE.json").read_text())
    assert source["site"] == sample_site.url and source["questions"] == len(dates)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(error_every=3),
        Faults(too_many_requests_every=4, retry_after_s=1),
        Faults(cut_every=5),
        Faults(login_every=5),
    ],
    ids=["500", "429", "answer cut off", "sent to log in"],
)
def test_plain_http_survives_faults_that_pass(tmp_path, faults):
    with SampleSite(n=20, faults=faults) as site:
        assert scrape_urls(tmp_path, site, "--engine", "requests")[0] == 0
        assert scrape_details(tmp_path, "--engine", "requests")[0] == 0
        assert scraped_details(tmp_path) == true_details(site)


def test_an_answer_that_does_not_come_is_asked_for_again(monkeypatch):
    monkeypatch.setattr("scraper.plain.TIMEOUT_S", 0.3)
    with SampleSite(n=10, faults=Faults(slow_s=2)) as site, pytest.raises(RetryLater, match="Timeout"):
        PlainClient("tests").get(site.url + site.questions[0].path, "")


def test_plain_http_stops_at_a_challenge(tmp_path):
    with SampleSite(n=60, faults=Faults(challenge_after=20)) as site:
        assert scrape_urls(tmp_path, site, "--engine", "requests")[0] == 0
        code, _, error = scrape_details(tmp_path, "--engine", "requests")
        assert code != 0 and "asks for a proof of being human" in error
        assert 0 < len(rows(tmp_path / "ques_details.csv")) < 20


def test_killed_20_times_plain_http_ends_with_the_rows_of_an_unbroken_run(tmp_path):
    moments = random.Random(0)
    with SampleSite(n=200, faults=Faults(slow_s=0.01)) as site:
        assert scrape_urls(tmp_path, site, "--engine", "requests")[0] == 0
        for _ in range(20):
            process = start("question_details_scraper", *details_arguments(tmp_path), "--engine", "requests")
            seen = len(site.log)
            wait_until(lambda process=process, seen=seen: len(site.log) > seen or process.poll() is not None)
            time.sleep(moments.uniform(0, 0.08))
            process.kill()
            process.communicate()
        assert scrape_details(tmp_path, "--engine", "requests")[0] == 0
        assert scraped_details(tmp_path) == true_details(site)


def test_a_top_up_takes_what_is_new_and_what_has_changed(tmp_path):
    plain = ["--engine", "requests", "--since-last"]
    with SampleSite(n=150) as site:
        newest = site.questions[:7]
        del site.questions[:7]
        assert "no complete run" in scrape_urls(tmp_path, site, *plain)[2]
        assert scrape_urls(tmp_path, site, *plain[:2])[0] == scrape_details(tmp_path, *plain[:2])[0] == 0
        urls = [row["url"] for row in rows(tmp_path / "ques_details.csv")]
        for question in newest:
            site.questions.insert(0, replace(question, edited=datetime.now(UTC).replace(tzinfo=None)))
        site.edit(site.questions[120].id, tags=("python",))
        site.edit(site.questions[121].id, title="Another title")
        asked = len(page_requests(site))
        code, output, _ = scrape_urls(tmp_path, site, *plain)
        assert code == 0 and f"{len(newest)} new questions" in output
        assert len(page_requests(site)) == asked + 1  # the first page tells all
        code, output, _ = scrape_details(tmp_path, *plain)
        assert code == 0 and "2 changed" in output
        found = [(title, text, tags) for title, text, tags, _ in scraped_details(tmp_path)]
        assert found == [(title, text, tags) for title, text, tags, _ in true_details(site)]
        assert set(urls) <= {row["url"] for row in rows(tmp_path / "ques_details.csv")}
        assert not (tmp_path / "ques_changed.csv").exists()
