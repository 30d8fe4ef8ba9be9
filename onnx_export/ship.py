"""Put a compared int8 model, with its figures and a model card, where the Space and the form look for it.

models/NAME/, data/ques_filtered.csv, data/split.csv  ->  deployment/model/
                                                           assets/best_shipped/, where it is the best that was shipped

python onnx_export/ship.py --model all-minilm-l6-v2

The output folder must be new, empty, or hold nothing but a shipped model, whose files are replaced when all the new
ones are there.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import read_questions, read_table, refuse_overwrite, require, write_json
from data.options import add_folder_options, add_trained_model_option
from data.question_list import EXTRA_SPLIT, ListedQuestion, encode_question_list, list_questions
from onnx_export.evaluation.best_shipped import BEST_SHIPPED, best_shipped, raise_bar, served_decisions
from onnx_export.evaluation.evaluate import loses_too_much
from onnx_export.evaluation.hub_files import model_config, tokenizer_config
from onnx_export.evaluation.model_card import describe_data, model_card
from onnx_export.evaluation.reproduction import QUESTION_LIST, describe_list, shipped_record
from onnx_export.evaluation.reproduction import RECORD as RUN
from tagging.console import run_script
from tagging.model_folder import INT8_MODEL, RULES, SETTINGS, read_json, read_settings
from tagging.options import add_force_option, script_parser
from tagging.settings import Settings, parse_settings
from tagging.similar import SIMILAR, SIMILAR_TITLES
from tagging.stack_exchange import STACK_EXCHANGE
from tagging.tagger import Tagger
from tagging.tiers import TIERS
from training.backbones import short_name
from training.dataset import EXTRA, RECORD, data_hash, read_extra_table, site_of
from training.provenance import extra_record

MODEL = "onnx/model_quantized.onnx"  # where the Hub and transformers.js look for it
SERVED = ("tokenizer.json", "tag_types_encoded.json", "thresholds.json")
CONFIG, TOKENIZER_CONFIG, SPECIAL_TOKENS = "config.json", "tokenizer_config.json", "special_tokens_map.json"
EVALUATED = ("metrics.json", "per_tag.tsv", "test_decisions.json")
OPTIONAL = (TIERS, SIMILAR, SIMILAR_TITLES)  # of tiers.py and index.py
CARD = "README.md"
FOR_THE_HUB = (CONFIG, TOKENIZER_CONFIG, SPECIAL_TOKENS)
SHIPPED = (MODEL, *SERVED, SETTINGS, *FOR_THE_HUB, *EVALUATED, RUN, QUESTION_LIST, *OPTIONAL, CARD)
OLDER = (INT8_MODEL,)  # of models shipped by earlier versions; removed when another model takes their place
# The settings that a model of the same site takes over from the one that it replaces.
PRESENTATION = ("title", "language", "max_title", "max_description", "examples")
STAGING = ".new"  # folder in the output folder, on the same disk, where the new files gather


def read_data(data_dir: Path, run: dict[str, Any]) -> tuple[dict[str, Any], list[ListedQuestion]]:
    """Return what the card says of the questions in ``data_dir``, and the list of those that have an id.

    A record of other files than these is left out. ``run`` is the run.json of the training.

    Raises
    ------
    ValueError : a file cannot be read, or extra_questions.csv is not the one that was trained on
    """
    questions = read_questions(data_dir / "ques_filtered.csv")
    parts = read_table(data_dir / "split.csv", ["url", "split"]).set_index("url")["split"]
    record = read_json(data_dir / RECORD) if (data_dir / RECORD).is_file() else {}
    known = record.get("data_sha256") == data_hash(data_dir)
    splits = parts[questions["url"]].to_numpy()
    described = describe_data(questions, splits, record if known else None) | {"address": site_of(questions["url"])}
    listed = list_questions(questions, splits, STACK_EXCHANGE)
    if "extra_questions" in run:
        extra, _ = read_extra_table(data_dir)
        if extra is None or extra_record(data_dir)["sha256"] != run["extra_questions"]["sha256"]:
            raise ValueError(f"{data_dir / EXTRA} is not the file that it was trained on: restore it")
        listed = sorted([*listed, *list_questions(extra, [EXTRA_SPLIT] * len(extra), STACK_EXCHANGE)])
    return described, listed


def check_output(folder: Path, force: bool) -> None:
    """Stop with one line unless nothing but a shipped model's files would be replaced, and those by ``force``."""
    staging = folder / STAGING  # left by a run that was killed
    if folder.exists() and not folder.is_dir():
        sys.exit(f"--output {folder} is a file: name a folder")
    known = {place / name for place in (folder, staging) for name in (*SHIPPED, *OLDER)}
    folders = {staging, *(path.parent for path in known)}
    found = [
        path
        for path in (folder.rglob("*") if folder.is_dir() else [])
        if path.is_symlink() or path.is_file() or path not in folders
    ]
    kept = {*known, folder / RULES}  # the site's rules are for every model of it
    foreign = {path.relative_to(folder).parts[0] for path in found if path not in kept or not path.is_file()}
    if foreign:
        names = ", ".join(sorted(foreign)[:3])
        sys.exit(f"--output {folder} holds more than a shipped model ({names}): name a new or an empty folder")
    refuse_overwrite(*(folder / name for name in (*SHIPPED, *OLDER)), force=force)


