"""The data dump's questions as a user takes them out: real files, plain and packed, and runs that are killed."""

import bz2
import gzip
import io
import json
import lzma
import random
import signal
import time
from xml.sax.saxutils import quoteattr

import py7zr
import pytest

from data.sample_site.generator import make_questions
from scraper import posts_xml
from scraper.archives import DamagedArchive, open_posts
from scraper.posts_xml import DumpError, PostsXml, raw_questions
from tagging.html_text import html_to_text
from tests.test_scraper import all_ended, descendants, rows, run, stored, wait_until
from tests.test_scraper import start as start_scraper
from training import filter_tags

SITE = "https://site.example"
HEAD = '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<!-- licence: <CC> BY-SA -->\n<posts>\n'


def row(**attributes):
    return "  <row " + " ".join(f"{name}={quoteattr(str(value))}" for name, value in attributes.items()) + " />\n"


def question_row(number, title="A title", body="<p>Text</p>", tags="|r|", date="2023-01-09T08:30:00.123"):
    return row(Id=number, PostTypeId=1, CreationDate=date, Score=1, Body=body, Title=title, Tags=tags)


def write_dump(path, content):
    path.write_text(f"{HEAD}{content}</posts>\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """A dump of 3,000 questions, each behind an answer, their ids in no order, half of the tags in the old form."""
    numbers = list(range(1, 3001))
    random.Random(0).shuffle(numbers)
    lines = []
    for number, question in zip(numbers, make_questions(450) * 7, strict=False):
        tags = f"|{'|'.join(question.tags)}|" if number % 2 else "".join(f"<{tag}>" for tag in question.tags)
        lines.append(row(Id=number + 10_000, PostTypeId=2, Body=question.body_html))
        lines.append(question_row(number, question.title, question.body_html, tags, question.asked.isoformat()))
    return write_dump(tmp_path_factory.mktemp("dump") / "Posts.xml", "".join(lines))


def arguments(dump, folder, *more):
    return "--input", dump, "--site", SITE, "--output", folder / "ques_details.csv", *more


def start(dump, folder, *more, **options):
    return start_scraper("data_dump", *arguments(dump, folder, *more), delay=None, **options)


def convert(dump, folder, *more, **options):
    return run("data_dump", *arguments(dump, folder, *more), delay=None, **options)


@pytest.fixture(scope="module")
def converted(dump, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    code, output, _ = convert(dump, folder)
    assert code == 0 and "3000 questions" in output and "left out: none" in output
    return folder


def test_every_question_is_taken_as_it_is_and_no_answer(converted):
    found = rows(converted / "ques_details.csv")
    assert len(found) == 3000
    question = make_questions(450)[0]
    assert (found[0]["title"], found[0]["description"]) == (question.title, html_to_text(question.body_html))
    assert json.loads(found[0]["tags"]) == json.loads(found[450]["tags"]) == list(question.tags)
    assert found[0]["creation_date"] == question.asked.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert found[0]["url"].startswith(f"{SITE}/questions/")
    source = json.loads((converted / "SOURCE.json").read_text())
    assert source["questions"] == 3000 and source["source"] == "data dump (Posts.xml)"


def test_the_next_stage_takes_the_file(converted, tmp_path):
    (tmp_path / "ques_details.csv").write_bytes((converted / "ques_details.csv").read_bytes())
    filter_tags.main(["--data-dir", str(tmp_path), "--split", "time"])
    assert (tmp_path / "split.csv").is_file()


@pytest.mark.parametrize("member", ["Posts.xml", "site/posts.xml"])
def test_an_archive_gives_the_same_file(dump, converted, tmp_path, member):
    with py7zr.SevenZipFile(tmp_path / "site.7z", "w") as archive:
        archive.writestr("<comments />", "Comments.xml")
        archive.write(dump, member)
    assert convert(tmp_path / "site.7z", tmp_path)[0] == 0
    assert (tmp_path / "ques_details.csv").read_bytes() == (converted / "ques_details.csv").read_bytes()


def test_entities_are_decoded_once_and_incomplete_questions_counted(tmp_path):
    content = question_row(1, "Is a &amp; b [closed]", "<p>x &amp;lt; <code>y</code></p>")
    content += question_row(2, title="") + question_row(3, tags="") + question_row(4, tags="", body="")
    code, output, _ = convert(write_dump(tmp_path / "Posts.xml", content), tmp_path)
    assert code == 0 and "1 questions" in output and "1 with no title, 2 with no tags" in output
    (found,) = rows(tmp_path / "ques_details.csv")
    assert (found["title"], found["description"]) == ("Is a &amp; b", "x &lt; y")


def test_what_is_left_out_is_named_in_the_file_of_failures(tmp_path):
    content = question_row(1) + question_row(2, title="") + question_row(3, tags="|Two words|")
    content += question_row(4, date="0001-01-01T00:00:00+14:00") + question_row("x")
    code, output, _ = convert(write_dump(tmp_path / "Posts.xml", content), tmp_path)
    assert code == 0 and "2 questions" in output
    assert "1 with no title, 1 with an error listed in ques_failed.csv, 1 with no id" in output
    failed = {row["url"].rpartition("/")[2]: row for row in rows(tmp_path / "ques_failed.csv")}
    assert {number: row["kind"] for number, row in failed.items()} == dict.fromkeys("23x", "permanent")
    assert failed["2"]["reason"] == "no title" and "Two words" in failed["3"]["reason"]
    content = question_row(2, title="A title of its own")
    assert convert(write_dump(tmp_path / "new.xml", content), tmp_path, "--since-last")[0] == 0
    assert [row["url"].rpartition("/")[2] for row in rows(tmp_path / "ques_failed.csv")] == ["3", "x"]


def test_killed_20_times_it_ends_with_the_file_of_an_unbroken_run(dump, converted, tmp_path):
    moments = random.Random(0)
    output = tmp_path / "ques_details.csv"
    kills = 0
    for _ in range(20):
        process = start(dump, tmp_path, "--workers", "1")
        before = stored(output)
        wait_until(lambda process=process, before=before: process.poll() is not None or stored(output) > before)
        time.sleep(moments.uniform(0, 0.05))
        children = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
        wait_until(lambda children=children: all_ended(children))
    assert kills >= 10  # the others found nothing left to do
    assert convert(dump, tmp_path)[0] == 0
    assert output.read_bytes() == (converted / "ques_details.csv").read_bytes()


def test_run_again_it_has_nothing_to_do(dump, converted):
    before = (converted / "ques_details.csv").read_bytes()
    code, output, _ = convert(dump, converted)
    assert code == 0 and "3000 questions" in output
    assert (converted / "ques_details.csv").read_bytes() == before


def test_a_newer_dump_tops_up_an_older_one(tmp_path):
    older = write_dump(tmp_path / "old.xml", "".join(question_row(number) for number in (3, 1, 2)))
    assert convert(older, tmp_path)[0] == 0
    newer = question_row(1) + question_row(2, title="Another title") + question_row(4, tags="|a|b|")
    code, output, _ = convert(write_dump(tmp_path / "new.xml", newer), tmp_path, "--since-last")
    assert code == 0 and "1 new and 1 changed" in output
    found = {row["url"].rpartition("/")[2]: (row["title"], row["tags"]) for row in rows(tmp_path / "ques_details.csv")}
    assert list(found) == ["3", "1", "2", "4"]  # what the dump no longer has is kept
    assert found["2"][0] == "Another title" and found["4"][1] == '["a", "b"]'


def test_a_damaged_end_keeps_what_came_before(tmp_path):
    path = write_dump(tmp_path / "Posts.xml", "".join(question_row(number) for number in range(500)))
    path.write_bytes(path.read_bytes()[:-3000])
    code, _, error = convert(path, tmp_path)
    assert code != 0 and "Posts.xml: damaged at line" in error and "the questions before it are in" in error
    assert 450 < len(rows(tmp_path / "ques_details.csv")) < 500
    assert not (tmp_path / "SOURCE.json").exists()


def test_a_damaged_archive_is_named(dump, tmp_path):
    with py7zr.SevenZipFile(tmp_path / "site.7z", "w") as archive:
        archive.write(dump, "Posts.xml")
    data = bytearray((tmp_path / "site.7z").read_bytes())
    data[5000:5100] = bytes(100)
    (tmp_path / "site.7z").write_bytes(data)
    code, _, error = convert(tmp_path / "site.7z", tmp_path)
    assert code != 0 and "site.7z: the archive is damaged" in error


def pack(path, content, name="Posts.xml", **options):
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        archive.writestr(content, name)
    return path


COPY = [{"id": py7zr.FILTER_COPY}]  # nothing is compressed, so a flipped byte flips a letter


def test_a_flipped_byte_in_an_archive_is_never_a_question(tmp_path):
    content = f"{HEAD}{question_row(1, body='<p>letter</p>')}</posts>"
    path = pack(tmp_path / "site.7z", content, filters=COPY)
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"letter", b"lettes"))
    code, output, error = convert(path, tmp_path)
    assert code != 0 and not output and "site.7z: the archive is damaged" in error and "give --force" in error
    path.write_bytes(sound)  # the sound one does not go on after the damaged question
    code, _, error = convert(path, tmp_path)
    assert code != 0 and "was not made from" in error
    assert convert(path, tmp_path, "--force")[0] == 0
    assert rows(tmp_path / "ques_details.csv")[0]["description"] == "letter"
    path.write_bytes(sound.replace(b"letter", b"lettes"))
    code, _, error = convert(path, tmp_path, "--since-last")
    assert code != 0 and "the archive is damaged" in error and "is unchanged" in error
    assert rows(tmp_path / "ques_details.csv")[0]["description"] == "letter"


def read(path):
    with open_posts(path) as (posts, _):
        return list(raw_questions(posts))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_is_read_and_its_checksum_heeded(dump, tmp_path, compress):
    path = tmp_path / "Posts.xml.packed"
    data = compress(dump.read_bytes()[:100_000].rpartition(b"  <row")[0] + b"</posts>")
    path.write_bytes(data)
    assert read(path) == read(dump)[: len(read(path))] != []
    for broken in (data[:-20], data[:-6] + b"wrong!"):
        path.write_bytes(broken)
        with pytest.raises(DamagedArchive, match=r"Posts\.xml\.packed: the file is damaged"):
            read(path)


def test_volumes_are_read_as_one_archive(dump, tmp_path):
    data = pack(tmp_path / "whole", dump.read_bytes()).read_bytes()
    size = len(data) // 3 + 1
    parts = [tmp_path / f"site.7z.{number:03}" for number in (1, 2, 3)]
    for number, part in enumerate(parts):
        part.write_bytes(data[number * size : (number + 1) * size])
    (tmp_path / "site.7z.md5").write_text("0")
    assert read(parts[0]) == read(dump)
    for missing, complaint in (
        (None, f"site.7z is not a file: pass its first volume, {parts[0]}"),
        (parts[1], "a volume before site.7z.003 is missing; found site.7z.001, site.7z.003"),
        (parts[2], "site.7z.001: not a readable 7z archive"),
    ):
        if missing:
            missing.unlink()
        with pytest.raises(DumpError) as error:
            read(parts[0] if missing else tmp_path / "site.7z")
        assert complaint in str(error.value)


FORBIDDEN = ["&#x0E;", "&#x1b;", "&#14;", "&#0;", "&#xFFFE;", "&#xd83d;", "&#00000031;", "&#x110000;", "\x0e", "\ufffe"]


def test_forbidden_characters_are_left_out_and_counted(tmp_path):
    content = row(Id=1, PostTypeId=2, Body="an answer @") + question_row(2, "A @title", "<p>a@b</p>")
    content += row(Id=3, PostTypeId=6, Body="a moderator's @") + question_row(4, "Kept: &lt; &#xA; é")
    content = "".join(
        content.replace("@", each).replace('row Id="', f'row Id="{digit}')
        for digit, each in enumerate(FORBIDDEN[:4], start=1)
    )
    dump = write_dump(tmp_path / "Posts.xml", content)
    code, output, error = convert(dump, tmp_path)
    assert code == 0, error
    assert "8 questions" in output and "16 characters that are invalid in XML were removed" in output
    found = rows(tmp_path / "ques_details.csv")
    assert (found[0]["title"], found[0]["description"]) == ("A title", "ab")
    assert "16 characters that are invalid in XML" in convert(dump, tmp_path, "--since-last")[1]


@pytest.mark.parametrize("block", [16, 61, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_a_forbidden_character_may_lie_across_blocks(monkeypatch, block, encoding):
    monkeypatch.setattr(posts_xml, "BLOCK", block)
    content = "".join(question_row(n, f"{'é' * (n % 7)}@{n}").replace("@", bad) for n, bad in enumerate(FORBIDDEN * 9))
    posts = PostsXml(io.BytesIO(f"<posts>\n{content}</posts>".encode(encoding)), "Posts.xml")
    assert [question.title for question in raw_questions(posts)] == [f"{'é' * (n % 7)}{n}" for n in range(90)]
    assert posts.removed == 90


def test_damage_behind_a_forbidden_character_is_named_by_its_line(monkeypatch):
    monkeypatch.setattr(posts_xml, "BLOCK", 500)
    lines = [question_row(number).replace("A title", "A &#x0E;title") for number in range(40)]
    lines[30] = lines[30].replace("title", "ti<tle")
    questions = raw_questions(PostsXml(io.BytesIO(f"<posts>\n{''.join(lines)}</posts>".encode()), "Posts.xml"))
    assert [next(questions).id for _ in range(30)] == [str(number) for number in range(30)]
    with pytest.raises(DumpError, match="damaged at line 32 "):
        next(questions)


ENTITIES = '<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "before", ["", "\n", '<?xml version="1.0"?>\n', "<?pi a > b?>", f"<!--{' <posts> ' * 9000}-->", "<!-- a --><?p?>\n"]
)
def test_a_doctype_is_refused_before_its_entities_are_read(encoding, before):
    content = f"{before}{ENTITIES}<posts>{question_row(1, '&b;')}</posts>".replace("&amp;", "&")
    with pytest.raises(DumpError, match="begins with a DOCTYPE"):
        PostsXml(io.BytesIO(content.encode(encoding)), "Posts.xml")
    questions = raw_questions(
        PostsXml(io.BytesIO(content.replace(ENTITIES, "").replace("&b;", "b").encode(encoding)), "")
    )
    assert [question.title for question in questions] == ["b"]


@pytest.mark.parametrize(
    "name, content, complaint",
    [
        ("Posts.xml", b"title,url\n", "Posts.xml: damaged at line 1"),
        ("Posts.xml", b"<posts></posts>", "Posts.xml: no rows in it"),
        ("Comments.xml", b'<comments><row Id="1" PostId="2" /></comments>', "no PostTypeId; pass Posts.xml"),
        ("Posts.xml", b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "b">]><posts/>', "begins with a DOCTYPE"),
        ("Posts.xml", b'<?xml version="1.0" encoding="utf-7"?><posts/>', "damaged at line 1 (multi-byte encodings"),
        ("Posts.xml", b"<!--" + b" " * 3_000_000 + b"--><posts/>", "no element in its first 1 MB"),
        ("site.7z", b"no archive", "site.7z: not a readable 7z archive"),
        ("site.zip", b"PK\x03\x04", "site.zip: a zip archive, not supported: unpack it, and pass its Posts.xml"),
        ("site.zst", b"\x28\xb5\x2f\xfd", "site.zst: compressed by Zstandard, not supported"),
        ("absent.xml", None, "absent.xml is not a file"),
    ],
)
def test_what_is_no_dump_is_named_in_one_line(tmp_path, name, content, complaint):
    if content:
        (tmp_path / name).write_bytes(content)
    code, output, error = convert(tmp_path / name, tmp_path)
    assert code != 0 and complaint in error and not output
    assert not (tmp_path / "ques_details.csv").exists() and not (tmp_path / "ques_failed.csv").exists()


def test_an_archive_without_posts_or_with_a_password_is_named(dump, tmp_path):
    with py7zr.SevenZipFile(tmp_path / "other.7z", "w") as archive:
        archive.writestr("<comments />", "Comments.xml")
    assert "no Posts.xml in the archive; found Comments.xml" in convert(tmp_path / "other.7z", tmp_path)[2]
    with py7zr.SevenZipFile(tmp_path / "secret.7z", "w", password="x") as archive:
        archive.write(dump, "Posts.xml")
    assert "is protected by a password" in convert(tmp_path / "secret.7z", tmp_path)[2]


def test_another_dumps_output_is_not_touched(dump, converted, tmp_path):
    other = write_dump(tmp_path / "Posts.xml", question_row(1))
    code, _, error = convert(other, converted)
    assert code != 0 and "was not made from" in error
    assert len(rows(converted / "ques_details.csv")) == 3000


def test_a_full_disk_loses_no_row(dump, converted, tmp_path):
    code, _, error = convert(dump, tmp_path, limit_bytes=1_000_000)
    assert code != 0 and error.startswith("stopped: ")
    assert rows(tmp_path / "ques_details.csv")
    assert convert(dump, tmp_path)[0] == 0
    assert (tmp_path / "ques_details.csv").read_bytes() == (converted / "ques_details.csv").read_bytes()


def test_a_second_run_on_the_same_output_stops(dump, tmp_path):
    first = start(dump, tmp_path, "--workers", "1")
    wait_until(lambda: stored(tmp_path / "ques_details.csv"))
    code, _, error = convert(dump, tmp_path)
    assert code != 0 and "is being written by another run" in error
    first.communicate(timeout=60)
    assert first.returncode == 0
