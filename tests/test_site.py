"""From the name of a site to a tagger in service by one command: killed, continued, promoted under load, refreshed."""

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest
from gradio_client import Client
from hypothesis import given
from hypothesis import strategies as st

from data.files import read_questions
from data.sample_site.server import SampleSite
from onnx_export import build_site, release
from onnx_export.evaluation.decisions import as_arrays
from onnx_export.sites.choices import FEWEST_QUESTIONS, Census, choose
from onnx_export.sites.progress import Progress
from tagging.served import ServedTagger
from tagging.tagger import Tagger
from tests.test_apps import ROOT, SERVE_PYTHON, free_port, server
from tests.tiny_backbones import save_backbone
from tests.tiny_model import build_model_folder

TITLE = "Loss becomes NaN when I train a network in keras"
HEAD, ENCODER = 12, 19  # stages of --quick, and of the whole command


def in_this_process(progress, stage, words, key):
    """A stage without a process of its own: torch is loaded once."""
    script, *options = words
    progress._content["started"] = {"name": stage.name, "key": key}
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        module.main(options)
    return output.getvalue()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(Progress, "_execute", in_this_process)


@pytest.fixture(scope="module")
def network():
    with SampleSite(n=160) as site:
        yield site


@pytest.fixture(scope="module")
def built(network, tmp_path_factory):
    """The folder of the sites with one site, cooking, whose head was trained; then the encoder, with a kill on the way.

    What the commands printed is in head.txt, killed.txt and encoder.txt.
    """
    root = tmp_path_factory.mktemp("sites")
    texts = [question.title for question in network.questions]
    options = ["cooking", "--sites-dir", str(root), "--url", network.url, "--api", f"{network.url}/2.3", "--delay", "0"]
    options += ["--backbone", str(save_backbone("bert-base-uncased", texts, tmp_path_factory.mktemp("backbones")))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "_execute", in_this_process)
        (root / "head.txt").write_text(printed(build_site, *options, "--quick"))
    with (root / "killed.txt").open("w") as log:
        command = [sys.executable, "onnx_export/build_site.py", "cooking", "--sites-dir", str(root)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while not list(root.glob("cooking/models/*/bert-base-uncased/checkpoints/**/trainer_state.json")):
                assert process.poll() is None, (root / "killed.txt").read_text()
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    stage = json.loads((root / "cooking/stages.json").read_text())["started"]
    assert psutil.pid_exists(stage["pid"]), "the training outlives the command, until that is given again"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "_execute", in_this_process)
        (root / "encoder.txt").write_text(printed(build_site, "cooking", "--sites-dir", str(root)))
    assert not psutil.pid_exists(stage["pid"])
    return root


@pytest.fixture
def sites(built, tmp_path):
    """A copy of the site with both releases, release 1 in service, and release 2 no worse by their test questions.

    So few questions would decide by chance: both get the answers of release 2 for the gate.
    """
    root = shutil.copytree(built, tmp_path / "sites")
    files = [root / "cooking/releases" / name / "test_decisions.json" for name in "12"]
    first, second = (json.loads(file.read_text()) for file in files)
    files[0].write_text(json.dumps(first | {name: second[name] for name in ("questions", "figures")}))
    (root / "cooking/releases.json").write_text('{"served": "1", "previous": null, "staged": "2"}')
    return root


def printed(script, *words) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        script.main(list(words))
    return output.getvalue()


def stopped(script, *words) -> str:
    with pytest.raises(SystemExit) as stop:
        script.main(list(map(str, words)))
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code
    return stop.value.code


def releases(root) -> dict:
    return json.loads((root / "cooking/releases.json").read_text())


