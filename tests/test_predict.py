"""Bulk tagging as its user meets it: a command, a CSV file in, a CSV file out."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from data.sample_site.generator import make_questions
from tagging.decision import suggest
from tagging.html_text import html_to_text
from tagging.tagger import Tagger
from tests.tiny_model import build_model_folder

SCRIPT = Path(__file__).parents[1] / "deployment" / "predict.py"
SHIPPED = SCRIPT.parent / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def predict(model, tmp_path):
    """Run predict.py in an empty folder on the bytes of its input, and return the finished process."""

    def run(content: str | bytes | None, *options: str) -> subprocess.CompletedProcess:
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / "questions.csv").write_bytes(data)
        return subprocess.run(
            [sys.executable, SCRIPT, "--input", "questions.csv", "--output", "tagged.csv", *options],
            cwd=tmp_path,
            env=os.environ | {"TAGGER_MODEL": str(model), "COLUMNS": "500"},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def tagged(tmp_path):
    return tmp_path / "tagged.csv"


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_gets_the_tags_that_the_apps_give(predict, tagged, model):
    """Order, other columns, line breaks, quotes and characters beyond ASCII stay; 100 rows make several chunks."""
    words = ["python", "gradient", "layers", "csv", "everything"]
    rows = [
        {
            "id": f"{number}é",
            "title": f'{words[number % 5]}, "quoted"',
            "description": f"two\nlines 漢字 {'x ' * (number % 7)}",
        }
        for number in range(100)
    ]
    lines = ["id,title,description"]
    lines += [",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in rows]
    result = predict("\ufeff" + "\r\n".join(lines) + "\r\n\r\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("100 questions tagged, 0 blank ones left without tags -> tagged.csv\n")

    written = read_csv(tagged)
    assert [{column: row[column] for column in rows[0]} for row in written] == rows
    expected = Tagger(model).tag_batch([row["title"] for row in rows], [row["description"] for row in rows])
    assert [json.loads(row["tags"]) for row in written] == [[tag for tag, _ in question] for question in expected]
    for row, question in zip(written, expected, strict=True):
        assert json.loads(row["scores"]) == pytest.approx([score for _, score in question], abs=1e-4)


def test_one_text_column_is_enough(predict, tagged):
    assert predict("title\npython\n").returncode == 0
    assert read_csv(tagged) == [{"title": "python", "tags": '["python"]', "scores": "[0.982]"}]
    assert predict("description,n\ncsv,1\n", "--force").returncode == 0
    assert read_csv(tagged) == [{"description": "csv", "n": "1", "tags": '["pandas"]', "scores": "[0.586]"}]


@pytest.mark.parametrize(
    "content, columns, said",
    [
        ("title, description\nhow,python\n", ["title", " description"], "the column ' description' is read as desc"),
        ("Title,DESCRIPTION\nhow,python\n", ["Title", "DESCRIPTION"], "the column 'DESCRIPTION' is read as desc"),
        ("title,\ufeffdescription\u00a0\nhow,python\n", ["title", "\ufeffdescription\u00a0"], "is read as desc"),
        (
            "\ntitle,description,, \nhow,python,,\nwhy,,,,,\n",
            ["title", "description"],
            "2 empty columns without a name",
        ),
        ("title,description,\nhow,python\n", ["title", "description"], "1 empty columns without a name"),
        (",title,body,description\n0,how,x,python\n", ["", "title", "body", "description"], ""),
        ("description,body,n\npython,x,1\n", ["description", "body", "n"], "no column title; not read: body, n\n"),
    ],
)
def test_header_variants_are_accepted_and_kept(predict, tagged, content, columns, said):
    result = predict(content)
    assert result.returncode == 0, result.stderr
    assert said in result.stderr and result.stderr.count("questions.csv: ") == bool(said) + ("Title" in columns)
    row = read_csv(tagged)[0]
    assert list(row) == [*columns, "tags", "scores"] and json.loads(row["tags"])[0] == "python"


def test_blank_questions_are_kept_and_counted(predict, tagged):
    result = predict('title,description\npython,\n,\n" ","\n"\n,gradient\n')
    assert [row["tags"] for row in read_csv(tagged)] == ['["python"]', "[]", "[]", '["deep-learning"]']
    assert [row["scores"] for row in read_csv(tagged)][1:3] == ["[]", "[]"]
    assert "2 questions tagged, 2 blank ones left without tags" in result.stdout


def test_a_question_without_what_the_model_reads_counts_as_blank(predict, tagged, tmp_path):
    folder = build_model_folder(tmp_path / "model")
    thresholds = json.loads((folder / "thresholds.json").read_text())
    (folder / "thresholds.json").write_text(json.dumps(thresholds | {"fields": ["description"]}))
    result = predict("title,description\npython,\npython,gradient\n", "--model", str(folder))
    assert [row["tags"] for row in read_csv(tagged)] == ["[]", '["deep-learning"]']
    assert "1 questions tagged, 1 blank ones left without tags" in result.stdout


def test_top_k(predict, tagged):
    assert predict("title\ngradient\n", "--top-k", "2").returncode == 0
    assert read_csv(tagged)[0]["tags"] == '["deep-learning", "optimization"]'
    assert "--top-k: '0' is not a whole number of at least 1" in predict("title\ngradient\n", "--top-k", "0").stderr


def test_an_existing_result_is_overwritten_only_with_force(predict, tagged):
    tagged.write_text("mine")
    result = predict("title\npython\n")
    assert result.returncode != 0
    assert "tagged.csv already there: give --force" in result.stderr
    assert tagged.read_text() == "mine"
    assert predict("title\npython\n", "--force").returncode == 0
    assert read_csv(tagged)[0]["tags"] == '["python"]'


def test_the_input_is_never_the_output(predict, tmp_path):
    result = predict("title\npython\n", "--force", "--output", "../" + tmp_path.name + "/questions.csv")
    assert result.returncode != 0
    assert "is the input itself" in result.stderr
    assert (tmp_path / "questions.csv").read_text() == "title\npython\n"


@pytest.mark.parametrize(
    "content, complaint",
    [
        (None, "questions.csv not found"),
        ("", "questions.csv: the file is empty"),
        ("title,description\n", "questions.csv: no row below the header"),
        ("question,body\na,b\n", "neither column title nor description; found question, body"),
        ("title,tags\na,b\n", "the column 'tags' would be overwritten"),
        ("title,title\na,b\n", "two columns are called 'title'"),
        ('title,description\n"a\nb",c\n\nd\n', "questions.csv, line 5: 1 cells, but the header names 2 columns"),
        ("title,description\na,b,c\n", "questions.csv, line 2: 3 cells, but the header names 2 columns"),
        ('title\na\n"never closed\nb\nc\n', "questions.csv, the row from line 3 on: not readable as CSV"),
        (b"title\nna\xc3\xafve\nna\xefve\n", "questions.csv, line 3: not UTF-8"),
        (b"title\nlost \xef\xbf\xbd before\r\rx\xe4\n", "questions.csv, line 4: not UTF-8"),
        (b"PAR1\x15\x04\xc0", "questions.csv: a Parquet file; give it a name that ends in .parquet"),
        ("title;description\na;b\n", "the columns are separated by ';'; save the file with commas"),
        ("title,Title\na,b\n", "two columns are called 'title'"),
        ("title,Tags\na,b\n", "the column 'Tags' would be overwritten"),
        ("title,descripton\na,b\n", "no column is called description, but one 'descripton': rename it to description"),
        ("description,Question Title\na,b\n", "no column is called title, but one 'Question Title'"),
        ("title,,\na,b,c\n", "the columns 2 and 3 hold cells, but have no name"),
        (",,\na,b,c\n", "its first line names no column"),
    ],
)
def test_invalid_input_gets_one_line_and_leaves_no_result(predict, tmp_path, content, complaint):
    result = predict(content)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert complaint in result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"questions.csv"}


def test_a_folder_as_input_gets_a_hint(predict, tmp_path):
    result = predict(None, "--input", ".")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert ". is a folder: give a file in it, or --ray local to tag all its Parquet files" in result.stderr


def test_a_missing_model_is_reported_in_one_line(predict, tmp_path):
    result = predict("title\npython\n", "--model", "nowhere")
    assert result.returncode != 0
    assert result.stderr.startswith("nowhere is no model folder: model_quantized.onnx")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "tagged.csv").exists()


def test_parquet_keeps_its_columns_and_gets_the_same_tags_as_csv(predict, tagged, tmp_path):
    table = pyarrow.table(
        {"n": [1, 2, 3], "title": ["python", None, "csv"], "when": pyarrow.array([0, 1, 2], "date32")}
    )
    pyarrow.parquet.write_table(table, tmp_path / "questions.parquet", row_group_size=2)
    result = predict(None, "--input", "questions.parquet", "--output", "tagged.parquet")
    assert result.returncode == 0, result.stderr
    written = pyarrow.parquet.read_table(tmp_path / "tagged.parquet")
    assert written.select(table.column_names) == table
    assert predict("title\npython\n \ncsv\n").returncode == 0
    rows = read_csv(tagged)
    assert written["tags"].to_pylist() == [json.loads(row["tags"]) for row in rows] == [["python"], [], ["pandas"]]
    assert written["scores"].to_pylist() == [pytest.approx(json.loads(row["scores"])) for row in rows]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string_view(),
        pyarrow.large_string(),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.large_string(), ordered=True),
    ],
)
def test_parquet_strings_of_every_kind_are_read_also_beside_a_column_of_nulls(predict, tmp_path, kind):
    """1,500 rows in groups of 700: more than a batch, and a dictionary of its own for each group."""
    titles = ["python", None, "csv", "", "gradient"] * 300
    table = pyarrow.table({"Title": pyarrow.array(titles).cast(kind), "description": pyarrow.nulls(1500)})
    pyarrow.parquet.write_table(table, tmp_path / "questions.parquet", row_group_size=700)
    result = predict(None, "--input", "questions.parquet", "--output", "tagged.parquet")
    assert result.returncode == 0, result.stderr
    written = pyarrow.parquet.read_table(tmp_path / "tagged.parquet")
    given = pyarrow.parquet.read_table(tmp_path / "questions.parquet")
    assert written.select(["Title", "description"]) == given and given["Title"].to_pylist() == titles
    assert [tags[:1] for tags in written["tags"].to_pylist()] == [
        ["python"],
        [],
        ["pandas"],
        [],
        ["deep-learning"],
    ] * 300


@pytest.mark.parametrize(
    "columns, complaint",
    [
        ({"title": pyarrow.array(["a"]).cast("binary")}, "the column 'title' holds binary; it must hold strings"),
        ({"title": ["a"], "Descriptions": ["b"]}, "no column is called description, but one 'Descriptions'"),
        ({"title": ["a"], "Title": ["b"]}, "two columns are called 'title'"),
        ({"title": [1, 2]}, "questions.parquet: the column 'title' holds int64; it must hold strings"),
        ({"body": ["a"]}, "neither column title nor description; found body"),
        ({"title": ["a"], "tags": ["b"]}, "the column 'tags' would be overwritten"),
        (None, "questions.parquet: not readable as Parquet"),
    ],
)
def test_a_damaged_parquet_file_is_reported_in_one_line(predict, tmp_path, columns, complaint):
    path = tmp_path / "questions.parquet"
    if columns:
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        path.write_bytes(b"PAR1 and nothing more")
    result = predict(None, "--input", "questions.parquet", "--output", "tagged.parquet")
    assert result.returncode != 0
    assert complaint in result.stderr and result.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"questions.parquet"}


def test_the_output_has_the_format_of_the_input(predict):
    result = predict("title\npython\n", "--output", "tagged.parquet")
    assert result.returncode != 0
    assert "its name must end in .csv" in result.stderr


def test_a_file_of_the_pipeline_gets_the_tags_that_compare_py_measures(predict, tagged):
    """By the shipped model, which reads every sign. tests/test_html_text.py holds the whole site's texts against it."""
    titles, descriptions = zip(*((q.title, html_to_text(q.body_html)) for q in make_questions()[::3]), strict=True)
    titles += ("What does __init__ do for List<T>, <UNK> and *args?", "if a<b and c>d")
    descriptions += ("", "<div> is not `pandas`, &lt; neither.")
    content = io.StringIO()
    csv.writer(content).writerows([("title", "description"), *zip(titles, descriptions, strict=True)])
    assert predict(content.getvalue(), "--model", str(SHIPPED)).returncode == 0

    served = Tagger(SHIPPED, num_threads=1)
    probabilities = served.probabilities(titles, descriptions)
    chosen = suggest(probabilities, served.rule.threshold)
    for row, scores, suggested in zip(read_csv(tagged), probabilities, chosen, strict=True):
        expected = {served.tags[index]: scores[index] for index in np.flatnonzero(suggested)}
        assert dict(zip(json.loads(row["tags"]), json.loads(row["scores"]), strict=True)) == pytest.approx(
            expected, abs=1e-4
        )