def read_examples(path: Path) -> list:
    """Read a JSON list of questions, [{"label", "title", "description"}, ...]; tagging.settings checks the rest."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error


def served_settings(source: Path, site: str, decisions: dict, output: Path, options: dict[str, object]) -> Settings:
    """Return the settings of the model to ship.

    What its page shows and accepts is kept from the model of the same site that is served now; ``options`` of the
    command line take precedence.
    """
    settings = replace(read_settings(source), site=site)
    identity = json.dumps([decisions["sha256"], settings.deciding], sort_keys=True)
    content = settings.as_json() | {"version": hashlib.sha256(identity.encode()).hexdigest()[:12]}
    if (output / SETTINGS).is_file() and (served := parse_settings(read_json(output / SETTINGS))).site == site:
        kept = served.as_json()
        content |= served.unknown | {key: kept[key] for key in PRESENTATION}
    try:
        return parse_settings(content | {key: value for key, value in options.items() if value is not None})
    except ValueError as error:
        raise ValueError(f"settings of the model: {error}") from error


def publish(
    folder: Path,
    tagger: Tagger,
    card: str,
    record: dict,
    question_list: bytes,
    settings: Settings,
    optional: Sequence[str],
    output: Path,
) -> None:
    """Write the files of SHIPPED to ``output``: what is there is replaced, file by file, when all the new ones are.

    Parameters
    ----------
    folder : of the trained model
    tagger : its int8 model
    record : the new run.json
    question_list : content of questions.csv.gz; if it is empty, there is no such file
    optional : those of OPTIONAL that go with it
    """
    staging, source = output / STAGING, tagger.model.path
    (staging / MODEL).parent.mkdir(parents=True, exist_ok=True)
    (output / MODEL).parent.mkdir(exist_ok=True)
    try:
        shutil.copyfile(tagger.model.model_path, staging / MODEL)
        for file in (*SERVED, *EVALUATED, *optional):
            shutil.copyfile(source / file, staging / file)
        shutil.copyfile(folder / SPECIAL_TOKENS, staging / SPECIAL_TOKENS)
        write_json(staging / SETTINGS, settings.as_json())
        write_json(staging / CONFIG, model_config(read_json(folder / CONFIG), tagger.tags))
        write_json(staging / TOKENIZER_CONFIG, tokenizer_config(read_json(folder / TOKENIZER_CONFIG), settings))
        (staging / CARD).write_text(card, encoding="utf-8", newline="\n")
        write_json(staging / RUN, record)
        if question_list:
            (staging / QUESTION_LIST).write_bytes(question_list)
        made = [file for file in SHIPPED if (staging / file).is_file()]
        for file in made:
            (staging / file).replace(output / file)
        for file in {*OLDER, QUESTION_LIST, *OPTIONAL}.difference(made):
            (output / file).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging)


def check_origin(folder: Path, run: dict, metrics: dict, data_dir: Path) -> None:
    """Raise ValueError unless the model of ``folder`` was trained and compared on the questions in ``data_dir``."""
    if not run["data_sha256"] == metrics["data_sha256"] == data_hash(data_dir):
        raise ValueError(
            f"it was not trained and compared on the data in {data_dir}: run  python onnx_export/compare.py --force  "
            "or name the right --data-dir"
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/compare.py")
    add_folder_options(
        parser, data_dir="folder of the questions it was trained on", models_dir="folder of the trained models"
    )
    parser.add_argument("--output", type=Path, default=Path("deployment/model"), help="folder of the served model")
    parser.add_argument(
        "--best", type=Path, default=BEST_SHIPPED, help="folder that keeps the best models ever shipped"
    )
    parser.add_argument(
        "--titles",
        action="store_true",
        help=f"also the titles of similar questions, {SIMILAR_TITLES} of index.py, which are text of the site; without "
        "them, answers link to similar questions by their ids",
    )
    parser.add_argument("--title", help="title of the apps' page")
    parser.add_argument("--language", help="code of the language of the questions, such as en")
    parser.add_argument(
        "--examples",
        type=Path,
        help="JSON file of the questions that the page offers, a list of objects with label, title and description",
    )
    add_force_option(parser, "overwrite the model that is served now")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    name = short_name(args.model)
    folder = args.models_dir / name
    require(folder / "onnx" / "model_quantized.onnx", f"python onnx_export/quantize.py --model {args.model}")
    for file in EVALUATED:
        require(folder / "onnx" / file, "python onnx_export/compare.py --force")
    for file in FOR_THE_HUB:
        require(folder / file, f"python training/finetune.py --model {args.model}")
    if args.titles:
        require(folder / "onnx" / SIMILAR_TITLES, f"python onnx_export/index.py --model {args.model}")
    optional = [file for file in (TIERS, SIMILAR) if (folder / "onnx" / file).is_file()]
    optional += [SIMILAR_TITLES] * args.titles
    check_output(args.output, args.force)
    try:
        tagger = Tagger(folder / "onnx")  # whole, and its files belong together
        decisions = served_decisions(folder / "onnx")
        best_shipped(args.best, decisions)  # sound, so that it can be added to
        run, metrics = read_json(folder / "run.json"), read_json(folder / "onnx" / "metrics.json")
        check_origin(folder, run, metrics, args.data_dir)
        size_mb = (folder / "onnx" / "model_quantized.onnx").stat().st_size / 1e6
        report = folder / "onnx" / "quantization.json"
        quantization = read_json(report) if report.is_file() else {}
        data, listed = read_data(args.data_dir, run)
        question_list = encode_question_list(listed) if listed else b""
        described = describe_list(listed, hashlib.sha256(question_list).hexdigest()) if listed else None
        record = shipped_record(name, run, loses_too_much(quantization), data["record"], described)
        examples = read_examples(args.examples) if args.examples else None
        options = {"title": args.title, "language": args.language, "examples": examples}
        settings = served_settings(folder / "onnx", str(data["address"]), decisions, args.output, options)
        card = model_card(name, record, metrics, data, quantization, settings, args.output, size_mb)
        publish(folder, tagger, card, record, question_list, settings, optional, args.output)
        raised = raise_bar(args.best, decisions)
    except KeyError as error:
        sys.exit(
            f"cannot ship {folder}: run.json or metrics.json lacks {error}; train it, or compare it with model.onnx"
        )
    except (ValueError, OSError) as error:
        sys.exit(f"cannot ship {folder}: {error}")
    size = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file()) / 1e6
    print(f"written: {args.output} ({size:.1f} MB)")
    if raised:
        print(f"the best that was ever shipped, by {' and '.join(raised)}: written to {args.best}; commit it, too")


if __name__ == "__main__":
    run_script(main)
