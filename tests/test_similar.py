"""Similar questions of the site: in what the tagger answers, on both pages, in the API, and in predict.py."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import predict
from data.files import write_questions
from onnx_export import index as indexing
from tagging.model_folder import ModelFolderError
from tagging.similar import SIMILAR, SIMILAR_TITLES, Index, SimilarQuestions, read_index, write_index
from tagging.tagger import Tagger
from tests.tiny_model import TAGS, add_index, build_model_folder, write_json
from webapp.answers import check_answer
from webapp.app import create_app

SITE = "https://cooking.stackexchange.com"
TITLES = ["python", "python dataframe", "layers", "gradient layers", "csv", "shrubbery"]


@pytest.fixture
def folder(tmp_path):
    """A model folder with an index of TITLES, whose questions have the ids 1 to 6."""
    folder = build_model_folder(tmp_path / "model", site=SITE)
    add_index(folder, TITLES, show_titles=True)
    return folder


def test_an_answer_names_the_three_nearest_questions_of_the_site(folder):
    similar = Tagger(folder).answer("gradient and layers", "")["similar"]
    assert similar[0] == {
        "url": f"{SITE}/questions/4",
        "title": "gradient layers",
        "tags": ["deep-learning", "neural-network"],
        "similarity": 1.0,
        "duplicate": True,
    }
    assert similar[1]["title"] == "layers" and not similar[1]["duplicate"]
    assert len(similar) == 3
    assert [question["similarity"] for question in similar] == sorted(
        (question["similarity"] for question in similar), reverse=True
    )


def test_without_an_index_an_answer_is_as_before(folder):
    whole = Tagger(folder).answer("python csv", "")
    (folder / SIMILAR).unlink()
    assert Tagger(folder).answer("python csv", "") == {name: whole[name] for name in ("suggested", "others", "fits")}


def test_without_titles_questions_are_linked_by_their_ids(folder):
    (folder / SIMILAR_TITLES).unlink()
    assert [question["title"] for question in Tagger(folder).answer("csv", "")["similar"]] == [""] * 3


def test_nothing_is_similar_to_what_the_model_does_not_read(folder):
    write_json(folder / "tagger.json", {"site": SITE, "fields": ["description"]})
    assert Tagger(folder).answer("python", "")["similar"] == []


def test_the_nearest_are_those_of_the_largest_cosine_around_the_mean(tmp_path):
    """Against a search written out, whatever the eight bits of the file cost."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(3, 1, (500, 32)).astype(np.float32)
    write_index(Index.of(vectors, range(1, 501), [[0]] * 500), tmp_path / SIMILAR)
    questions = SimilarQuestions(read_index(tmp_path / SIMILAR, 1), [], ["a"], SITE)
    centred = vectors - vectors.mean(axis=0)
    for asked in rng.normal(3, 1, (20, 32)).astype(np.float32):
        around = asked - vectors.mean(axis=0)
        cosines = centred @ around / np.linalg.norm(centred, axis=1) / np.linalg.norm(around)
        found = questions.nearest(asked)
        assert [question["similarity"] for question in found] == pytest.approx(np.sort(cosines)[:-4:-1], abs=0.02)
    assert questions.nearest(vectors[7])[0] == {
        "url": f"{SITE}/questions/8", "title": "", "tags": ["a"], "similarity": 1.0, "duplicate": True,
    }  # fmt: skip


def test_an_index_of_fewer_questions_than_are_shown_gives_all(tmp_path):
    index = Index.of(np.eye(2, dtype=np.float32), [5, 6], [[0], []])
    found = SimilarQuestions(index, [], TAGS, SITE).nearest(np.array([1, 0], dtype=np.float32))
    assert [(question["url"], question["tags"]) for question in found] == [
        (f"{SITE}/questions/5", ["python"]),
        (f"{SITE}/questions/6", []),
    ]


