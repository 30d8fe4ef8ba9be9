"""data/validate.py on sound and on broken folders."""

import pandas as pd
import pytest

from data import validate
from data.files import write_questions
from data.sample_site.generator import make_questions
from data.source import write_source
from tagging.html_text import html_to_text
from tagging.stack_exchange import STACK_EXCHANGE
from training import filter_tags


@pytest.fixture
def folder(tmp_path):
    """A data folder of the sample site's questions, filtered and split."""
    rows = [
        {
            "title": question.title,
            "description": html_to_text(question.body_html),
            "tags": list(question.tags),
            "url": f"https://site.example{question.path}",
            "creation_date": pd.Timestamp(question.asked, tz="UTC"),
        }
        for question in make_questions(200)
    ]
    write_questions(tmp_path / "ques_details.csv", pd.DataFrame(rows))
    filter_tags.main(["--data-dir", str(tmp_path), "--min-frequency", "0.03"])
    return tmp_path


def run(folder):
    validate.main(["--data-dir", str(folder), "--reports-dir", str(folder / "reports")])
    return (folder / "reports" / "data.md").read_text()


def stopped(folder):
    with pytest.raises(SystemExit) as stop:
        run(folder)
    assert not (folder / "reports").exists()
    return str(stop.value)


def test_the_report_describes_the_questions(folder):
    page = run(folder)
    assert "Valid: ques_details.csv, ques_filtered.csv, tag_types_encoded.json, split.csv" in page
    assert "- 200 questions, " in page and "asked from 2023-01-" in page
    assert "duplicates: 4 questions in 2 groups" in page  # the sample site asks two questions twice
    assert "languages of the 200 texts of 20 words or more: en 100.0%" in page
    assert (folder / "reports" / "tag_frequencies.png").read_bytes().startswith(b"\x89PNG")


def test_suspicious_rows_are_counted_with_an_example(folder):
    questions = pd.read_csv(folder / "ques_details.csv")
    questions.loc[3, "title"] = "x" * 200
    questions.loc[4, "url"] = "question-4"
    questions.loc[5, "description"] = "d\ufffdj\ufffd vu"
    questions.to_csv(folder / "ques_details.csv", index=False)
    page = run(folder)
    assert "1 with a title of more than 150 characters, e.g. https://site.example/" in page
    assert "1 with an invalid url, e.g. question-4" in page
    assert "1 with replacement characters (U+FFFD)" in page


@pytest.mark.parametrize(
    "name, old, new, complaint",
    [
        ("split.csv", ",train\n", ",practice\n", "column split: 'practice' is not a valid part"),
        ("split.csv", "https://site.example/", "https://other.example/", "split.csv: not the questions of"),
        ("ques_filtered.csv", '""python""', '""Python""', "column tags: 'Python' is not a tag"),
        ("tag_types_encoded.json", ": 0", ": 99", "expected {tag: index}"),
        ("ques_details.csv", "url", "address", "ques_details.csv: column url missing"),
        ("ques_details.csv", "creation_date", "creation date", "rename it to creation_date"),
        ("ques_details.csv", "description", "Title", "ques_details.csv: two columns are called 'title'"),
        ("ques_details.csv", "\n", ",x\n", "ques_details.csv, line"),
    ],
)
def test_an_invalid_file_is_reported_with_row_and_column(folder, name, old, new, complaint):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    assert complaint in stopped(folder)


def test_header_variants_are_accepted_and_reported(folder, capsys):
    path = folder / "ques_details.csv"
    header, rows = path.read_text().split("\n", 1)
    path.write_text(f"{header.replace(',', ', ').title()},,\n{rows}")
    run(folder)
    assert "asked from 2023-01-" in (folder / "reports" / "data.md").read_text()
    said = capsys.readouterr().err
    assert "the column ' Creation_Date' is read as creation_date" in said
    assert said.count("2 empty columns without a name are left out") == 1
    path.write_text(f"{header.replace('creation_date', 'asked')}\n{rows}")
    run(folder)
    assert "no column creation_date; not read: asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "SOURCE.json: not readable as JSON"),
        (b'{"site": "https://site.example", ', "SOURCE.json: not readable as JSON"),
        (b"\xff", "SOURCE.json: not readable as JSON"),
        (b"[1]", "SOURCE.json: site, source, retrieved, licence missing"),
        (b'{"site": "a", "source": "b", "retrieved": 1, "licence": "c"}', "SOURCE.json: retrieved missing"),
    ],
)
def test_an_invalid_source_is_reported(folder, content, complaint):
    (folder / "SOURCE.json").write_bytes(content)
    assert complaint in stopped(folder)


def test_the_source_is_reported(folder):
    write_source(folder / "ques_details.csv", "https://site.example", "question pages", STACK_EXCHANGE)
    assert "From https://site.example, question pages, 2" in run(folder)


def test_an_empty_folder_says_what_to_run(tmp_path):
    assert "contains none of the files: run a script of scraper/ first" in stopped(tmp_path)
