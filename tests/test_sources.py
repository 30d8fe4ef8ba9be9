"""Pages, API and dump of one site fill the pipeline with the same questions, down to the comparison table."""

import json

import pytest

from data import validate
from data.sample_site.server import SampleSite
from onnx_export import compare
from tests.test_data_dump import question_row, write_dump
from tests.test_scraper import rows, run, scrape_details, scrape_urls
from training import baseline, filter_tags


def from_pages(folder, site):
    assert scrape_urls(folder, site, "--engine", "requests")[0] == 0
    assert scrape_details(folder, "--engine", "requests")[0] == 0


def from_api(folder, site):
    output = ["--output", folder / "ques_details.csv"]
    assert run("stack_exchange_api", "--site", site.url, "--api", f"{site.url}/2.3", *output)[0] == 0


def from_dump(folder, site):
    content = "".join(
        question_row(
            question.id, question.title, question.body_html, f"|{'|'.join(question.tags)}|", question.asked.isoformat()
        )
        for question in site.questions
        if not question.deleted
    )
    where = ["--site", site.url, "--output", folder / "ques_details.csv"]
    assert run("data_dump", "--input", write_dump(folder / "Posts.xml", content), *where, delay=None)[0] == 0


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{source: folder} after every stage from the source to the comparison."""
    made = {}
    with SampleSite(n=240) as site:
        for source in (from_pages, from_api, from_dump):
            made[source.__name__] = folder = tmp_path_factory.mktemp(source.__name__)
            source(folder, site)
    for folder in made.values():
        where = ["--data-dir", str(folder), "--models-dir", str(folder / "models")]
        filter_tags.main(["--data-dir", str(folder), "--min-frequency", "0.03", "--split", "time"])
        baseline.main(where)
        compare.main([*where, "--reports-dir", str(folder / "reports")])
    return made


def test_the_three_sources_give_the_same_questions(folders):
    def questions(folder):
        return sorted(
            (row["title"], row["description"], row["tags"], row["url"].split("/")[4], row["creation_date"])
            for row in rows(folder / "ques_details.csv")
        )

    pages, api, dump = map(questions, folders.values())
    assert len(pages) == 239 and pages == api == dump


def test_the_three_sources_give_the_same_comparison_table(folders):
    tables = [json.loads((folder / "reports" / "comparison.json").read_text()) for folder in folders.values()]
    pages, api, dump = ([(row["model"], row["f1_micro"], row["f1_macro"]) for row in table["rows"]] for table in tables)
    assert pages == api == dump
    assert any(model == "tfidf-baseline" and f1 > 0 for model, f1, _ in pages)


def test_every_folder_is_valid(folders):
    for folder in folders.values():
        validate.main(["--data-dir", str(folder), "--reports-dir", str(folder / "reports")])
        assert "ques_details.csv" in (folder / "reports" / "data.md").read_text()