DAMAGED = [
    (lambda folder: (folder / SIMILAR).write_bytes(b"PK"), "cannot be read as an index of questions"),
    (lambda folder: np.savez(folder / SIMILAR, ids=[1]), "cannot be read as an index of questions"),
    (lambda folder: (folder / SIMILAR_TITLES).write_text("one\n"), "has 1 titles, but similar.npz has 6 questions"),
    (lambda folder: (folder / SIMILAR_TITLES).write_bytes(b"\xff\n" * 6), "similar_titles.txt"),
    (
        lambda folder: write_index(Index.of(np.eye(7), range(1, 8), [[7]] * 7), folder / SIMILAR),
        "its arrays do not belong together, or to this model",
    ),
    (
        lambda folder: write_index(Index.of(np.eye(6), range(1, 7), [[0]] * 6), folder / SIMILAR),
        "does not belong to this model",
    ),
]


@pytest.mark.parametrize(("damage", "complaint"), DAMAGED)
def test_a_damaged_index_gets_one_line_with_its_file(folder, damage, complaint):
    damage(folder)
    with pytest.raises(ModelFolderError, match=complaint) as stop:
        Tagger(folder)
    assert "similar" in str(stop.value) and "\n" not in str(stop.value)


# ---- the stage, and what is shipped ----


@pytest.fixture
def trained(folder, tmp_path):
    """The tiny model as a trained one, not indexed yet, and the questions that it knows."""
    (folder / SIMILAR).unlink()
    (folder / SIMILAR_TITLES).unlink()
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    folder.rename(tmp_path / "models" / "tiny" / "onnx")
    urls = [f"{SITE}/questions/{number}/a-title" for number in range(1, 5)]
    urls += ["https://other.stackexchange.com/questions/5", "notes, page 7"]
    questions = pd.DataFrame({"title": TITLES, "description": "", "tags": [["python"]] * 6, "url": urls})
    write_questions(tmp_path / "ques_filtered.csv", questions)
    write_json(tmp_path / "tag_types_encoded.json", {tag: number for number, tag in enumerate(TAGS)})
    return ["--model", "tiny", "--data-dir", str(tmp_path), "--models-dir", str(tmp_path / "models")]


def test_the_questions_of_the_site_are_indexed(trained, tmp_path, capsys):
    indexing.main(trained)
    assert "4 questions indexed; 2 of other sites or without an id are not" in capsys.readouterr().out
    folder = tmp_path / "models" / "tiny" / "onnx"
    assert (folder / SIMILAR_TITLES).read_text().splitlines() == TITLES[:4]
    assert Tagger(folder).answer("python dataframe", "")["similar"][0]["url"] == f"{SITE}/questions/2"
    with pytest.raises(SystemExit, match="give --force to replace"):
        indexing.main(trained)
    indexing.main([*trained, "--force"])


def test_an_index_of_another_site_or_of_other_tags_is_not_made(trained, tmp_path):
    folder = tmp_path / "models" / "tiny" / "onnx"
    write_json(folder / "tagger.json", {"site": "https://stats.stackexchange.com"})
    with pytest.raises(SystemExit, match=r"no URL is that of a question of https://stats\.stackexchange\.com"):
        indexing.main(trained)
    write_json(tmp_path / "tag_types_encoded.json", {"python": 0})
    with pytest.raises(SystemExit, match="have other tags: name the data that it was trained on"):
        indexing.main(trained)
    assert not (folder / SIMILAR).exists()


def test_an_index_stays_where_a_new_one_cannot_be_made_and_a_damaged_one_is_replaced(trained, tmp_path):
    folder = tmp_path / "models" / "tiny" / "onnx"
    indexing.main(trained)
    before = [(folder / name).read_bytes() for name in (SIMILAR, SIMILAR_TITLES)]
    tags = (tmp_path / "tag_types_encoded.json").read_text()
    write_json(tmp_path / "tag_types_encoded.json", {"python": 0})
    with pytest.raises(SystemExit, match="have other tags"):
        indexing.main([*trained, "--force"])
    assert [(folder / name).read_bytes() for name in (SIMILAR, SIMILAR_TITLES)] == before
    (tmp_path / "tag_types_encoded.json").write_text(tags)
    (folder / SIMILAR).write_bytes(b"damaged")
    run_predict(folder, "--title", "csv")  # which needs none
    indexing.main([*trained, "--force"])
    assert Tagger(folder).answer("csv", "")["similar"]


# ---- for people ----