def test_one_command_goes_from_the_name_to_a_staged_tagger_and_says_what_each_stage_made(built):
    lines = (built / "head.txt").read_text()
    made = re.findall(rf"^\[ ?(\d+)/{HEAD}\] ([a-z0-9 ]+): (?!\S+\.py \.\.\.)(.+) \(\d+ s\)$", lines, re.M)
    assert [int(number) for number, _, _ in made] == list(range(1, HEAD + 1))
    said = {name: what for _, name, what in made}
    assert said["harvest"].startswith("159 questions (159 new)")
    assert re.search(r"kept 35, dropped 92 .*; \d+ train, \d+ validation, \d+ test", said["filter"])
    assert re.fullmatch(r"test micro F1 0\.\d{3} \[.+\], macro F1 0\.\d{3} \[.+\]", said["compare the head"])
    assert re.fullmatch(r"\d+ questions", said["index by the head"])
    assert re.search(r"are right \(promised 0\.8\)", said["tiers of the head"])
    assert "rare tags: a tag needs 5 questions; 35 of 127 tags remain" in lines
    assert "release 1 is staged" in lines
    answer = Tagger(built / "cooking/releases/1").answer(TITLE, "")
    assert answer["similar"][0]["title"] and {row["tier"] for row in answer["suggested"]} <= {"ticked", "shown"}


def test_a_killed_command_goes_on_in_the_middle_of_the_training_and_repeats_nothing(built):
    before, after = ((built / name).read_text() for name in ("killed.txt", "encoder.txt"))
    assert before.count(": up to date (") == after.count(": up to date (") == HEAD
    assert f"[{HEAD + 1}/{ENCODER}] train the encoder: training/finetune.py ..." in before
    assert "about 1 minute for 20 epochs" in before, "the training says beforehand how long it takes"
    assert f"[{HEAD + 1}/{ENCODER}] train the encoder: training/finetune.py, resumed ..." in after
    assert "release 2 is staged" in after
    run = json.loads((built / "cooking/releases/2/run.json").read_text())
    log = next(built.glob("cooking/models/*/bert-base-uncased/training_log.csv")).read_text().splitlines()
    assert run["name"] == "bert-base-uncased" and log[1].split(",")[1] == "1.0"  # of the killed run


def test_what_is_up_to_date_is_skipped_and_what_is_missing_made_again(sites, network, fast):
    asked = len(network.log)
    output = printed(build_site, "cooking", "--sites-dir", str(sites))
    assert output.count(": up to date (") == ENCODER and len(network.log) == asked
    (model,) = sites.glob("cooking/models/*/bert-base-uncased-frozen-encoder/onnx/model_quantized.onnx")
    model.unlink()
    output = printed(build_site, "cooking", "--sites-dir", str(sites))
    assert output.count(": up to date (") == ENCODER - 3 and "int8 of the head: validation" in output
    assert model.is_file() and model.with_name("tiers.json").is_file() and model.with_name("similar.npz").is_file()


def test_the_report_is_one_page_with_figures_intervals_plots_and_advice(built):
    page = (built / "cooking/report.html").read_text()
    linked = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            linked.extend((tag, value) for name, value in attributes if name in ("src", "href"))

    Links().feed(page)
    assert [tag for tag, value in linked if not value.startswith("data:image/png;base64,")] == ["a"]
    assert sum(tag == "img" for tag, _ in linked) == 5
    for heading in ("What to expect", "What would help most", "The data", "Comparison", "Plots"):
        assert f"<h2>{heading}</h2>" in page
    metrics = json.loads((built / "cooking/releases/2/metrics.json").read_text())
    int8 = metrics["int8"]
    assert f"{int8['f1_micro']:.3f} [{int8['f1_micro_low']:.3f}, {int8['f1_micro_high']:.3f}]" in page
    assert f"Of 100 tags that it suggests, {100 * int8['precision_micro']:.0f} are those" in page
    assert f"{metrics['test_questions']} test questions are few" in page
    assert "Too rare, but close to the 5 questions that a tag needs: " in page
    assert "Train the encoder, too" not in page


