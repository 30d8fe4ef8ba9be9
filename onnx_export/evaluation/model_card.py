"""The model card that ship.py writes: what a model was made of and by which commands, what it is worth. No I/O but the
template's."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.duplicates import duplicate_groups
from data.files import DATE_COLUMN, FRACTIONS, REPOST
from data.markdown import markdown_table
from onnx_export.evaluation.evaluate import loses_too_much
from onnx_export.evaluation.hub_files import card_examples, card_header
from onnx_export.evaluation.reproduction import QUESTION_LIST, is_local, option_words, stages, training_words
from tagging.settings import Settings
from tagging.stack_exchange import STACK_EXCHANGE
from training.backbones import HUB_IDS, short_name
from training.metrics import MAIN_FIGURES

LICENCES = {
    "distilroberta-base": "Apache-2.0",
    "roberta-base": "MIT",
    "bert-base-uncased": "Apache-2.0",
    "all-minilm-l6-v2": "Apache-2.0",
    "all-mpnet-base-v2": "Apache-2.0",
}
LANGUAGES = {"en": "English", "es": "Spanish", "ja": "Japanese", "pt": "Portuguese", "ru": "Russian"}
SHOWN_ERROR = "calibration_error_shown"
CARD_FIGURES = MAIN_FIGURES | {
    "micro precision": "precision_micro",
    "micro recall": "recall_micro",
    "F1 of a question": "f1_samples",
    "exact match": "exact_match",
    "no tag suggested": "empty_answers",
    "calibration error of the shown tags": SHOWN_ERROR,
}


def model_card(
    model: str,
    run: dict,
    metrics: dict,
    data: dict[str, object],
    quantization: dict,
    settings: Settings,
    output: Path,
    size_mb: float,
) -> str:
    """Return model_card.md, Markdown under the header that the Hugging Face Hub reads, with everything filled in.

    Parameters
    ----------
    model : name of the model's folder
    run : from :func:`onnx_export.evaluation.reproduction.shipped_record`
    metrics, quantization : its metrics.json and quantization.json
    data : from :func:`describe_data`
    settings : of the model folder
    output : folder that the card lies in
    """
    return (
        Path(__file__)
        .with_name("model_card.md")
        .read_text(encoding="utf-8")
        .format(
            **data,
            **card_examples(settings, output),
            header=card_header(settings, metrics, hub_id(run)),
            backbone=describe_backbone(run),
            question_url=STACK_EXCHANGE.question_url(f"https://{data['site']}", "ID"),
            licence_terms=STACK_EXCHANGE.licence_terms,
            size_mb=size_mb,
            tag_range=settings.tag_range,
            language=LANGUAGES.get(settings.language, settings.language),
            tags=metrics["tags"],
            test_questions=metrics["test_questions"],
            figures=card_table(metrics) + inputs_table(metrics) + describe_ticked(metrics["int8"]),
            same_tags=metrics["int8"]["same_tags_as_fp32"],
            weak_side=describe_weak_side(metrics["int8"]),
            sources=describe_sources(run),
            question_list=describe_question_list(run),
            commands=reproduction(run, output) or commands(model, run, data, quantization, output),
            minutes=run["minutes"],
            versions=describe_versions(run),
            data_sha256=run["data_sha256"],
        )
    )


def describe_ticked(figures: Mapping[str, float]) -> str:
    """Return a paragraph on the precision that is promised of the ticked tags; nothing without tiers."""
    if "ticked_promised" not in figures:
        return ""
    low, high = figures["ticked_precision_low"], figures["ticked_precision_high"]
    return (
        f"\n\nOf the tags that are ticked by default, {figures['ticked_promised']:g} are promised to be right, as on "
        f"validation. On the test questions {figures['ticked_precision']:.3f} [{low:.3f}, {high:.3f}] are. They are "
        f"{figures['ticked_recall']:.3f} of all right tags; {figures['ticked_questions']:.3f} of the questions have "
        "one."
    )


def describe_data(questions, splits, record: dict | None) -> dict[str, object]:
    """Return what the card says of the questions: their site, number, parts, descriptions, dates, and filtering.

    Parameters
    ----------
    questions : DataFrame, as data.files.read_questions reads ques_filtered.csv
    splits : str array of shape (n,), the part of each question
    record : filter_tags.json, or None if it does not tell of these files
    """
    sites = sorted({url.partition("://")[2].partition("/")[0] for url in questions["url"]})
    dates = ""
    if DATE_COLUMN in questions and questions[DATE_COLUMN].notna().any():
        dates = f", asked {questions[DATE_COLUMN].min():%Y-%m-%d} to {questions[DATE_COLUMN].max():%Y-%m-%d}"
    described = int((questions["description"] != "").sum())
    return {
        "site": sites[0],
        "sites": ", ".join(sites),
        "questions": len(questions),
        "described": f"{described} of them with a description" if described else "titles alone, without descriptions",
        "split": describe_split(splits, duplicate_groups(questions["title"], questions["description"]), record),
        "dates": dates,
        "record": record,
    }


def describe_split(splits: np.ndarray, groups: np.ndarray, record: dict | None) -> str:
    """Return the parts' sizes, how they came about, and on which sides nearly equal questions lie: all as counted.

    ``splits`` and ``groups``, from :func:`data.duplicates.duplicate_groups`, are arrays of shape (n,).
    """
    text = ", ".join(f"{(splits == part).sum()} {part}" for part in FRACTIONS)
    if record:
        arguments = record["arguments"]
        drawn = {"seed": ", at random with seed {seed}", "question_list": ", as in a question list"}
        known = next((text for name, text in drawn.items() if name in arguments), ", the newest questions last")
        text += known.format(**arguments)
    trained = set(groups[splits == "train"])
    validated = trained | set(groups[splits == "validation"])
    told = {
        "test": sum(group in validated for group in groups[splits == "test"]),
        "validation": sum(group in trained for group in groups[splits == "validation"]),
    }
    reposts = int((splits == REPOST).sum())
    text += f"; {reposts} more left out, nearly equal to one of another part" if reposts else ""
    if not any(told.values()):
        return f"{text}; equal and nearly equal questions lie on one side"
    return (
        f"{text}; {told['test']} of the test questions have an equal or nearly equal one in train or validation, "
        f"{told['validation']} of validation in train"
    )


def hub_id(run: dict) -> str | None:
    """Return the backbone's id on the Hub; None for a local folder with another name than HUB_IDS has."""
    model = run["arguments"]["model"]
    known = short_name(model) if is_local(model) else model
    return HUB_IDS.get(known, None if is_local(model) else known)


