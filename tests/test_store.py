"""The store of the scrapers: kills, CSV files that a user has changed, and folders of earlier versions."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass

import pytest

from data.sample_site.server import SampleSite
from scraper import data_dump, question_details_scraper, stack_exchange_api
from scraper.store import Table, open_details, open_store
from tagging.stack_exchange import STACK_EXCHANGE
from tests.test_data_dump import SITE, question_row, write_dump
from tests.test_platforms import DISCOURSE, FORUM
from tests.test_scraper import (
    ROOT,
    answering,
    call,
    details_here,
    list_here,
    make_earlier,
    page_requests,
    question_page,
    row,
    rows,
    store_rows,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_scraper import row
from tests.test_store import Reached
from scraper.store import open_details
from tagging.stack_exchange import STACK_EXCHANGE

with open_details(Path(sys.argv[1]), STACK_EXCHANGE, force=False) as store:
    with store.transaction():
        store.put([row(3), row(4)])
        store.save(Reached(2))
    with store.transaction():
        store.put([row(5)])
        os.kill(os.getpid(), signal.SIGKILL)  # before the progress is saved
        store.save(Reached(3))
"""


NAMES = ["ques_details.csv", "ques_details.sqlite", "ques_failed.csv"]


@dataclass(frozen=True)
class Reached:
    page: int


@pytest.fixture
def output(tmp_path):
    """A ques_details.csv of two questions with its store."""
    path = tmp_path / "ques_details.csv"
    store_rows(path, row(1), row(2))
    return path


def kill_a_run(output):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", "deployment"])}
    killed = subprocess.run([sys.executable, "-c", KILLED, output], cwd=ROOT, env=environment)
    assert killed.returncode == -signal.SIGKILL


def ids(output):
    return [int(line["url"].rpartition("/")[2]) for line in rows(output)]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_kill_keeps_whole_steps_and_the_next_run_writes_the_files(output):
    kill_a_run(output)
    assert ids(output) == [1, 2]
    with open_details(output, STACK_EXCHANGE, force=False) as store:
        assert len(store) == 4 and store.progress(Reached) == Reached(2) and store.removed == 0
    assert ids(output) == [1, 2, 3, 4]
    assert sorted(path.name for path in output.parent.iterdir()) == NAMES


def test_an_edited_file_counts_and_what_a_kill_left_unwritten_is_added(output):
    kill_a_run(output)
    lines = output.read_text().replace("A title", "My own title").splitlines(keepends=True)
    output.write_text("".join([*lines[:2], *lines[3:]]))  # without question 2
    with open_details(output, STACK_EXCHANGE, force=False) as store:
        assert store.removed == 1
    assert ids(output) == [1, 3, 4]
    assert [line["title"] for line in rows(output)] == ["My own title", "A title", "A title"]


def test_a_removed_file_starts_over(output):
    output.unlink()
    with open_details(output, STACK_EXCHANGE, force=False) as store:
        assert (store.removed, len(store)) == (2, 0)
    assert [path.name for path in output.parent.iterdir()] == ["ques_failed.csv"]


def test_a_step_that_fails_changes_nothing(output):
    before = output.read_bytes()
    with pytest.raises(KeyError), open_details(output, STACK_EXCHANGE, force=False) as store, store.transaction():
        store.put([row(1, "Changed"), row(3)])
        raise KeyError
    assert output.read_bytes() == before
    with open_details(output, STACK_EXCHANGE, force=False) as store:
        assert len(store) == 2


def test_a_question_that_comes_twice_is_kept_once_and_reported(output, capsys):
    with output.open("a") as file:
        file.write('Again,text,"[""r""]",https://s.example/q/2,\n')
    store_rows(output)
    assert ids(output) == [1, 2]
    assert f"{output}: 1 rows of questions that come twice are left out" in capsys.readouterr().err


