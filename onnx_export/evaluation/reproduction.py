"""What run.json of a shipped model records, and the commands and durations of making the model again. No I/O."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.markdown import markdown_table
from data.question_list import SPLITS, ListedQuestion
from tagging.stack_exchange import API_CALLS_A_DAY, API_PAGE_SIZE
from training.backbones import short_name
from training.metrics import MAIN_FIGURES

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
    return {"sha256": sha256, "site": listed[0].site, "questions": len(listed), "parts": parts}


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
    arguments = run["arguments"]
    if is_local(arguments["model"]):  # where it lies here says nothing elsewhere
        arguments = arguments | {"model": short_name(arguments["model"])}
    own = {"name": name, "arguments": arguments, "allow_drop": allow_drop}
    known = {"filtering": filtering, "question_list": question_list}
    return {**run, **own, **{key: value for key, value in known.items() if value}}


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
    site = record["question_list"]["site"]
    made = places["models"] / record["name"]
    names = ("ques_details.csv", "split.csv")
    details, split = (places["data"] / name for name in names)
    calls = math.ceil(record["question_list"]["questions"] / API_PAGE_SIZE)
    minutes, days = calls * (delay_s + CALL_S) / 60, math.ceil(calls / API_CALLS_A_DAY)
    validation = record["question_list"]["parts"].get("validation", 0)
    test = record["question_list"]["parts"].get("test", 0)
    fp32_s, int8_s = ((metrics or {}).get(kind, {}).get("latency_p50_ms", 0) / 1000 for kind in ("fp32", "int8"))
    where = ["--data-dir", data, "--models-dir", models]
    model = ["--model", record["name"], *where]
    run, onnx, int8 = (made / name for name in (RECORD, "onnx/model.onnx", "onnx/model_quantized.onnx"))
    return [
        Stage(
            [
                "scraper/stack_exchange_api.py",
                "--site",
                site,
                "--ids",
                listed,
                "--output",
                details.as_posix(),
                *fetching,
            ],
            [],
            [details],
            f"{about(minutes)}; calls: {calls}, of which the API answers {API_CALLS_A_DAY} a day without a key"
            + (f", so {days} days" if days > 1 else ""),
        ),
        Stage(
            ["training/filter_tags.py", "--data-dir", data, "--question-list", listed, "--tags", tags],
            [details, folder / QUESTION_LIST],
            [split],
            about(0),
        ),
        Stage(
            ["training/finetune.py", *option_words(record["arguments"]), *where],
            [split, folder / RECORD],
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
    ]


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
