"""The two scrapers as a user runs them: real processes, real headless Chromium, the sample site over real HTTP."""

import csv
import json
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from data.sample_site.generator import make_questions
from data.sample_site.server import Faults, SampleSite
from scraper import crawl, data_dump, question_details_scraper, question_url_scraper, stack_exchange_api, tag_synonyms
from scraper.pages import Page
from scraper.plain import PlainClient
from scraper.politeness import RetryLater, parse_retry_after
from scraper.store import complete_length, open_details
from tagging.html_text import html_to_text
from tagging.stack_exchange import STACK_EXCHANGE

ROOT = Path(__file__).parents[1]
NO_ADDRESSES = [
    "http://[",
    "http://[::1",
    "https://[x]/questions/1",
    "http://host:port/q/1",
    "http://a b/",
    "ftp://s.example/",
]
ROBOTS = {"/robots.txt": (200, {}, b"User-agent: *\nDisallow: /private/\n")}


@contextmanager
def answering(answers):
    """Serve {path: (status, headers, body)}; yields the address, and the list of the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, headers, body = answers.get(self.path, (404, {}, b"nothing here"))
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def question_page(title="A title", tag="r"):
    """A question as the sites show it, for ``answering``."""
    html = f"""<div id="question-header"><h1><a class="question-hyperlink">{title}</a></h1></div><div id="question">
    <div class="js-post-body"><p>Text</p></div><div class="post-taglist"><a class="post-tag">{tag}</a></div></div>"""
    return 200, {"Content-Type": "text/html; charset=utf-8"}, html.encode()


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


PLAIN = ("--engine", "requests", "--delay", 0)


def call(script, *arguments):
    """Run a scraper in this process, which starts faster; return what it ends with: None, or its last words."""
    try:
        script.main(list(map(str, arguments)))
    except SystemExit as stop:
        return stop.code


def list_here(folder, url, *arguments):
    return call(question_url_scraper, "--site", url, "--output", folder / "ques_urls.csv", *PLAIN, *arguments)


def details_here(folder, *arguments):
    return call(question_details_scraper, *details_arguments(folder), *PLAIN, *arguments)


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


def stored(output):
    """The number of rows in the store of a CSV file, while a scraper writes it."""
    if not (path := output.with_suffix(".sqlite")).exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT count(*) FROM questions").fetchone()[0]
    except sqlite3.OperationalError:  # no tables yet
        return 0
    finally:
        connection.close()


def kill_at(process, output, least_rows):
    """SIGKILL a scraper once its store has so many rows, and wait for the end of its browsers."""
    wait_until(lambda: stored(output) >= least_rows)
    children = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: all_ended(children))


def interrupt(process, output):
    """Send Ctrl-C to a scraper once it has fetched something; return the last line of its standard error."""
    before = stored(output)
    wait_until(lambda: process.poll() is not None or stored(output) > before)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=20)[1].rstrip().rpartition("\n")[2]


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


def test_what_failed_is_tried_again_unless_it_is_gone(scraped, sample_site):
    folder, _ = scraped
    (deleted,) = [question for question in sample_site.questions if question.deleted]
    (failure,) = rows(folder / "ques_failed.csv")
    assert (failure["url"], failure["kind"]) == (sample_site.url + deleted.path, "permanent")
    assert "404" in failure["reason"]
    before = len(page_requests(sample_site))
    code, output, _ = scrape_details(folder)
    assert code == 0 and "nothing to do: 59 questions" in output and "1 failures in" in output
    assert len(page_requests(sample_site)) == before
    assert rows(folder / "ques_failed.csv") == [failure]
    (folder / "ques_failed.csv").write_text(f"url,reason,kind\n{failure['url']},HTTP 500,passing\n")
    assert scrape_details(folder)[0] == 0
    assert [entry.path for entry in page_requests(sample_site)[before:]] == [deleted.path]
    assert rows(folder / "ques_failed.csv") == [failure]


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
    assert not output.exists()  # it is written at the end
    interrupt(start("question_details_scraper", *details_arguments(tmp_path)), output)
    with output.open("ab") as file:  # what a kill within the write of an earlier version would leave
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
        wait_until(lambda: stored(output))
        process.kill()
        process.communicate()
        code, _, _ = run("question_url_scraper", *arguments)
        assert code == 0
        assert sorted(row["url"] for row in rows(output)) == sorted(site.url + q.path for q in site.questions)
        first_page = [entry for entry in page_requests(site) if entry.path.endswith("page=1")]
        assert len(first_page) == 2  # the page before the cut shows whether questions were deleted meanwhile
        output.write_bytes(output.read_bytes()[:-200])  # lost by a power failure, say
        code, _, _ = run("question_url_scraper", *arguments)
        assert sorted(row["url"] for row in rows(output)) == sorted(site.url + q.path for q in site.questions)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(sample_site, tmp_path):
    write_urls(tmp_path, sample_site, present(sample_site))
    process = start("question_details_scraper", *details_arguments(tmp_path))
    wait_until(lambda: stored(tmp_path / "ques_details.csv"))
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
        assert "bot check" in error
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
        wait_until((tmp_path / "ques_details.sqlite").exists)
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
        (b"title,url\nx\n", "line 2"),
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
        ("9" * 400, 31_536_000),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 31_536_000),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +999999999999999999999", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0661\u0662", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert parse_retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_a_pause_of_hundreds_of_digits_is_one_line(tmp_path):
    for header in ("9" * 400, "9" * 5000):
        with answering({"/robots.txt": (429, {"Retry-After": header}, b"")}) as (site, _):
            error = list_here(tmp_path, site)
            assert "asks for a pause of 525600 minutes" in error


def test_a_crawl_delay_without_end_is_one_line(tmp_path):
    for delay in ("1e300", "100000"):
        robots = f"User-agent: *\nCrawl-delay: {delay}\n".encode()
        with answering({"/robots.txt": (200, {}, robots)}) as (site, asked):
            error = list_here(tmp_path, site)
            assert "minutes between two requests: too long" in error
            assert asked == ["/robots.txt"]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_named_wherever_it_stands(tmp_path, address, capsys):
    for script in (question_url_scraper, stack_exchange_api, tag_synonyms, data_dump):
        with pytest.raises(SystemExit):
            script.main(["--site", address, *(["--input", "Posts.xml"] if script is data_dump else [])])
        assert "argument --site" in capsys.readouterr().err
    for script in (stack_exchange_api, tag_synonyms):
        with pytest.raises(SystemExit):
            script.main(["--api", address])
        assert "argument --api" in capsys.readouterr().err
    urls, details = tmp_path / "ques_urls.csv", tmp_path / "ques_details.csv"
    urls.write_text(f"title,url\na,https://s.example/q/1\nb,{address}\n")
    with pytest.raises(SystemExit, match=r"ques_urls\.csv, row 2, column url: .* is not a URL"):
        question_details_scraper.main(["--input", str(urls), "--output", str(details)])
    with pytest.raises(SystemExit, match=r"ques_urls\.csv contains"):
        question_url_scraper.main(["--site", "https://s.example", "--output", str(urls)])
    urls.write_text("title,url\na,https://s.example/q/1\n")
    details.write_text(
        f'title,description,tags,url,creation_date\na,b,"[""r""]",https://s.example/q/1,\na,b,"[""r""]",{address},\n'
    )
    question_details_scraper.main(["--input", str(urls), "--output", str(details)])
    assert "nothing to do: 2 questions" in capsys.readouterr().out


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
    assert crawl.site_address(given) == address


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
    monkeypatch.setattr("scraper.politeness.TIMEOUT_S", 0.3)
    with SampleSite(n=10, faults=Faults(slow_s=2)) as site, pytest.raises(RetryLater, match="Timeout"):
        PlainClient("tests").get(site.url + site.questions[0].path, "")


def test_plain_http_stops_at_a_challenge(tmp_path):
    with SampleSite(n=60, faults=Faults(challenge_after=20)) as site:
        assert scrape_urls(tmp_path, site, "--engine", "requests")[0] == 0
        code, _, error = scrape_details(tmp_path, "--engine", "requests")
        assert code != 0 and "shows a bot check" in error
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


def days_ago(days):
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(days=days)


def ask_at(site, asked, number):
    """Ask ``number`` questions at the site that it has not had yet."""
    for question in make_questions(number, seed=7):
        newest = site.questions[0].id + 1
        fields = {"asked": asked, "deleted": False, "closed": "", "duplicate_of": None}
        site.questions.insert(0, replace(question, id=newest, **fields))


@pytest.fixture
def begin(monkeypatch):
    """A function that dates the next runs of the listing so many days back."""
    clock = "scraper.question_url_scraper.iso_now"
    return lambda days: monkeypatch.setattr(clock, lambda: f"{days_ago(days).isoformat()}Z")


def make_earlier(output, **progress):
    """Leave only the files of an earlier version, which had no store."""
    output.with_suffix(".sqlite").unlink()
    output.with_suffix(".progress.json").write_text(json.dumps(progress))


def cut_listing(folder, site, pages):
    """Leave the files that a listing has left which was cut after so many pages."""
    assert list_here(folder, site.url, "--pages", pages) is None


def test_a_listing_that_was_cut_loses_nothing_that_was_asked_meanwhile(tmp_path, begin):
    with SampleSite(n=120) as site:
        begin(4)
        cut_listing(tmp_path, site, 2)
        ask_at(site, days_ago(3), 40)
        begin(2)
        assert list_here(tmp_path, site.url) is None
        ask_at(site, days_ago(1), 90)  # so many that the others are two pages further down
        assert list_here(tmp_path, site.url, "--since-last") is None
        assert {row["url"] for row in rows(tmp_path / "ques_urls.csv")} == {site.url + q.path for q in site.questions}


@pytest.mark.parametrize("deleted", [10, 70])
def test_a_listing_that_was_cut_loses_nothing_where_questions_were_deleted_meanwhile(tmp_path, deleted):
    with SampleSite(n=170) as site:
        cut_listing(tmp_path, site, 2)
        del site.questions[5 : 5 + deleted]
        assert list_here(tmp_path, site.url) is None
        assert {row["url"] for row in rows(tmp_path / "ques_urls.csv")} >= {site.url + q.path for q in site.questions}
        assert list_here(tmp_path, site.url, "--since-last") is None


def test_pages_behind_a_gap_are_read_again(tmp_path, begin):
    """A kill, or an error, left out page 2 of 4; 40 questions were asked since."""
    with SampleSite(n=170) as site:
        begin(3)
        assert list_here(tmp_path, site.url) is None
        gap = {question.path for question in site.questions[50:100]}
        lines = (tmp_path / "ques_urls.csv").read_text().splitlines(keepends=True)
        kept = [line for line in lines if not any(line.rstrip().endswith(path) for path in gap)]
        (tmp_path / "ques_urls.csv").write_text("".join(kept))
        make_earlier(tmp_path / "ques_urls.csv", site=site.url, total=4, done=[[1, 50], [3, 100], [4, 120]],
                     begun_at=f"{days_ago(3).isoformat()}Z", topped_up=None)  # fmt: skip
        ask_at(site, days_ago(2), 40)
        begin(1)
        for more in ([], ["--since-last"]):
            assert list_here(tmp_path, site.url, *more) is None
        assert {row["url"] for row in rows(tmp_path / "ques_urls.csv")} == {site.url + q.path for q in site.questions}


def test_a_question_changed_between_a_cut_top_up_and_the_next_is_fetched_again(tmp_path):
    with SampleSite(n=12) as site:
        assert list_here(tmp_path, site.url) is details_here(tmp_path) is None
        site.edit(site.questions[0].id, title="Changed once")
        site.edit(site.questions[1].id, title="Changed, too")
        assert list_here(tmp_path, site.url, "--since-last") is None
        changed = (tmp_path / "ques_changed.csv").read_text()
        # The top-up had the first of the two when it was cut.
        (tmp_path / "ques_changed.csv").write_text(
            "".join(line for line in changed.splitlines(keepends=True) if f"/{site.questions[1].id}/" not in line)
        )
        assert details_here(tmp_path, "--since-last") is None
        (tmp_path / "ques_changed.csv").write_text(changed)
        asked = len(page_requests(site))
        assert details_here(tmp_path, "--since-last") is None
        assert f"/questions/{site.questions[0].id}/" not in str([entry.path for entry in page_requests(site)[asked:]])
        (tmp_path / "ques_changed.csv").write_text(changed)
        time.sleep(1.1)  # a listing is known by its second
        site.edit(site.questions[0].id, title="Changed twice")
        assert list_here(tmp_path, site.url, "--since-last") is details_here(tmp_path, "--since-last") is None
        assert {"Changed twice", "Changed, too"} <= {row["title"] for row in rows(tmp_path / "ques_details.csv")}


def test_what_could_not_be_fetched_anew_stays_listed(tmp_path):
    pages = {f"/questions/{number}/x": question_page("Old") for number in (1, 2)} | ROBOTS
    with answering(pages) as (site, _):
        urls = [f"{site}/questions/{number}/x" for number in (1, 2)]
        (tmp_path / "ques_urls.csv").write_text("title,url\n" + "".join(f"a,{url}\n" for url in urls))
        assert details_here(tmp_path) is None
        (tmp_path / "ques_changed.csv").write_text("title,url,listed\n" + "".join(f"a,{url},1\n" for url in urls))
        pages["/questions/1/x"], pages["/questions/2/x"] = question_page("New"), (418, {}, b"")
        assert details_here(tmp_path, "--since-last") is None
        assert [row["url"] for row in rows(tmp_path / "ques_changed.csv")] == urls[1:]
        pages["/questions/2/x"] = question_page("New")
        assert details_here(tmp_path, "--since-last") is None
        assert [row["title"] for row in rows(tmp_path / "ques_details.csv")] == ["New", "New"]
        assert not (tmp_path / "ques_changed.csv").exists() and rows(tmp_path / "ques_failed.csv") == []


# ---- redirects, and pages like no other ----


def test_every_hop_of_a_redirect_is_checked_before_it_is_asked(tmp_path):
    with answering(ROBOTS | {"/questions/9/x": question_page()}) as (elsewhere, asked_elsewhere):
        port = elsewhere.rpartition(":")[2]
        targets = {
            1: "/questions/1/a",
            2: f"{elsewhere}/questions/9/x",
            3: f"//localhost:{port}/questions/9/x",
            4: "/private/questions/4",
            5: "/questions/5",  # in a circle
            6: "http://[",
            7: "http://169.254.169.254/latest/meta-data",
        }
        pages = {f"/questions/{number}": (302, {"Location": to}, b"") for number, to in targets.items()}
        pages |= {"/questions/1/a": question_page(), "/private/questions/4": question_page(), **ROBOTS}
        with answering(pages) as (site, asked):
            urls = "".join(f"a,{site}/questions/{number}\n" for number in targets)
            (tmp_path / "ques_urls.csv").write_text(f"title,url\n{urls}")
            error = details_here(tmp_path)
            found, failed = rows(tmp_path / "ques_details.csv"), rows(tmp_path / "ques_failed.csv")
            assert error is None and [row["url"] for row in found] == [f"{site}/questions/1"]
            kinds = {int(row["url"].rpartition("/")[2]): (row["reason"], row["kind"]) for row in failed}
            assert asked_elsewhere == [] and "/private/questions/4" not in asked
            assert all("another site" in kinds[number][0] and kinds[number][1] == "permanent" for number in (2, 3, 7))
            assert "robots.txt forbids" in kinds[4][0] and kinds[4][1] == "temporary"
            assert "redirected more than" in kinds[5][0] and "invalid URL" in kinds[6][0]
            assert asked.count("/questions/5") == 6


def test_what_a_browser_has_followed_to_a_forbidden_page_is_not_taken(tmp_path, monkeypatch):
    with answering(ROBOTS) as (site, _):
        (tmp_path / "ques_urls.csv").write_text(f"title,url\na,{site}/questions/1\n")
        _, headers, html = question_page()
        followed = Page(f"{site}/private/questions/1", 200, headers, html.decode())
        monkeypatch.setattr(PlainClient, "get", lambda *_: followed)
        assert "robots.txt forbids" in details_here(tmp_path)


def test_hops_keep_the_delay(tmp_path):
    with SampleSite(n=2) as site:
        (tmp_path / "ques_urls.csv").write_text(f"title,url\na,{site.url}/questions/{site.questions[0].id}\n")
        assert details_here(tmp_path, "--delay", 0.4) is None
        times = [entry.time_s for entry in site.log]
    assert len(times) == 3 and all(later - earlier >= 0.4 for earlier, later in pairwise(times))


def test_robots_txt_and_the_api_lead_nowhere_else(tmp_path):
    with (
        answering({}) as (elsewhere, asked),
        answering({"/robots.txt": (301, {"Location": elsewhere}, b"")}) as (site, _),
    ):
        error = list_here(tmp_path, site)
        assert f"leads to another host ({elsewhere})" in error and asked == []
    with answering({}) as (elsewhere, asked):
        there = {"Location": f"{elsewhere}/2.3/questions?key=s3cret"}
        with answering(Everything((302, there, b""))) as (site, _):
            error = call(stack_exchange_api, "--api", f"{site}/2.3", "--output", tmp_path / "ques_details.csv")
            assert "pass that as --api" in error and "s3cret" not in error and asked == []


class Everything(dict):
    """Answers every path alike."""

    def __init__(self, answer):
        self.answer = answer

    def get(self, *_):
        return self.answer


def test_a_duplicate_is_read_where_readers_are_sent_on_to_its_original(tmp_path):
    with SampleSite(n=60) as site:
        duplicate = next(question for question in site.questions if question.closed == "duplicate")
        write_urls(tmp_path, site, [duplicate])
        assert details_here(tmp_path) is None
        assert [(row["title"], row["url"]) for row in rows(tmp_path / "ques_details.csv")] == [
            (duplicate.title, site.url + duplicate.path)
        ]


@pytest.mark.parametrize(
    "bad",
    [
        question_page("&#xd83d; half an emoji, \u0001 and more"),
        question_page(tag="Two words"),
        (200, {"Content-Type": "text/html"}, b"<div>" * 5_000),
        (200, {"Content-Type": "text/html; charset=no-such"}, b"\xff\xfe\x00"),
        (200, {}, b""),
    ],
    ids=["half an emoji", "a tag that is none", "deep", "odd charset", "empty"],
)
def test_a_page_like_no_other_is_one_failure_at_most(tmp_path, bad):
    pages = {f"/questions/{number}": question_page() for number in (1, 3)} | {"/questions/2": bad, **ROBOTS}
    with answering(pages) as (site, _):
        urls = "".join(f"a,{site}/questions/{number}\n" for number in (1, 2, 3))
        (tmp_path / "ques_urls.csv").write_text(f"title,url\n{urls}")
        error = details_here(tmp_path)
    found, failed = rows(tmp_path / "ques_details.csv"), rows(tmp_path / "ques_failed.csv")
    assert error is None and len(found) + len(failed) == 3 and len(failed) <= 1
    assert not any(row["kind"] == "permanent" for row in failed)


def test_another_kind_of_file_is_not_overwritten_by_the_failures(tmp_path):
    (tmp_path / "ques_urls.csv").write_text("title,url\na,https://s.example/questions/1\n")
    (tmp_path / "ques_failed.csv").write_text("my,own\n1,2\n")
    with pytest.raises(SystemExit, match=r"ques_failed\.csv has my, own"):
        details = tmp_path / "ques_details.csv"
        question_details_scraper.main(["--input", str(tmp_path / "ques_urls.csv"), "--output", str(details)])
    assert (tmp_path / "ques_failed.csv").read_text() == "my,own\n1,2\n"


def row(number, title="A title"):
    url = f"https://s.example/questions/{number}"
    return {"title": title, "description": "text", "tags": '["r"]', "url": url, "creation_date": ""}


def store_rows(output, *new, force=False):
    with open_details(output, STACK_EXCHANGE, force) as store, store.transaction():
        store.put(new)


def test_force_drops_what_is_there_only_for_what_takes_its_place(tmp_path):
    path = tmp_path / "ques_details.csv"
    store_rows(path, *map(row, range(9)))
    before = path.read_bytes()
    with open_details(path, STACK_EXCHANGE, force=True) as store:  # as where the site cannot be reached
        with store.transaction():
            store.fail("https://s.example/questions/1", "HTTP 500", permanent=False)
        assert len(store) == 0
    assert path.read_bytes() == before
    with open_details(path, STACK_EXCHANGE, force=False) as store:
        assert len(store) == 9 and store.failures() == {}
    with open_details(path, STACK_EXCHANGE, force=True) as store:
        for number in (1, 2):
            with store.transaction():
                store.put([row(number, "new")])
        assert len(store) == 2 and path.read_bytes() == before
    assert [line["title"] for line in rows(path)] == ["new", "new"]
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "ques_details.sqlite", "ques_failed.csv"}


def test_force_keeps_the_old_list_where_the_site_is_away(tmp_path):
    (tmp_path / "urls.csv").write_text("title,url\nold,https://site.example/questions/1\n")
    code, _, _ = run(
        "question_url_scraper", "--site", "http://127.0.0.1:9", "--engine", "requests", "--force",
        "--output", tmp_path / "urls.csv",
    )  # fmt: skip
    assert code
    assert "old" in (tmp_path / "urls.csv").read_text()