def test_html_is_cleaned_as_in_the_apps(predict, tagged):
    result = predict('title,description\n,"<p>csv <script>python python</script></p>"\n')
    assert result.returncode == 0
    assert read_csv(tagged)[0]["tags"] == '["pandas"]'


@pytest.fixture
def cut_run(predict, model, tmp_path):
    """Kill a run over 4,000 questions in its middle; return the file of its results so far."""
    (tmp_path / "questions.csv").write_text("title\n" + "python\ngradient\nlayers\ncsv\n" * 1000)
    results = tmp_path / ".tagged.csv.results"
    command = [sys.executable, SCRIPT, "--model", model, "--input", "questions.csv", "--output", "tagged.csv"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        while not results.exists() or results.stat().st_size < 10_000:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        yield process, results
        process.kill()


def test_a_killed_run_resumes(cut_run, predict, tagged, tmp_path):
    process, results = cut_run
    process.kill()
    process.wait()
    assert not tagged.exists()
    with results.open("ab") as file:
        file.write(b'[["pyth')  # a line that the kill tore
    resumed = predict(None)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after the" in resumed.stderr
    expected = ['["python"]', '["deep-learning"]', read_csv(tagged)[2]["tags"], '["pandas"]'] * 1000
    assert [row["tags"] for row in read_csv(tagged)] == expected
    assert {path.name for path in tmp_path.iterdir()} == {"questions.csv", "tagged.csv"}


def test_results_of_another_input_are_neither_resumed_nor_overwritten(cut_run, predict, tagged):
    process, results = cut_run
    process.kill()
    process.wait()
    before = results.read_bytes()
    for refused in (predict("title\ncsv\n"), predict(None, "--top-k", "3")):
        assert "give those to resume it, or --force to drop it" in refused.stderr
        assert results.read_bytes() == before
    result = predict(None, "--force")
    assert result.returncode == 0 and "resuming" not in result.stderr
    assert [row["tags"] for row in read_csv(tagged)] == ['["pandas"]']


def test_a_second_run_on_the_same_output_is_rejected(cut_run, predict, tagged):
    before = cut_run[1].read_bytes()
    result = predict(None)
    assert result.returncode != 0
    assert "being written by another run" in result.stderr
    assert cut_run[1].read_bytes() == before and not tagged.exists()


@pytest.mark.parametrize(
    "options, output",
    [
        (["--title", "python", "--description", "csv"], "0.98  python\n0.59  pandas\n"),
        (["--description", "gradient", "--top-k", "1"], "0.97  deep-learning\n"),
    ],
)
def test_the_tags_of_a_single_question_are_printed(model, options, output):
    result = subprocess.run([sys.executable, SCRIPT, "--model", model, *options], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, output)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp1252:strict", "utf-8"])
def test_tags_outside_the_consoles_encoding_are_printed(model, tmp_path, encoding):
    folder = shutil.copytree(model, tmp_path / "модель")
    for name in ("tag_types_encoded.json", "thresholds.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace('"python"', '"питон-ü"'), encoding="utf-8")
    (tmp_path / "questions.csv").write_text("title\npython\n")
    for options in (["--title", "python"], ["--input", tmp_path / "questions.csv", "--output", folder / "tagged.csv"]):
        result = subprocess.run(
            [sys.executable, SCRIPT, "--model", folder, *options],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
        assert result.returncode == 0, result.stderr
        expected = "питон-ü" if "--title" in options else "модель"
        assert expected.encode(encoding.partition(":")[0], "backslashreplace") in result.stdout


@pytest.mark.parametrize(
    "options, complaint",
    [
        ([], "give either --input and --output, or --title and --description"),
        (["--input", "questions.csv"], "give either"),
        (["--input", "questions.csv", "--output", "tagged.csv", "--title", "python"], "give either"),
        (["--input", "questions.csv", "--title", "python"], "give either"),
        (["--title", " "], "the question is empty"),
    ],
)
def test_incompatible_options_are_rejected(model, options, complaint):
    result = subprocess.run([sys.executable, SCRIPT, "--model", model, *options], capture_output=True, text=True)
    assert result.returncode != 0
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_help_shows_the_defaults(predict, model):
    result = predict(None, "--help")
    assert result.returncode == 0
    assert f"(default: {model})" in result.stdout