def describe_backbone(run: dict) -> str:
    """Return the backbone's name with what pins it, and its licence.

    A local folder is taken for the model whose short name it has; one of another name has no address.
    """
    model, name = run["arguments"]["model"], hub_id(run)
    known = short_name(model) if is_local(model) else model
    words = [f"[{name}](https://huggingface.co/{name})" if name else f"{known}, a local folder"]
    pinned = {"revision": "revision", "sha256": "SHA-256 of its weights"}
    words += [f"{label} `{run['backbone'][key]}`" for key, label in pinned.items() if key in run.get("backbone", {})]
    return ",\n".join([*words, f"licence {LICENCES.get(known, 'as its own card names it')}"])


def card_table(metrics: dict) -> str:
    """Return CARD_FIGURES of both precisions as a Markdown table, with intervals where there are some."""

    def cell(figures: dict, name: str) -> str:
        ends = f" [{figures[f'{name}_low']:.3f}, {figures[f'{name}_high']:.3f}]" if f"{name}_low" in figures else ""
        return f"{figures[name]:.3f}{ends}"

    rows = [(label, cell(metrics["fp32"], name), cell(metrics["int8"], name)) for label, name in CARD_FIGURES.items()]
    return markdown_table(["", "fp32", "int8, as served"], rows)


def inputs_table(metrics: dict) -> str:
    """Return the figures by title, description and both; '' where the test questions have no descriptions."""
    inputs = metrics.get("inputs", {})
    if not inputs:
        return ""
    columns = {label: name for label, name in CARD_FIGURES.items() if name in (*MAIN_FIGURES.values(), SHOWN_ERROR)}
    rows = [(name, *(f"{figures[figure]:.3f}" for figure in columns.values())) for name, figures in inputs.items()]
    questions = inputs["both"]["questions"]
    return (
        f"\n\nThe {questions} test questions with a description, read by title, by description, and by both:\n\n"
        + markdown_table(["int8", *columns], rows)
    )


def describe_weak_side(figures: dict) -> str:
    """Return the line about rare tags; none where the tags are too few to be rare or frequent."""
    if "f1_head" not in figures or "f1_tail" not in figures:
        return ""
    head, tail = (f"{figures[name]:.2f}" for name in ("f1_head", "f1_tail"))
    return (
        f"- Rare tags are its weak side: macro F1 is {head} over the most frequent third of the tags, {tail} over the "
        "rarest.\n"
    )