def test_the_failures_of_earlier_versions_are_read(output):
    failed = output.with_name("ques_failed.csv")
    failed.write_text("url,reason,kind\nhttps://s.example/q/8,HTTP 500,passing\nhttps://s.example/q/9,gone,permanent\n")
    with open_details(output, STACK_EXCHANGE, force=False) as store:
        kinds = {failure.url[-1]: failure.kind for failure in store.failures().values()}
        assert kinds == {"8": "temporary", "9": "permanent"}
        with store.transaction():
            store.put([row(8)])
    assert [line["url"][-1] for line in rows(failed)] == ["9"]


def test_files_and_stores_with_fewer_columns_are_continued(tmp_path):
    pages = {f"/questions/{number}": question_page() for number in (1, 2, 3)}
    with answering(pages) as (site, asked):
        lines = "".join(f"a,{site}/questions/{number}\n" for number in (1, 2))
        (tmp_path / "ques_urls.csv").write_text(f"title,url\n{lines}")
        output = tmp_path / "ques_details.csv"
        output.write_text(f'tags,title,description,url\n"[""r""]",Mine,text,{site}/questions/1\n')
        assert details_here(tmp_path) is None
        assert "/questions/1" not in asked
        assert [(line["title"], line["creation_date"]) for line in rows(output)] == [("Mine", ""), ("A title", "")]

        connection = sqlite3.connect(output.with_suffix(".sqlite"))
        connection.execute("ALTER TABLE questions DROP COLUMN creation_date")
        connection.close()
        (tmp_path / "ques_urls.csv").write_text(f"title,url\n{lines}a,{site}/questions/3\n")
        assert details_here(tmp_path) is None
        assert [line["title"] for line in rows(output)] == ["Mine", "A title", "A title"]


@pytest.mark.parametrize("content", [b"no database" * 1000, None], ids=["not a database", "damaged"])
def test_a_damaged_store_is_named_in_one_line(output, content):
    path = output.with_suffix(".sqlite")
    store_rows(output, *(row(number, "A title" * 99) for number in range(3, 99)))
    before = output.read_bytes()
    path.write_bytes(content or path.read_bytes()[:8192] + b"\xff" * 99_999)
    with pytest.raises(
        SystemExit, match=r"ques_details\.sqlite is damaged \(.*\): remove it, and the next run continues"
    ):
        store_rows(output, row(100))
    assert output.read_bytes() == before
    path.unlink()
    store_rows(output, row(100))
    assert len(rows(output)) == 99


def test_a_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "ques_details.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=r"ques_details\.sqlite is not a store of this program"):
        store_rows(tmp_path / "ques_details.csv", row(1), force=True)
    assert path.read_bytes() == before


def test_the_output_cannot_have_the_name_of_the_store(tmp_path):
    with pytest.raises(SystemExit, match="choose another one"):
        store_rows(tmp_path / "questions.sqlite", row(1))
    assert list(tmp_path.iterdir()) == []


def test_the_platform_says_which_urls_are_one_question(tmp_path):
    table = Table("questions", tmp_path / "topics.csv", ["url"], ["url"])
    with open_store(table, None, DISCOURSE, force=False) as store, store.transaction():
        store.put([{"url": f"{FORUM}/t/loaf/7"}, {"url": f"{FORUM}/t/loaf/8"}])
        assert store.put([{"url": f"{FORUM}/t/another-title/7"}]) == (0, 0)
    assert len(rows(table.path)) == 2


# ---- folders of earlier versions, which had no store ----


def test_an_earlier_listing_is_continued(tmp_path):
    with SampleSite(n=170) as site:
        output = tmp_path / "ques_urls.csv"
        assert list_here(tmp_path, site.url, "--pages", 2) is None
        make_earlier(output, site=site.url, total=4, done=[[1, 50], [2, 100]], begun_at="2024-01-01", topped_up=None)
        asked = len(page_requests(site))
        assert list_here(tmp_path, site.url) is None
        assert len(page_requests(site)) == asked + 3  # page 2 shows whether questions were deleted meanwhile
        assert len(rows(output)) == 170
        assert not output.with_suffix(".progress.json").exists()
        assert list_here(tmp_path, site.url, "--since-last") is None


