"""The sample site: its questions are plentiful, varied and repeatable, and it serves them as the real sites do."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.robotparser import RobotFileParser

import pytest
import requests
from bs4 import BeautifulSoup

from data.sample_site.app import page_numbers
from data.sample_site.generator import SampleQuestion, make_questions
from data.sample_site.server import Faults, SampleSite

SERVER = Path(__file__).parents[1] / "data/sample_site/server.py"
MARKUP = ("<p>", "<ul>", "<ol>", "<li>", "<pre>", "s-code-block", "<code>", "<a href", "<img", "<blockquote>", "<hr>")
MORE_MARKUP = ("<h2>", "<h3>", "<strong>", "<em>", "<br>", "&lt;", "&gt;", "&amp;", "&nbsp;", "$$", "\\frac", "🙏")


@pytest.fixture(scope="module")
def questions() -> list[SampleQuestion]:
    return make_questions()


@pytest.fixture(scope="module")
def site() -> Iterator[SampleSite]:
    with SampleSite(n=120) as site:
        yield site


def get(site: SampleSite, path: str) -> requests.Response:
    return requests.get(site.url + path, timeout=10, allow_redirects=False)


def parse(response: requests.Response) -> BeautifulSoup:
    return BeautifulSoup(response.content, "lxml")


def listed_paths(response: requests.Response) -> list[str]:
    return [a.get("href") for a in parse(response).select(".s-post-summary--content-title a.s-link")]


def test_questions_are_many_and_repeat_by_seed(questions: list[SampleQuestion]) -> None:
    assert len(questions) >= 400
    assert make_questions() == questions
    assert make_questions(seed=1) != questions
    assert len(make_questions(37)) == 37
    assert len(make_questions(1)) == 1


def test_newest_first_with_ids_of_their_own(questions: list[SampleQuestion]) -> None:
    ids = [question.id for question in questions]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids, reverse=True)
    assert questions == sorted(questions, key=lambda question: question.asked, reverse=True)


def test_tags_have_a_long_tail(questions: list[SampleQuestion]) -> None:
    counts = Counter(tag for question in questions for tag in question.tags)
    assert all(1 <= len(set(question.tags)) == len(question.tags) <= 5 for question in questions)
    assert sum(count >= 8 for count in counts.values()) >= 30
    assert sum(count <= 3 for count in counts.values()) >= 20
    assert counts.most_common(1)[0][1] > len(questions) / 8


@pytest.mark.parametrize("element", MARKUP + MORE_MARKUP)
def test_every_kind_of_markup_occurs(questions: list[SampleQuestion], element: str) -> None:
    assert any(element in question.body_html for question in questions)


def test_bodies_are_of_the_real_length_and_without_gaps(questions: list[SampleQuestion]) -> None:
    lengths = [len(question.body_html) for question in questions]
    assert 600 < sum(lengths) / len(lengths) < 1200
    assert min(lengths) < 400 < 1400 < max(lengths)
    assert not any("«" in text for q in questions for text in (q.title, q.body_html, *q.answers_html))


def test_two_questions_are_asked_twice_and_no_others(questions: list[SampleQuestion]) -> None:
    texts = Counter((question.title, question.body_html, question.tags) for question in questions)
    assert sorted(texts.values())[-3:] == [1, 2, 2]
    assert len(Counter(question.title for question in questions)) == len(texts)


def test_more_questions_than_the_banks_can_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer"):
        make_questions(60_000)
    with pytest.raises(ValueError, match="at least one"):
        make_questions(0)


def test_listings_show_every_question_once_newest_first(site: SampleSite) -> None:
    pages = [get(site, f"/questions?tab=newest&pagesize=50&page={number}") for number in (1, 2, 3)]
    assert [len(listed_paths(page)) for page in pages] == [50, 50, 20]
    assert [path for page in pages for path in listed_paths(page)] == [question.path for question in site.questions]
    tags = parse(pages[0]).select(".s-post-summary")[0].select("ul.js-post-tag-list-wrapper a.post-tag")
    assert [tag.text for tag in tags] == list(site.questions[0].tags)
    assert parse(pages[0]).select(".s-post-summary")[0].get("data-post-id") == str(site.questions[0].id)


def test_page_size_is_respected_and_pages_past_the_end_are_empty(site: SampleSite) -> None:
    page = get(site, "/questions?tab=newest&pagesize=15&page=2")
    assert listed_paths(page) == [question.path for question in site.questions[15:30]]
    numbers = [item.text.strip() for item in parse(page).select(".s-pagination.pager .s-pagination--item")]
    assert numbers == ["Prev", "1", "2", "3", "4", "5", "…", "8", "Next"]
    past = get(site, "/questions?tab=newest&pagesize=50&page=99")
    assert past.status_code == 200
    assert listed_paths(past) == []


def test_pager_names_both_ends_and_the_neighbours() -> None:
    assert page_numbers(1, 1) == [1]
    assert page_numbers(9, 20) == [1, None, 7, 8, 9, 10, 11, None, 20]


def test_question_page_contains_title_body_tags_and_time(site: SampleSite) -> None:
    question = next(q for q in site.questions if q.answers_html and not q.closed and not q.deleted)
    page = parse(get(site, question.path))
    assert page.select("#question-header h1 a.question-hyperlink")[0].text == question.title
    (body,) = page.select("#question .s-prose.js-post-body")
    assert body.get_text() == "\n" + BeautifulSoup(question.body_html, "lxml").get_text() + "\n"
    assert [a.text for a in page.select("#question .post-taglist a.post-tag")] == list(question.tags)
    assert page.select("time[itemprop=dateCreated]")[0].get("datetime") == question.asked.isoformat()
    assert len(page.select("#answers .answer .s-prose.js-post-body")) == len(question.answers_html)
    assert len(page.select("a.post-tag")) > len(question.tags)


@pytest.mark.parametrize("kind", ["closed", "duplicate"])
def test_closed_questions_carry_suffix_and_notice(site: SampleSite, kind: str) -> None:
    question = next(question for question in site.questions if question.closed == kind)
    page = parse(get(site, f"{question.path}?noredirect=1"))
    assert page.select("#question-header h1 a")[0].text == f"{question.title} [{kind}]"
    assert page.select("#question .js-post-notice")
    assert f" [{kind}]" not in question.title


def test_a_duplicate_names_an_older_original(questions: list[SampleQuestion]) -> None:
    by_id = {question.id: question for question in questions}
    duplicates = [question for question in questions if question.closed == "duplicate"]
    assert duplicates
    assert all(by_id[question.duplicate_of].asked < question.asked for question in duplicates)


def test_a_duplicate_redirects_to_its_original(site: SampleSite) -> None:
    by_id = {question.id: question for question in site.questions}
    question = next(question for question in site.questions if question.closed == "duplicate")
    assert get(site, question.path).headers["Location"] == by_id[question.duplicate_of].path


def test_short_urls_redirect_to_the_canonical_one(site: SampleSite) -> None:
    question = site.questions[0]
    for path in (f"/questions/{question.id}", f"/questions/{question.id}/an-older-title"):
        response = get(site, path)
        assert (response.status_code, response.headers["Location"]) == (301, question.path)
    assert get(site, "/").headers["Location"] == "/questions"


def test_deleted_questions_are_listed_but_answer_404(site: SampleSite) -> None:
    listed = listed_paths(get(site, "/questions?tab=newest&pagesize=50&page=1"))
    deleted = [question for question in site.questions if question.id in site.deleted_ids]
    assert any(question.path in listed for question in deleted)
    assert {get(site, question.path).status_code for question in deleted} == {404}


def test_robots_txt_forbids_users_and_search_only(site: SampleSite) -> None:
    text = get(site, "/robots.txt").text
    assert "Disallow: /users/\n" in text
    assert "Disallow: /search\n" in text
    assert "Disallow: /\n" not in text
    assert "Crawl-delay" not in text
    with SampleSite(n=3, faults=Faults(robots_disallow_all=True, crawl_delay_s=7)) as closed_site:
        text = get(closed_site, "/robots.txt").text
    assert "Disallow: /\n" in text
    assert "Crawl-delay: 7\n" in text


@pytest.mark.parametrize(("path", "has_stacks"), [("/questions/ask", True), ("/questions/ask?editor=old", False)])
def test_ask_page_has_the_fields_of_the_real_sites(site: SampleSite, path: str, has_stacks: bool) -> None:
    page = parse(get(site, path))
    assert page.select("form#post-form input#title")
    assert page.select("form#post-form textarea#wmd-input.wmd-input")
    (tags,) = page.select("form#post-form input#tagnames[name=tagnames]")
    assert ("s-input" in tags.get("class", [])) is has_stacks
    policy = get(site, path).headers["Content-Security-Policy"]
    assert policy == "upgrade-insecure-requests; frame-ancestors 'self' https://stackexchange.com"


def test_ask_page_is_linked_but_forbidden_to_crawlers(site: SampleSite) -> None:
    listing = get(site, "/questions")
    assert parse(listing).select("a[href='/questions/ask']")
    assert "/questions/ask" not in listed_paths(listing)
    robots = RobotFileParser()
    robots.parse(get(site, "/robots.txt").text.splitlines())
    assert not robots.can_fetch("*", f"{site.url}/questions/ask")
    assert robots.can_fetch("*", f"{site.url}/questions")
    assert parse(get(site, "/questions/ask")).select("meta[name=robots][content=noindex]")


def test_ask_page_takes_no_questions(site: SampleSite) -> None:
    before = len(site.questions)
    answer = requests.post(site.url + "/questions/ask/submit", data={"title": "A question"}, timeout=10)
    assert answer.status_code == 200
    assert "takes no questions" in answer.text
    assert len(site.questions) == before


def test_faults_depend_on_the_count_of_pages_alone() -> None:
    with SampleSite(n=3, faults=Faults(too_many_requests_every=3, retry_after_s=9, error_every=4)) as site:
        answers = []
        for _ in range(8):
            assert get(site, "/robots.txt").status_code == 200
            assert get(site, "/static/site.css").status_code == 200
            answers.append(get(site, "/questions"))
    assert [answer.status_code for answer in answers] == [200, 200, 429, 500, 200, 429, 200, 500]
    assert answers[2].headers["Retry-After"] == "9"


def test_challenge_takes_over_from_a_request_on() -> None:
    with SampleSite(n=3, faults=Faults(challenge_after=3)) as site:
        answers = [get(site, "/questions") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403]
    page = parse(answers[2])
    assert page.title.text == "Just a moment..."
    assert page.select("#challenge-form .cf-challenge")


def test_slow_pages_wait() -> None:
    with SampleSite(n=3, faults=Faults(slow_s=0.3)) as site:
        started = time.monotonic()
        get(site, "/questions")
        assert time.monotonic() - started >= 0.3


def test_the_log_contains_time_path_agent_and_status() -> None:
    with SampleSite(n=3) as site:
        requests.get(site.url + "/questions?page=1", headers={"User-Agent": "tester/1"}, timeout=10)
        requests.get(site.url + "/questions/1", headers={"User-Agent": "tester/2"}, timeout=10)
    first, second = site.log
    assert (first.path, first.user_agent, first.status) == ("/questions?page=1", "tester/1", 200)
    assert (second.path, second.user_agent, second.status) == ("/questions/1", "tester/2", 404)
    assert first.time_s < second.time_s


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_server_writes_its_url_and_stops_cleanly(tmp_path: Path, stop: signal.Signals) -> None:
    port_file = tmp_path / "url.txt"
    command = [sys.executable, str(SERVER), "--port", "0", "--num-questions", "20"]
    command += ["--port-file", str(port_file), "--error-every", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            while not port_file.exists() and server.poll() is None:
                time.sleep(0.02)
            url = port_file.read_text()
            assert url in line
            assert requests.get(url + "/questions", timeout=10).status_code == 500
        finally:
            server.send_signal(stop)
        assert server.wait(timeout=10) == 0
        assert server.stderr.read() == ""
    assert not port_file.exists()


def test_a_site_without_questions_gets_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, str(SERVER), "--num-questions", "0"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: argument --num-questions: '0' is not a whole number of at least 1\n")