def describe_sources(run: dict) -> str:
    """Return what the card says of the questions of other sources and of the teachers; '' without either."""
    lines = []
    for name, source in run.get("extra_questions", {}).get("sources", {}).items():
        origin = source["site"] if name == source["site"] else f"{source['site']} ({name})"
        lines.append(
            f"- {source['questions']} questions of {origin}, {source['tagged']} of them with tags, which a tag map "
            f"renames to those of the site, and {source['described']} with a description; weight {source['weight']:g}"
        )
    text = "\n\nFor training alone, without what resembles a question of validation or test:\n\n" if lines else ""
    text += "\n".join(lines)
    if "teachers" in run:
        fields = " and ".join(run["teacher_fields"])
        named = "; ".join(describe_backbone(teacher).replace("\n", " ") for teacher in run["teachers"])
        text += (
            f"\n\nIts labels are the mean of the tags and of what a teacher answers to the {fields} (weight "
            f"{run['teacher_weight']:g}; where there is no tag, the teacher alone). Teacher: {named}, trained on the "
            "questions of the site by the same recipe."
        )
    return text


def describe_question_list(run: dict) -> str:
    """Return the sentence on questions.csv.gz; none where no question can be listed."""
    listed = run.get("question_list")
    if not listed:
        return ""
    parts = ", ".join(f"{count} {part}" for part, count in listed["parts"].items())
    return (
        f"\n\n`{QUESTION_LIST}` lists {listed['questions']} questions ({parts}) by site and id, with tags and part "
        f"and without any text. SHA-256: `{listed['sha256']}`."
    )


def reproduction(run: dict, output: Path) -> str:
    """Return how to make the model again from its question list: one command, and its stages; '' without a list."""
    if "question_list" not in run:
        return ""
    folder = output.as_posix()
    of_model = "" if output == Path("deployment/model") else f" MODEL_FOLDER={shlex.quote(folder)}"
    lines = []
    for stage in stages(run, output, fetching=["--contact", "you@example.org"]):
        torchrun = run.get("processes", 1) > 1 and stage.words[0] in ("training/finetune.py", "training/distill.py")
        python = f"torchrun --nproc-per-node {run['processes']}" if torchrun else "python"
        lines.append(f"    {python} {shlex.join(stage.words)}")
    return f"""    make reproduce CONTACT=you@example.org{of_model}

or, without make, `python onnx_export/reproduce.py --contact you@example.org --model {shlex.quote(folder)}`.

It fetches the listed questions from the API of the site, trains, exports, quantizes and compares; says before how long
each stage takes; resumes after an interruption; and shows the new figures beside these. Deleted questions are left out,
and texts are those of today, so that figures differ slightly. The stages one by one:

""" + "\n".join(lines)


def commands(model: str, run: dict, data: dict, quantization: dict, output: Path) -> str:
    """Return a code block with the commands that made the model from ques_details.csv, and the options that decided."""
    record, arguments, processes = data["record"], run["arguments"], run.get("processes", 1)
    lines = []
    if record and record["synonyms"]:
        lines.append(f"python scraper/tag_synonyms.py --site https://{data['site']}")
    if record:
        tags = {"tags": (output / "tag_types_encoded.json").as_posix()} if record["published_tags"] else {}
        lines.append(f"python training/filter_tags.py {option_text(tags | record['arguments'])}")
    else:
        lines.append("python training/filter_tags.py  # with options that were not written down")
    if is_local(arguments["model"]):  # where it lies here says nothing elsewhere
        arguments = arguments | {"model": short_name(arguments["model"])}
    python = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    name = shlex.quote(model)
    dropped = loses_too_much(quantization)
    trained = training_words(run | {"arguments": arguments}, Path("models"))
    lines += [
        f"{python} {shlex.join(trained)}",
        f"python onnx_export/export.py --model {name}",
        f"python onnx_export/quantize.py --model {name}" + (" --allow-drop" if dropped else ""),
        "python onnx_export/compare.py",
        f"python onnx_export/ship.py --model {name}",
    ]
    return "\n".join(f"    {line}" for line in lines)


def option_text(arguments: dict) -> str:
    """Return recorded options as they are typed; what is None or False was not given."""
    return shlex.join(option_words(arguments))


def describe_versions(run: dict) -> str:
    """Return the recorded versions of the libraries and the commit of the code, as the end of a sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in run.get("versions", {}).items())
    return (f"\nwith {versions}" if versions else "") + (f", at commit `{run['commit']}`" if "commit" in run else "")
