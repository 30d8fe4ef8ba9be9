"""The moderation queue as moderators meet it: a real server, real HTTP, a real browser."""

import csv
import io
import json
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as expected

from data.files import read_questions, write_json, write_questions, write_table
from data.worklist_file import write_worklist
from tests.test_accessibility import check_page, screen  # noqa: F401
from tests.test_apps import free_port, server, wait_for
from training import filter_tags
from training.dataset import read_part
from webapp import moderation

ROOT = Path(__file__).parents[1]
TAGS = ["pandas", "python", "csv", "r", "plotting", "excel"]
TOKEN = "a-token-of-some-length"
ATTACK = '<script>alert("x")</script> & <b>bold</b>'


def suggestion(number: int, title: str = "", add=("csv",), remove=("r",), score: float | None = None, **more) -> dict:
    """Return a row of the worklist; the questions of lower numbers are more certain."""
    changes = {
        kind: [{"tag": tag, "confidence": 0.9, "precision": 0.25} for tag in tags]
        for kind, tags in (("add", add), ("remove", remove))
    }
    row = {"url": f"https://site.example/questions/{number}", "title": title or f"Question {number}"}
    return row | {"tags": ["pandas", "r"], "score": score or 1 - number / 100} | changes | more


def write_site(folder: Path, rows: list[dict], described: tuple[int, ...] = ()) -> None:
    """Write a worklist, the tags of the site, and the texts of the questions ``described``."""
    folder.mkdir(exist_ok=True)
    write_worklist(folder / "retag_worklist.jsonl", rows)
    write_json(folder / "tag_types_encoded.json", {tag: index for index, tag in enumerate(TAGS)})
    cells = [
        ["Title", f"Text of {number} {ATTACK}", '["r"]', f"https://site.example/questions/{number}"]
        for number in described
    ]
    if cells:
        write_table(folder / "ques_filtered.csv", ["title", "description", "tags", "url"], cells)


@contextmanager
def queue_server(folder: Path, *options: str, **environment: str):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    where = ["--data-dir", str(folder), "--reports-dir", str(folder), "--port", str(port)]
    command = [sys.executable, "webapp/moderation.py", *where, *options]
    with server(command, url, cwd=ROOT, env=os.environ | environment):
        yield url


def complaint(folder: Path, *options: str) -> str:
    """Run the script with bad input, and return the line that it says."""
    with pytest.raises(SystemExit) as stop:
        moderation.main(["--data-dir", str(folder), "--reports-dir", str(folder), *options])
    assert "\n" not in stop.value.code
    return stop.value.code


def export(folder: Path, file: Path) -> str:
    """Run the script with ``--export``, and return the content of the file."""
    moderation.main(["--data-dir", str(folder), "--export", str(file)])
    return file.read_text(encoding="utf-8")


def visitor(url: str) -> httpx.Client:
    """Return a client with a cookie, who has not been shown a question yet."""
    return httpx.Client(base_url=url, cookies=httpx.get(f"{url}/decisions.csv").cookies)


def shown(client: httpx.Client) -> str | None:
    """Return the title of the question that a client of the queue gets, None if there is none."""
    page = BeautifulSoup(client.get("/").text, "html.parser")
    return page.select_one("article h1").get_text() if page.article else None


def decide(client: httpx.Client, number: int, action: str, tags: str = "") -> httpx.Response:
    form = {"url": f"https://site.example/questions/{number}", "action": action, "tags": tags}
    return client.post("/decide", data=form)


