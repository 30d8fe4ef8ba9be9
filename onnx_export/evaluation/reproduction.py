"""What run.json of a shipped model records, and the commands and durations of making the model again. No I/O."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.markdown import markdown_table
from data.question_list import EXTRA_SPLIT, SPLITS, ListedQuestion
from tagging.stack_exchange import API_CALLS_A_DAY, API_PAGE_SIZE
from training.backbones import short_name
from training.metrics import MAIN_FIGURES
from training.recipes import DISTILLED

QUESTION_LIST, RECORD = "questions.csv.gz", "run.json"  # of a shipped model
PLACES = {name: Path(name) / "reproduced" for name in ("data", "models", "reports")}
CALL_S = 1.0  # about what an answer of the API takes, beside the delay


@dataclass(frozen=True)
class Stage:
    """A command of a reproduction.

    Attributes
    ----------
    words
        Script and options, after "python" or "torchrun".
    inputs, outputs
        Files by whose times the stage is known to be done.
    expected
        How long it takes, for people.
    """

    words: list[str]
    inputs: list[Path]
    outputs: list[Path]
    expected: str


def is_local(model: str) -> bool:
    """Tell whether a backbone was named by a folder, not by a Hub id."""
    return Path(model).is_dir() or Path(model).is_absolute()


def option_words(arguments: Mapping[str, Any]) -> list[str]:
    """Return recorded options as they are typed; what is None or False was not given."""
    words = []
    for name, value in arguments.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def describe_list(listed: Sequence[ListedQuestion], sha256: str) -> dict[str, Any]:
    """Return what run.json says of a question list: its hash, the number of its questions, and those of each part."""
    counts = Counter(question.split for question in listed)
    parts = {split: counts[split] for split in SPLITS if counts[split]}
    sites = Counter(question.site for question in listed)
    site = next(question.site for question in listed if question.split != EXTRA_SPLIT)
    described = {"sha256": sha256, "site": site, "questions": len(listed), "parts": parts}
    return described | ({"sites": dict(sites)} if len(sites) > 1 else {})


def shipped_record(
    name: str, run: Mapping[str, Any], allow_drop: bool, filtering: dict | None, question_list: dict | None
) -> dict[str, Any]:
    """Return the run.json of a shipped model.

    Parameters
    ----------
    name : of the folder that the training made
    run : run.json of the training
    allow_drop : whether int8 lost more than quantize.py allows
    filtering : filter_tags.json, None if it does not tell of the data
    question_list : from :func:`describe_list`, None if no question can be listed
    """
    own = {"name": name, "arguments": _portable(run["arguments"]), "allow_drop": allow_drop}
    teachers = [teacher | {"arguments": _portable(teacher["arguments"])} for teacher in run.get("teachers", [])]
    known = {"filtering": filtering, "question_list": question_list, "teachers": teachers}
    return {**run, **own, **{key: value for key, value in known.items() if value}}


def _portable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded options with the name of a local backbone: where it lies here says nothing elsewhere."""
    model = arguments["model"]
    return {**arguments, "model": short_name(model) if is_local(model) else model}