def test_promote_and_restore_reach_a_running_app_under_load_and_lose_no_request(sites):
    site, url = sites / "cooking", f"http://127.0.0.1:{(port := free_port())}"
    first, second = (Tagger(site / "releases" / name, num_threads=1).answer(TITLE, "") for name in "12")
    assert first != second
    answers: list[dict] = []
    errors: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        try:
            client = Client(url, verbose=False)
            while not done.is_set():
                answers.append(client.predict(TITLE, "", api_name="/predict"))
        except Exception as error:
            errors.append(error)

    def wait_for(answer: dict) -> None:
        end, before = time.monotonic() + 60, len(answers)
        while len(answers) < before + 9 or answers[-6:] != [answer] * 6:  # those that were on their way are past
            assert not errors and time.monotonic() < end, (errors, answers[-1:])
            time.sleep(0.05)

    environment = os.environ | {"TAGGER_MODEL": str(site), "PYTHONPATH": ""}
    command = [SERVE_PYTHON, ROOT / "deployment/app.py", "--port", str(port)]
    with server(command, url, env=environment) as process:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_for(first)
            assert "is in service; release 1 is kept" in printed(
                release, "cooking", "promote", "--sites-dir", str(sites)
            )
            wait_for(second)
            assert "release 1 is in service again" in printed(release, "cooking", "restore", "--sites-dir", str(sites))
            wait_for(first)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert not errors
    assert all(answer in (first, second) for answer in answers), "no answer is half of one model, half of the other"
    assert process.log.count("now in service: ") == 2


def test_a_release_goes_from_staged_to_service_and_back(sites):
    (sites / "cooking/releases.json").write_text('{"served": null, "previous": null, "staged": "2"}')
    where = ["--sites-dir", str(sites)]
    assert "no release is in service: run" in stopped_tagger(sites / "cooking")
    assert "there is none to compare it with" in printed(release, "cooking", "test", *where)
    assert "no release was in service before" in stopped(release, "cooking", "restore", *where)
    printed(release, "cooking", "promote", "--release", "1", *where)
    assert releases(sites) == {"served": "1", "previous": None, "staged": "2"}
    output = printed(release, "cooking", "test", *where)
    assert re.search(r"release 2: f1_micro 0\.\d+, no worse than release 1 with 0\.\d+: [+-]0\.\d+ \[.+\]", output)
    assert releases(sites)["served"] == "1"
    printed(release, "cooking", "promote", *where)
    assert releases(sites) == {"served": "2", "previous": "1", "staged": None}
    metrics = json.loads((sites / "cooking/releases/1/metrics.json").read_text())
    rows = printed(release, "cooking", "status", *where).splitlines()
    assert rows[2].startswith("| 1 | before | bert-base-uncased-frozen-encoder |")
    assert f"| {metrics['int8']['f1_micro']:.3f} [" in rows[2]
    assert rows[3].startswith("| 2 | in service | bert-base-uncased |")
    assert "no release is staged" in stopped(release, "cooking", "promote", *where)
    assert "there is no release 9" in stopped(release, "cooking", "promote", "--release", "9", *where)
    printed(release, "cooking", "restore", *where)
    assert releases(sites) == {"served": "1", "previous": "2", "staged": None}


def stopped_tagger(folder: Path) -> str:
    with pytest.raises(ValueError) as error:
        Tagger(folder)
    return str(error.value)


def test_a_worse_release_is_not_promoted(sites):
    where = ["--sites-dir", str(sites)]
    file = sites / "cooking/releases/1/test_decisions.json"
    decisions = json.loads(file.read_text())
    decisions["questions"] = {key: [row[0], row[0]] for key, row in decisions["questions"].items()}
    targets = as_arrays(decisions | {"figures": figures_of(decisions)})[0]
    assert targets.any()
    file.write_text(json.dumps(decisions | {"figures": figures_of(decisions)}))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        line = stopped(release, "cooking", "promote", *where)
    assert "release 2 stays out of service" in line and "f1_micro" in output.getvalue() and "worse" in output.getvalue()
    with pytest.raises(SystemExit) as verdict:
        release.main(["cooking", "test", *where])
    assert verdict.value.code == 1 and releases(sites)["served"] == "1"
    printed(release, "cooking", "promote", "--force", *where)
    assert releases(sites)["served"] == "2"


def figures_of(decisions: dict) -> dict[str, float]:
    """The figures of suggestions that are all right."""
    carried = {index for row in decisions["questions"].values() for index in row[0]}
    return {"f1_micro": 1.0, "f1_macro": len(carried) / len(decisions["tags"])}


