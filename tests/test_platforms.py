"""The shared parts work with another platform than Stack Exchange, and none of them knows what is special about it."""

import ast
import csv
import json
import re
from pathlib import Path

import pytest

from data import validate
from data.files import DETAILS_COLUMNS, read_questions, read_table
from data.source import read_source, write_source
from scraper.details import clean_title, details_row
from tagging.html_text import html_to_text
from tagging.platforms import Platform
from tagging.stack_exchange import STACK_EXCHANGE, canonical_url, question_key
from training import filter_tags

ROOT = Path(__file__).parents[1]
# The modules that may name the form of a URL or the network: this one, and the imitation of a site.
OF_STACK_EXCHANGE = ("deployment/tagging/stack_exchange.py", "data/sample_site/")
URL_FORM = re.compile(r"/(?:questions|q|tagged)\b|stackexchange\.com|stackoverflow\.com|CC BY-SA|\[?closed\]")

FORUM = "https://forum.example"
DISCOURSE = Platform(
    question_path=re.compile(r"^(?P<path>/t/(?:[^/]*[^/\d][^/]*/)?(?P<id>\d+))(?:/\d+)?$"),
    question_page="{site}/t/{id}",
    tag_page="{site}/tag/{tag}",
    licence_terms="CC BY-NC-SA 3.0",
    attribution="CC BY-NC-SA 3.0; the topic at a question's url lists its authors",
    licences={"": "CC BY-NC-SA 3.0"},
    undated_licence="CC BY-NC-SA 3.0",
    max_tags=2,
    max_title=40,
    title_statuses=("solved",),
)
# In a forum, an aside is a quote of another post.
POST = (
    '<aside class="quote"><blockquote>Loaf {number} again?</blockquote></aside><p>Row {number} gets <b>worse</b>.</p>'
)


@pytest.fixture
def folder(tmp_path):
    """A data folder with questions of the forum, made of the shared parts."""
    with (tmp_path / "ques_details.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, DETAILS_COLUMNS)
        writer.writeheader()
        for number in range(100):
            writer.writerow(
                details_row(
                    title=clean_title(f"How do I bake loaf {number}? [solved]", DISCOURSE),
                    description=html_to_text(POST.format(number=number), DISCOURSE),
                    tags=[["rye", "wheat", "spelt"][number % 3]],
                    url=DISCOURSE.canonical_url(f"{FORUM}/t/loaf-{number}/{number}/4?u=me"),
                    creation_date=f"2024-01-01T00:{number // 60:02}:{number % 60:02}Z",
                )
            )
    write_source(tmp_path / "ques_details.csv", FORUM, "topics", DISCOURSE)
    return tmp_path


def test_a_platform_identifies_its_questions():
    assert DISCOURSE.canonical_url(f"{FORUM}/t/slug/123/7?u=me") == f"{FORUM}/t/slug/123"
    assert DISCOURSE.question_key(f"{FORUM}/t/slug/123") == DISCOURSE.question_key(f"{FORUM}/t/123/2")
    assert DISCOURSE.question_key(f"{FORUM}/t/slug/124") != DISCOURSE.question_key(f"{FORUM}/t/slug/123")
    assert DISCOURSE.question_key(DISCOURSE.question_url(FORUM, 123)) == "forum.example/123"
    assert DISCOURSE.is_question(f"{FORUM}/t/slug/123") and not DISCOURSE.is_question(f"{FORUM}/questions/123/slug")
    assert DISCOURSE.tag_url(FORUM, "c++") == f"{FORUM}/tag/c%2B%2B"
    assert question_key("http://[") == "http://["
    with pytest.raises(ValueError, match="IPv6"):
        canonical_url("http://[")


def test_a_platform_without_statuses_keeps_titles_as_they_are():
    assert STACK_EXCHANGE.without_status("Why? [closed]") == "Why?"
    assert DISCOURSE.without_status("Why? [closed]") == "Why? [closed]"


@pytest.mark.parametrize(
    ("date", "licence"),
    [
        ("2011-04-07T23:59:59Z", "CC BY-SA 2.5"),
        ("2011-04-08T00:00:00Z", "CC BY-SA 3.0"),
        ("2018-05-02", "CC BY-SA 4.0"),
        ("", "CC BY-SA, version unknown"),
    ],
)
def test_the_licence_of_a_question_follows_from_its_date(date, licence):
    assert STACK_EXCHANGE.licence_of(date) == licence
    assert DISCOURSE.licence_of(date) == "CC BY-NC-SA 3.0"


def test_questions_of_another_platform_pass_validation_and_the_split(folder):
    filter_tags.main(["--data-dir", str(folder), "--min-frequency", "0.03"])
    validate.main(["--data-dir", str(folder), "--reports-dir", str(folder / "reports")])
    questions = read_questions(folder / "ques_filtered.csv")
    assert sorted(questions["url"])[:2] == [f"{FORUM}/t/loaf-0/0", f"{FORUM}/t/loaf-1/1"]
    assert set(read_table(folder / "split.csv", ["url", "split"])["url"]) == set(questions["url"])
    first = questions[questions["url"] == f"{FORUM}/t/loaf-0/0"].iloc[0]
    assert first["title"] == "How do I bake loaf 0?"
    assert first["description"] == "Loaf 0 again?\n\nRow 0 gets worse."


def test_the_source_and_the_limits_are_those_of_the_platform(folder):
    assert read_source(folder / "SOURCE.json")["licence"].startswith("CC BY-NC-SA 3.0")
    asked_under = json.loads((folder / "SOURCE.json").read_text())["questions_asked_under"]
    assert asked_under == {"CC BY-NC-SA 3.0": 100}
    questions = read_questions(folder / "ques_details.csv")
    questions.at[0, "tags"] = ["rye", "wheat", "spelt"]
    questions.at[1, "title"] = "x" * 41
    odd = {what: rows.sum() for what, rows in validate.anomalies(questions, DISCOURSE).items() if rows.any()}
    assert odd == {"more than 2 tags": 1, "a title of more than 40 characters": 1}
    assert not any(rows.any() for rows in validate.anomalies(questions, STACK_EXCHANGE).values())


def literals(path: Path) -> list[str]:
    """Return the strings of a Python file, without docstrings; comments are no strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def test_no_other_module_knows_the_urls_licences_or_statuses_of_stack_exchange():
    found = {}
    for package in ("deployment", "data", "scraper", "training", "onnx_export", "webapp", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(OF_STACK_EXCHANGE):
                found |= {name: hits} if (hits := [text for text in literals(path) if URL_FORM.search(text)]) else {}
    assert found == {}
    templates = [path.relative_to(ROOT) for path in ROOT.glob("*/**/*.html")]
    elsewhere = ("data/sample_site/", ".venv", "build/", "deployment/browser/embed.html")  # which lists allowed origins
    templates = [path for path in templates if not path.as_posix().startswith(elsewhere)]
    assert [path for path in templates if URL_FORM.search((ROOT / path).read_text())] == []


def test_the_browser_page_links_the_same_tag_pages():
    page = (ROOT / "deployment/browser/page.js").read_text(encoding="utf-8")
    links = re.findall(r"`(\$\{settings\.site\}/[^`]*)`", page)
    as_format = {"${settings.site}": "{site}", "${encodeURIComponent(tag)}": "{tag}"}
    for script, python in as_format.items():
        links = [link.replace(script, python) for link in links]
    assert links == [STACK_EXCHANGE.tag_page]