def run_predict(folder, *options):
    predict.main(["--model", str(folder), *map(str, options)])


def refusal(folder, *options) -> str:
    with pytest.raises(SystemExit) as stop:
        run_predict(folder, *options)
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code
    return stop.value.code


def test_predict_prints_the_evidence(folder):
    command = [sys.executable, "deployment/predict.py", "--model", folder, "--title", "gradient layers", "--evidence"]
    done = subprocess.run(command, capture_output=True, text=True)
    tags, similar = done.stdout.splitlines()[:2], done.stdout.splitlines()[2:]
    assert [line.split()[1] for line in tags] == ["deep-learning", "neural-network"], done.stderr
    of_itself = f"gradient layers  {SITE}/questions/4  [deep-learning neural-network]  possible duplicate"
    assert similar[0] == f"similar (1.00): {of_itself}"
    assert len(similar) == 3


def test_predict_writes_the_evidence_into_a_third_column(folder, tmp_path):
    rows = pd.DataFrame({"title": ["csv", " ", "layers"], "description": ""})
    rows.to_csv(tmp_path / "in.csv", index=False)
    rows.to_parquet(tmp_path / "in.parquet")
    found = {}
    for ending, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        files = ["--input", tmp_path / f"in.{ending}", "--output", tmp_path / f"out.{ending}"]
        run_predict(folder, *files, "--evidence")
        table = read(tmp_path / f"out.{ending}")
        assert list(table.columns) == ["title", "description", "tags", "scores", "similar"]
        found[ending] = [json.loads(cell) if ending == "csv" else list(cell) for cell in table["similar"]]
    assert [len(row) for row in found["csv"]] == [len(row) for row in found["parquet"]] == [3, 0, 3]
    assert found["csv"][2][0]["url"] == found["parquet"][2][0]["url"] == f"{SITE}/questions/3"
    files = ["--input", tmp_path / "out.csv", "--output", tmp_path / "again.csv"]
    assert "would be overwritten; rename it" in refusal(folder, *files, "--evidence")


def test_a_column_called_similar_is_kept_without_evidence(folder, tmp_path):
    (tmp_path / "in.csv").write_text("title,similar\ncsv,yes\n")
    files = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv"]
    assert "in.csv: the column 'similar' would be overwritten" in refusal(folder, *files, "--evidence")
    run_predict(folder, *files)
    assert pd.read_csv(tmp_path / "out.csv")["similar"].tolist() == ["yes"]


@pytest.mark.parametrize("from_file", [False, True])
def test_evidence_without_an_index_gets_one_line(folder, tmp_path, from_file):
    (folder / SIMILAR).unlink()
    (tmp_path / "in.csv").write_text("title\ncsv\n")
    question = ["--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv"] if from_file else ["--title", "csv"]
    assert "has no similar.npz: run  python onnx_export/index.py" in refusal(folder, *question, "--evidence")
    assert not (tmp_path / "out.csv").exists()


@pytest.fixture
def form(folder):
    """The form, whose Space is away: the model on its own server answers."""
    return create_app({"TAGGER_SPACE": "http://127.0.0.1:9", "TAGGER_MODEL": str(folder)}).test_client()


def test_the_form_and_its_api_show_similar_questions(form):
    page = form.post("/", data={"title": "gradient <layers>", "description": ""}).get_data(as_text=True)
    link = f'<a href="{SITE}/questions/4">gradient layers</a>'
    assert f'{link} <strong class="duplicate">possible duplicate</strong>' in page
    assert "deep-learning, neural-network</span>" in page
    answer = form.post("/api/tags", json={"title": "csv", "description": ""}).get_json()
    assert answer["similar"][0]["url"] == f"{SITE}/questions/5"


def test_a_link_that_leads_to_no_web_page_is_no_answer():
    row = {"url": "javascript:alert(1)", "title": "", "tags": [], "similarity": 1, "duplicate": False}
    answer = {"suggested": [{"tag": "a", "probability": 1}], "others": [], "fits": True}
    assert check_answer(answer | {"similar": [row | {"url": f"{SITE}/questions/1"}]})["similar"]
    with pytest.raises(ValueError, match="no address of a question"):
        check_answer(answer | {"similar": [row]})