def test_a_refresh_retrains_when_the_watch_says_so_and_judges_by_the_new_questions(sites, network, fast, monkeypatch):
    command = ["cooking", "--sites-dir", str(sites), "--refresh", "--quick"]
    output = printed(build_site, *command)
    assert "harvest: 159 questions (0 new, 0 changed)" in output
    assert "still good, for release 2" in output and "nothing is trained" in output and releases(sites)["staged"] == "2"

    rules = sites / "cooking/releases" / releases(sites)["served"] / "rules.toml"
    rules.write_text('never_suggest = ["sourdough"]\n', encoding="utf-8")
    before = list(network.questions)
    for question in before[:24]:
        if not question.deleted:
            network.edit(question.id, tags=(*question.tags[:3], "sourdough"))
    try:
        monkeypatch.setattr(Progress, "_execute", cut_at("baseline"))
        assert "cut" in stopped(build_site, *command)
        asked = len(network.log)
        monkeypatch.setattr(Progress, "_execute", in_this_process)
        output = printed(build_site, *command)
    finally:
        network.questions[:] = before
    assert len(network.log) == asked, "what was cut goes on with the questions that it had fetched"
    assert "release 3 is staged" in output and "filter: up to date" in output
    tagger = Tagger(sites / "cooking/releases/3")
    assert "sourdough" in tagger.tags
    assert tagger.model.rules.never_suggest == ("sourdough",), "the rules of the release in service are kept"
    rows = json.loads((sites / "cooking/reports/comparison.json").read_text())["rows"]
    assert "in service: 1" in [row["model"] for row in rows]
    verdict = io.StringIO()
    with contextlib.redirect_stdout(verdict), contextlib.suppress(SystemExit):  # of 15 questions, which may be worse
        release.main(["cooking", "test", "--sites-dir", str(sites)])
    assert "than release 1 with" in verdict.getvalue()
    printed(release, "cooking", "promote", "--sites-dir", str(sites), "--force")
    assert releases(sites)["served"] == "3"
    (sites / "cooking/reports/served_decisions.json").unlink()
    (sites / "cooking/releases.json").write_text('{"served": "1", "previous": null, "staged": "3"}')
    line = stopped(release, "cooking", "promote", "--sites-dir", sites)
    assert "were not compared on the same questions: run  python onnx_export/build_site.py cooking" in line


def test_the_pages_of_a_site_are_a_source_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Progress, "_execute", cut_at("validate"))
    with SampleSite(n=12) as pages:
        options = ["--url", pages.url, "--source", "pages", "--delay", "0", "--quick"]
        assert "cut" in stopped(build_site, "cooking", "--sites-dir", tmp_path, *options)
    harvested = read_questions(tmp_path / "cooking/data/ques_details.csv")
    present = {pages.url + question.path for question in pages.questions if not question.deleted}
    assert set(harvested["url"]) == present and harvested["description"].str.len().min() > 0


def cut_at(name: str):
    def execute(progress, stage, words, key):
        if stage.name == name:
            sys.exit("cut")
        return in_this_process(progress, stage, words, key)

    return execute


def restore_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it