def decisions_of(client: httpx.Client) -> list[dict]:
    return [json.loads(line) for line in client.get("/decisions.jsonl").text.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A site with nine suggestions; the first has text and similar questions, the third a hostile title and url."""
    folder = tmp_path_factory.mktemp("queue")
    rows = [suggestion(number) for number in range(1, 10)]
    rows[0]["similar"] = [{"url": "https://site.example/questions/90", "title": "Like it", "tags": ["csv"]}]
    rows[2] |= {"title": ATTACK, "url": "javascript:alert(1)"}
    write_site(folder, rows, described=(1,))
    (folder / "presets.txt").write_text("python plotting\nexcel\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def queue(folder):
    with queue_server(folder, "--presets", str(folder / "presets.txt")) as url:
        yield url


def press(browser, key: str) -> None:
    """Press a key where the focus is, and wait for the next page."""
    before = browser.find_element(By.TAG_NAME, "html")
    ActionChains(browser).send_keys(key).perform()
    wait_for(browser, expected.staleness_of(before))
    wait_for(browser, expected.presence_of_element_located((By.CSS_SELECTOR, "[data-focus]")))


def test_a_queue_is_decided_by_keyboard_alone(queue, browser):
    browser.get(queue)
    assert browser.find_element(By.ID, "link").get_attribute("href") == "https://site.example/questions/1"
    assert browser.find_element(By.ID, "text").text == f"Text of 1 {ATTACK}"
    assert "Like it: csv" in browser.find_element(By.ID, "similar").text
    changes = browser.find_element(By.ID, "changes").text
    assert re.findall(r"^(\S+) (keep|add|remove)", changes, re.M) == [
        ("pandas", "keep"), ("csv", "add"), ("r", "remove"),
    ]  # fmt: skip
    assert "confidence 90 %; at least 25 % of such suggestions were right" in changes

    titles = []
    for key in "ars":
        titles.append(browser.find_element(By.TAG_NAME, "h1").text)
        press(browser, key)
    assert titles == ["Question 1", "Question 2", ATTACK]
    assert not browser.find_elements(By.ID, "similar")
    press(browser, "u")  # the skip
    assert browser.find_element(By.TAG_NAME, "h1").text == ATTACK
    assert not browser.find_elements(By.ID, "link")  # of a url that is no web address
    presets = [button.text for button in browser.find_elements(By.CLASS_NAME, "preset")]
    assert presets == ["pandas r csv 1", "pandas 2", "python plotting 3", "excel 4"]
    press(browser, "3")
    ActionChains(browser).send_keys("t").perform()
    ActionChains(browser).send_keys("python csv").perform()  # the keys of a text are no commands
    press(browser, Keys.ENTER)

    client = visitor(queue)
    assert [(row["action"], row["tags_after"]) for row in decisions_of(client)] == [
        ("accept", ["pandas", "csv"]),
        ("reject", ["pandas", "r"]),
        ("replace", ["python", "plotting"]),
        ("replace", ["python", "csv"]),
    ]
    press(browser, "u")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Question 4"
    assert len(decisions_of(client)) == 3


def test_single_keys_can_be_turned_off(queue, browser):
    browser.get(queue)
    before = len(decisions_of(visitor(queue)))
    switch = browser.find_element(By.ID, "keys")
    switch.click()
    ActionChains(browser).send_keys("r").perform()
    browser.refresh()
    assert len(decisions_of(visitor(queue))) == before
    assert not browser.find_element(By.ID, "keys").is_selected()
    browser.find_element(By.ID, "keys").click()


def test_every_page_is_accessible(queue, screen):  # noqa: F811
    screen.get(queue)
    check_page(screen, "queue")
    field = screen.find_element(By.ID, "tags")
    field.clear()
    field.send_keys("no-such-tag", Keys.ENTER)
    problem = wait_for(screen, expected.presence_of_element_located((By.ID, "problem")))
    assert problem.text == "No tag of this site: no-such-tag."
    assert screen.find_element(By.ID, "tags").get_attribute("value") == "no-such-tag"
    check_page(screen, "queue-problem")
    screen.get(f"{queue}/nowhere")
    check_page(screen, "queue-not-found")


def test_the_sign_in_and_empty_pages_are_accessible(tmp_path, screen):  # noqa: F811
    write_site(tmp_path, [suggestion(1), suggestion(2)])
    with queue_server(tmp_path, "--budget", "1", MODERATION_TOKEN=TOKEN) as url:
        screen.get(url)
        check_page(screen, "queue-sign-in")
        screen.find_element(By.ID, "name").send_keys("Ada")
        screen.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
        wait_for(screen, expected.presence_of_element_located((By.ID, "changes")))
        press(screen, "a")
        assert screen.find_element(By.TAG_NAME, "h1").text == "Enough for today"
        check_page(screen, "queue-spent")


def test_nothing_decided_is_shown_again(tmp_path):
    rows = [suggestion(number) for number in range(4)]
    write_site(tmp_path, rows)
    with queue_server(tmp_path) as url, visitor(url) as client:
        for number, action in enumerate(["accept", "reject", "replace"]):
            assert shown(client) == f"Question {number}"
            assert decide(client, number, action, "python").status_code == 303
    # Another model doubts other tags: of the first two those that were decided are left out, of the third all.
    again = [suggestion(number, add=("csv", "excel"), remove=("pandas",)) for number in range(4)]
    write_site(tmp_path, [*again, suggestion(4, remove=())])
    with queue_server(tmp_path) as url, visitor(url) as client:
        page = BeautifulSoup(client.get("/").text, "html.parser")
        assert page.h1.get_text() == "Question 0"
        assert [tag.get_text() for tag in page.select(".add .tag, .remove .tag")] == ["excel", "pandas"]
        for number in (0, 1, 3, 4):
            assert shown(client) == f"Question {number}"
            assert decide(client, number, "reject").status_code == 303
        assert shown(client) is None
        assert "All decided" in client.get("/").text
        assert len(decisions_of(client)) == 7
    write_site(tmp_path, rows)
    lines = export(tmp_path, tmp_path / "decisions.jsonl").splitlines()
    assert [json.loads(line)["url"][-1] for line in lines] == list("0120134")


def test_two_people_get_different_questions_and_decide_each_once(tmp_path):
    write_site(tmp_path, [suggestion(1), suggestion(2)])
    with queue_server(tmp_path) as url, visitor(url) as one, visitor(url) as other:
        assert [shown(one), shown(other), shown(one), shown(other)] == ["Question 1", "Question 2"] * 2
        with visitor(url) as third:
            assert "Nothing left for you now" in third.get("/").text
            stolen = decide(third, 1, "accept")
            assert stolen.status_code == 409
            assert "someone else is looking at it" in stolen.text
        assert decide(one, 1, "accept").status_code == 303
        assert decide(one, 1, "accept").status_code == 409  # once more, by the back button
        other.post("/undo")  # nothing of one's own
        assert [row["url"][-1] for row in decisions_of(other)] == ["1"]
        other.post("/order", data={"order": "doubtful"})  # gives the question back
        assert shown(one) == "Question 2"


def test_orders_skips_and_budget(tmp_path):
    write_site(tmp_path, [suggestion(number) for number in range(1, 5)])
    with queue_server(tmp_path, "--budget", "2") as url, visitor(url) as client:
        assert shown(client) == "Question 1"
        client.post("/order", data={"order": "doubtful"})
        seen = []
        for _ in range(5):  # the skipped ones come again in the order in which they were skipped
            seen.append(shown(client))
            decide(client, int(seen[-1][-1]), "skip")
        assert seen == [f"Question {number}" for number in (4, 3, 2, 1, 4)]
        assert decisions_of(client) == []
        for number in (3, 2):
            assert shown(client) == f"Question {number}"
            decide(client, number, "reject")
        assert "Enough for today" in client.get("/").text
        decide(client, 1, "accept")
        assert len(decisions_of(client)) == 2
        client.post("/undo")
        assert shown(client) == "Question 2"


def test_exports(tmp_path):
    write_site(tmp_path, [suggestion(1, title="=1+1"), suggestion(2)], described=(1,))
    with queue_server(tmp_path) as url, visitor(url) as client:
        for number, action in ((1, "replace"), (2, "accept")):
            shown(client)
            decide(client, number, action, "python, csv")
        table = list(csv.DictReader(io.StringIO(client.get("/decisions.csv").text)))
        assert [(row["title"], row["tags_after"], row["add"]) for row in table] == [
            ("'=1+1", "python, csv", "csv"),
            ("Question 2", "pandas, csv", "csv"),
        ]
        tasks = client.get("/decisions.json").json()
        assert tasks[0]["data"]["text"] == f"=1+1\n\nText of 1 {ATTACK}"
        for task in tasks:
            offered = {choice["value"] for choice in task["data"]["choices"]}
            results = task["predictions"][0]["result"] + task["annotations"][0]["result"]
            assert all(set(result["value"]["choices"]) <= offered for result in results)
        assert tasks[0]["predictions"][0]["result"][0]["value"]["choices"] == ["pandas", "csv"]
        assert tasks[0]["annotations"][0]["result"][0]["value"]["choices"] == ["python", "csv"]
        lines = client.get("/decisions.jsonl").text
    file = tmp_path / "decisions.jsonl"
    assert export(tmp_path, file) == lines
    assert "already there: give --force" in complaint(tmp_path, "--export", str(file))
    assert "name a file that ends with" in complaint(tmp_path, "--export", "decisions.xlsx")


def test_forged_requests_other_hosts_and_wrong_tokens_are_refused(queue, tmp_path, monkeypatch):
    client = httpx.Client(base_url=queue)
    page = client.get("/")
    assert page.headers["Location"] == "/?started=yes"
    assert "allow cookies here" in httpx.get(f"{queue}/?started=yes").text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "HttpOnly" in page.headers["Set-Cookie"] and "SameSite=Lax" in page.headers["Set-Cookie"]
    assert client.post("/undo", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/undo", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400  # a name that leads to this machine

    for token in ("", "short"):
        monkeypatch.setenv("MODERATION_TOKEN", token)
        assert "set the environment variable MODERATION_TOKEN" in complaint(tmp_path, "--host", "0.0.0.0")
    write_site(tmp_path, [suggestion(1)])
    with queue_server(tmp_path, "--host", "0.0.0.0", MODERATION_TOKEN=TOKEN) as url:
        client = httpx.Client(base_url=url)
        for answer in (
            client.get("/"),
            client.get("/decisions.csv"),
            client.post("/undo"),
            decide(client, 1, "accept"),
        ):
            assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")
        assert client.post("/sign-in", data={"token": "wrong", "name": "Ada"}).status_code == 401
        assert client.post("/sign-in", data={"token": TOKEN, "name": " "}).status_code == 400
        client.post("/sign-in", data={"token": TOKEN, "name": "Ada"})
        assert shown(client) == "Question 1"
        decide(client, 1, "accept")
        assert decisions_of(client)[0]["reviewer"] == "Ada"
        assert TOKEN not in client.cookies["moderation"]


def test_bad_input_gets_one_line(tmp_path):
    assert "run  python training/retag_worklist.py  first" in complaint(tmp_path)
    write_site(tmp_path, [suggestion(1)])
    (tmp_path / "presets.txt").write_text("python\nno-tag\n", encoding="utf-8")
    assert "presets.txt, line 2: 'no-tag' is no tag of the site" in complaint(
        tmp_path, "--presets", str(tmp_path / "presets.txt")
    )
    assert "not a moderation queue" in complaint(tmp_path, "--queue", str(tmp_path / "presets.txt"))
    with (tmp_path / "retag_worklist.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"url": "u"}\n')
    assert "retag_worklist.jsonl, line 2: not a row of a worklist" in complaint(tmp_path)


def test_decisions_change_the_tags_of_the_training_part_alone(tmp_path, capsys):
    rows = [[f"Question {n}", f"Text {n}", ["pandas", "r"], f"https://site.example/questions/{n}"] for n in range(50)]
    rows += [["Other", "Text", TAGS, "https://site.example/questions/50"]]
    write_questions(tmp_path / "ques_details.csv", pd.DataFrame(rows, columns=["title", "description", "tags", "url"]))
    command = ["--data-dir", str(tmp_path), "--min-frequency", "0"]
    filter_tags.main(command)
    parts = {part: read_part(tmp_path, part).urls for part in ("train", "validation")}
    tags = {row.url: row.tags for row in read_questions(tmp_path / "ques_filtered.csv").itertuples()}
    numbers = [int(url.rpartition("/")[2]) for url in parts["train"] + parts["validation"] if not url.endswith("/50")]

    write_site(tmp_path / "queue", [suggestion(number, score=0.5) for number in numbers])
    with queue_server(tmp_path / "queue", "--budget", "0") as url, visitor(url) as client:
        actions = dict(zip(numbers, ["accept", "reject", "replace"] * len(numbers), strict=False))
        while title := shown(client):
            number = int(title.split()[1])
            assert decide(client, number, actions[number], "python").status_code == 303
    export(tmp_path / "queue", tmp_path / "decisions.jsonl")

    filter_tags.main([*command, "--decisions", str(tmp_path / "decisions.jsonl"), "--force"])
    expected = {"accept": ["pandas", "csv"], "reject": ["pandas", "r"], "replace": ["python"]}
    for row in read_questions(tmp_path / "ques_filtered.csv").itertuples():
        action = actions.get(int(row.url.rpartition("/")[2]))
        assert row.tags == (expected[action] if action and row.url in parts["train"] else tags[row.url])
    said = re.search(
        r"decisions: (\d+) of (\d+) are about questions of train; (\d+) of these get", capsys.readouterr().out
    )
    decided = [actions[number] for number in numbers if f"https://site.example/questions/{number}" in parts["train"]]
    assert said and [int(count) for count in said.groups()] == [
        len(decided), len(numbers), len(decided) - decided.count("reject"),
    ]  # fmt: skip

    before = (tmp_path / "ques_filtered.csv").read_bytes()
    with (tmp_path / "decisions.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"url": "u", "action": "accept"}\n')
    with pytest.raises(SystemExit, match=rf"decisions\.jsonl, line {len(numbers) + 1}: not a decision"):
        filter_tags.main([*command, "--decisions", str(tmp_path / "decisions.jsonl"), "--force"])
    assert (tmp_path / "ques_filtered.csv").read_bytes() == before