def stages(
    record: Mapping[str, Any],
    folder: Path,
    places: Mapping[str, Path] = PLACES,
    metrics: Mapping[str, Any] | None = None,
    fetching: Sequence[str] = (),
    delay_s: float = 1.0,
) -> list[Stage]:
    """Return the stages that make a shipped model again, in order.

    Parameters
    ----------
    record : run.json of the shipped model
    folder : of the shipped model
    places : folders of data, models and reports
    metrics : metrics.json of the shipped model
    fetching : further options of stack_exchange_api.py
    delay_s : its delay between two calls, in seconds
    """
    data, models, reports = (places[name].as_posix() for name in PLACES)
    listed, tags = ((folder / name).as_posix() for name in (QUESTION_LIST, "tag_types_encoded.json"))
    made = places["models"] / record["name"]
    split = places["data"] / "split.csv"
    validation = record["question_list"]["parts"].get("validation", 0)
    test = record["question_list"]["parts"].get("test", 0)
    fp32_s, int8_s = ((metrics or {}).get(kind, {}).get("latency_p50_ms", 0) / 1000 for kind in ("fp32", "int8"))
    where = ["--data-dir", data, "--models-dir", models]
    model = ["--model", record["name"], *where]
    run, onnx, int8 = (made / name for name in (RECORD, "onnx/model.onnx", "onnx/model_quantized.onnx"))
    details = {site: places["data"] / _details_file(site, record) for site in _sites(record)}
    extra = places["data"] / "extra_questions.json"
    sources = record.get("extra_questions", {}).get("sources", {})
    return [
        *(
            Stage(
                ["scraper/stack_exchange_api.py", "--site", site, "--ids", listed, "--output", file.as_posix(),
                 *fetching],
                [],
                [file],
                _fetching_time(_sites(record)[site], delay_s),
            )
            for site, file in details.items()
        ),
        Stage(
            ["training/filter_tags.py", "--data-dir", data, "--question-list", listed, "--tags", tags],
            [details[record["question_list"]["site"]], folder / QUESTION_LIST],
            [split],
            about(0),
        ),
        *(
            Stage(
                ["training/extra_questions.py", "--data-dir", data, "--input", details[source["site"]].as_posix(),
                 "--question-list", listed, "--name", name, "--weight", str(source["weight"])],
                [split, details[source["site"]]],
                [extra],
                about(0),
            )
            for name, source in sources.items()
        ),
        *(
            Stage(
                ["training/finetune.py", *option_words(teacher["arguments"]), *where],
                [split, folder / RECORD],
                [places["models"] / teacher["name"] / RECORD],
                f"{about(teacher['minutes'])} where the model was made",
            )
            for teacher in record.get("teachers", [])
        ),
        Stage(
            [*training_words(record, places["models"]), *where],
            [split, folder / RECORD, *([extra] if sources else [])],
            [run],
            f"{about(record['minutes'])} where the model was made",
        ),
        Stage(["onnx_export/export.py", *model], [run], [onnx], about(4 * validation * fp32_s / 60)),
        Stage(
            ["onnx_export/quantize.py", *model, *(["--allow-drop"] if record["allow_drop"] else [])],
            [onnx],
            [int8],
            about(2 * validation * (fp32_s + int8_s) / 60),
        ),
        Stage(
            ["onnx_export/compare.py", *where, "--reports-dir", reports],
            [int8],
            [made / "onnx" / "metrics.json"],
            about(test * (fp32_s + int8_s) / 60),
        ),
    ]  # fmt: skip


def training_words(record: Mapping[str, Any], models: Path) -> list[str]:
    """Return script and options of the training that a run.json records; its teachers lie in ``models``."""
    arguments = dict(record["arguments"])
    if arguments.get("recipe") != DISTILLED:
        return ["training/finetune.py", *option_words(arguments)]
    student = arguments.pop("model")
    options = {name: value for name, value in arguments.items() if name not in ("recipe", "sweep")}
    teachers = [(models / teacher["name"]).as_posix() for teacher in record["teachers"]]
    words = ["training/distill.py", "--student", student, "--teacher", *teachers]
    words += ["--teacher-fields", *record["teacher_fields"], "--teacher-weight", str(record["teacher_weight"])]
    return [*words, *option_words(options)]


def _sites(record: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of listed questions of each site, the model's own first; records of one site lack it."""
    listed = record["question_list"]
    own = listed["site"]
    sites = listed.get("sites", {own: listed["questions"]})
    return {own: sites[own], **{site: count for site, count in sites.items() if site != own}}


def _details_file(site: str, record: Mapping[str, Any]) -> str:
    """Return the name of the file of a site's questions."""
    own = site == record["question_list"]["site"]
    return "ques_details.csv" if own else f"{site.partition('://')[2].replace(':', '-')}.csv"


def _fetching_time(questions: int, delay_s: float) -> str:
    """Return for people how long it takes to fetch a number of questions by their ids."""
    calls = math.ceil(questions / API_PAGE_SIZE)
    days = math.ceil(calls / API_CALLS_A_DAY)
    of_days = f", so {days} days" if days > 1 else ""
    minutes = about(calls * (delay_s + CALL_S) / 60)
    return f"{minutes}; calls: {calls}, of which the API answers {API_CALLS_A_DAY} a day without a key{of_days}"


def about(minutes: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> about(0.2), about(31.6), about(200)
    ('a minute or less', 'about 32 minutes', 'about 3.3 hours')
    """
    if minutes <= 1:
        return "a minute or less"
    return f"about {minutes:.0f} minutes" if minutes < 120 else f"about {minutes / 60:.1f} hours"


def figures_table(recorded: Mapping[str, Any], reproduced: Mapping[str, Any]) -> str:
    """Return the main figures of two metrics.json, int8, as a Markdown table."""

    def cell(metrics: Mapping[str, Any], name: str) -> str:
        figures = metrics["int8"]
        if name not in figures:
            return "-"
        ends = f" [{figures[f'{name}_low']:.3f}, {figures[f'{name}_high']:.3f}]" if f"{name}_low" in figures else ""
        return f"{figures[name]:.3f}{ends}"

    rows = [(label, cell(recorded, name), cell(reproduced, name)) for label, name in MAIN_FIGURES.items()]
    rows.append(("test questions", str(recorded["test_questions"]), str(reproduced["test_questions"])))
    return markdown_table(["int8", "recorded", "reproduced"], rows)