def test_ctrl_c_ends_the_stage_and_a_failure_names_its_log(tmp_path):
    command = [sys.executable, "onnx_export/build_site.py", "cooking", "--sites-dir", str(tmp_path), "--source", "dump"]
    done = subprocess.run([*command, "--file", str(tmp_path / "none.7z")], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "scraper/data_dump.py ended with status 1: " in done.stderr and "logs/harvest.log" in done.stderr
    shutil.rmtree(tmp_path / "cooking")
    os.mkfifo(tmp_path / "Posts.xml")  # a dump that never ends
    process = subprocess.Popen(
        [*command, "--file", str(tmp_path / "Posts.xml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=restore_interrupts,
    )
    try:
        while not (tmp_path / "cooking/data/ques_details.sqlite").is_file():  # the stage has begun
            assert process.poll() is None
            time.sleep(0.05)
        stage = json.loads((tmp_path / "cooking/stages.json").read_text())["started"]
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1 and "stopped in the stage harvest: the same command goes on" in errors
    assert not psutil.pid_exists(stage["pid"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["co oking"], "is no name of a site"),
        (["../cooking"], "is no name of a site"),
        (["cooking", "--source", "dump"], "the source dump needs --file"),
    ],
)
def test_bad_options_get_one_line(words, line, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        build_site.main([*words, "--sites-dir", str(tmp_path)])
    assert line in (stop.value.code if isinstance(stop.value.code, str) else capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_options_are_kept_and_a_folder_belongs_to_one_site(sites):
    recorded = json.loads((sites / "cooking/site.json").read_text())
    assert recorded["delay"] == 0 and recorded["api"].endswith("/2.3") and recorded["source"] == "api"
    line = stopped(build_site, "cooking", "--url", "https://bread.example", "--sites-dir", sites)
    assert f"belongs to {recorded['url']}" in line
    assert json.loads((sites / "cooking/site.json").read_text()) == recorded


@given(st.integers(1, 5_000_000), st.integers(1, 2000))
def test_settings_follow_from_the_amount_of_data(number, words):
    choices = choose(Census(number, number, 24, words, {}))
    assert int(number * choices.min_frequency) == min(choices.least, number) >= min(FEWEST_QUESTIONS, number)
    more = choose(Census(2 * number, number, 24, words, {}))
    assert more.epochs <= choices.epochs or more.batch_size > choices.batch_size
    assert more.least >= choices.least and more.max_length <= choices.max_length
    young = choose(Census(number, number, 3, words, {}))
    assert (choices.recent_months, young.recent_months) == (6, 1)
    assert (choices.split, more.split) == ("time", "random")


def test_a_release_that_cannot_be_loaded_leaves_the_old_one_in_service(tmp_path, capfd):
    build_model_folder(tmp_path / "releases/1")
    (tmp_path / "releases.json").write_text('{"served": "1"}')
    served = ServedTagger(tmp_path)
    before = served.now
    (tmp_path / "releases.json").write_text('{"served": "2"}')
    errors = ""
    while "stays in service" not in errors:
        time.sleep(0.05)
        errors += capfd.readouterr().err
    assert "releases/2 is no model folder" in errors and served.now is before
    build_model_folder(tmp_path / "releases/2", max_tags=1)
    while served.now is before:
        time.sleep(0.05)
    assert served.now.settings.max_tags == 1


def test_make_passes_the_options_and_asks_for_a_site():
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def made(*words) -> subprocess.CompletedProcess:
        return subprocess.run(["make", "--dry-run", *words], capture_output=True, text=True, env=outer)

    variables = ["SITE=cooking", "QUICK=1", "SOURCE=dump", "FILE=my dump.7z", "CONTACT=me@example.org"]
    shown = made("site", *variables).stdout.replace("\\\n", "")
    expected = 'onnx_export/build_site.py cooking --source dump --file "my dump.7z" --contact me@example.org --quick'
    assert expected in re.sub(" +", " ", re.sub(r"[ \t]+", " ", shown))
    assert "onnx_export/build_site.py cooking --refresh" in made("refresh", "SITE=cooking").stdout
    for action in ("status", "promote", "restore"):
        assert f"onnx_export/release.py cooking {action}" in made(action, "SITE=cooking").stdout
        assert f"{action} needs a site: make {action} SITE=cooking" in made(action).stderr


def test_the_workflow_fits_its_schema_and_the_monthly_commands_are_valid():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    checked = subprocess.run([*command, "assets/refresh/refresh.yml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    (line,) = [line for line in Path("assets/refresh/crontab").read_text().splitlines() if not line.startswith("#")]
    assert re.match(r"\d+ \d+ 1 \* \* cd ", line)
    for text in (line, Path("assets/refresh/refresh.yml").read_text()):
        commands = re.findall(r"python onnx_export/(\w+)\.py ([^|&;>\n]*)", text)
        assert {name for name, _ in commands} == {"build_site", "release"}
        for name, options in commands:
            words = shlex.split(options.replace("$SITE", "cooking").replace("$CONTACT", "me@example.org"))
            importlib.import_module(f"onnx_export.{name}").parse_args(words)