def test_an_earlier_harvest_of_the_api_is_continued(tmp_path, monkeypatch):
    where = ["--output", tmp_path / "ques_details.csv", "--delay", 0]
    with SampleSite(n=150) as site:
        where += ["--site", site.url, "--api", f"{site.url}/2.3"]
        assert call(stack_exchange_api, *where) is None
        last = max(int(question.asked.timestamp()) for question in site.questions)
        asked = {"site": site.url, "from": stack_exchange_api.api_date("2008-01-01"), "to": None, "tagged": None}
        progress = {"asked": asked, "reached": last, "changes_reached": 5, "begun_at": last, "complete_at": last}
        make_earlier(tmp_path / "ques_details.csv", **progress)
        (tmp_path / ".ques_details.csv.updates").write_text("title\n")
        site.edit(site.questions[5].id, title="Another title")
        before = len(site.log)
        assert call(stack_exchange_api, *where, "--since-last") is None
        assert "Another title" in {line["title"] for line in rows(tmp_path / "ques_details.csv")}
        assert len(site.log) == before + 2  # one call for what is new, one for what has changed
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".sqlite", ".json"}
    assert not (tmp_path / "ques_details.progress.json").exists()


def test_force_starts_over_also_in_a_folder_of_an_earlier_version(tmp_path):
    where = ["--output", tmp_path / "ques_details.csv", "--delay", 0, "--force"]
    with SampleSite(n=60) as site:
        where += ["--site", site.url, "--api", f"{site.url}/2.3"]
        assert call(stack_exchange_api, *where) is None
        asked = {"site": site.url, "from": stack_exchange_api.api_date("2008-01-01"), "to": None, "tagged": None}
        make_earlier(tmp_path / "ques_details.csv", asked=asked, reached=2**31, begun_at=1, complete_at=1)
        assert call(stack_exchange_api, *where) is None
        assert len(rows(tmp_path / "ques_details.csv")) == 59
        assert not (tmp_path / "ques_details.progress.json").exists()


def test_an_earlier_conversion_of_a_dump_is_continued(tmp_path):
    output = tmp_path / "ques_details.csv"
    dump = write_dump(tmp_path / "Posts.xml", "".join(question_row(number) for number in range(1, 301)))
    where = ["--input", dump, "--site", SITE, "--output", output, "--workers", 1]
    assert call(data_dump, *where) is None
    whole = output.read_bytes()
    lines = whole.splitlines(keepends=True)
    made_from = {"input": dump.name, "size": dump.stat().st_size, "site": SITE}
    # Killed after the rows of a chunk, before its progress was written.
    output.write_bytes(b"".join(lines[:251]) + b"A ti")
    make_earlier(output, made_from=made_from, read=200, written=200, skipped={"no tags": 1}, bytes=0)
    assert call(data_dump, *where) is None
    assert output.read_bytes() == whole
    output.write_bytes(b"".join(lines[:100]))
    make_earlier(output, made_from=made_from, read=200, written=200, skipped={}, bytes=0)
    assert "was not made from" in call(data_dump, *where)
    assert json.loads(output.with_suffix(".progress.json").read_text())["read"] == 200


def test_rows_of_a_question_that_were_removed_are_fetched_again(tmp_path):
    pages = {f"/questions/{number}": question_page() for number in (1, 2)}
    with answering(pages) as (site, asked):
        (tmp_path / "ques_urls.csv").write_text(f"title,url\na,{site}/questions/1\na,{site}/questions/2\n")
        assert details_here(tmp_path) is None
        output = tmp_path / "ques_details.csv"
        output.write_text("".join(output.read_text().splitlines(keepends=True)[:-1]))
        kept = rows(output)
        assert len(kept) == 1
        edit(output, "A title", "My own title")
        del asked[:]
        assert call(question_details_scraper, "--input", tmp_path / "ques_urls.csv", "--output", output, "--delay", 0,
                    "--engine", "requests") is None  # fmt: skip
        assert len(asked) == 2  # robots.txt, and the question
        assert {line["title"] for line in rows(output)} == {"My own title", "A title"}
