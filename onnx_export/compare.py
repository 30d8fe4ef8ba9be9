"""Compare the trained models, fp32 and int8, with each other and with what needs no model, on the test questions.

    models/*/onnx/, models/tfidf-baseline/  ->  reports/comparison.md, .csv, .json and plots
                                                and next to each model metrics.json, per_tag.tsv, worst_errors.md,
                                                test_decisions.json

    python onnx_export/compare.py

Each model is scored one question at a time by the class that serves it, at the thresholds tuned for it on validation.
This is the only script that reads the test part. Latency is one question's, with every core of this machine.

--served FOLDER adds the model that is in service, whatever tags and questions it has learnt from, and writes
reports/served_decisions.json. It is judged by today's tags: one that it does not know, it never suggests, and one that
is no longer kept is left out of its suggestions.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite, write_json
from data.options import add_folder_options
from data.spreadsheet import spreadsheet_text
from onnx_export.evaluation.best_shipped import file_hashes, write_decisions
from onnx_export.evaluation.comparison_report import REFERENCE, markdown, save_plots
from onnx_export.evaluation.decisions import describe_decisions
from onnx_export.evaluation.evaluate import (
    Evaluation,
    differences,
    evaluate,
    most_frequent_tags,
    no_tags,
    ticked_figures,
)
from onnx_export.evaluation.model_report import per_tag_table, worst_errors
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import ModelFolderError, read_settings
from tagging.options import add_force_option, script_parser
from tagging.tagger import Tagger
from training.dataset import Part, check_fields, data_hash, inputs_of, read_parts
from training.metrics import frequency_thirds
from training.tfidf import NAME as BASELINE
from training.tfidf import TfidfTagger

PRECISIONS = {"fp32": "model.onnx", "int8": "model_quantized.onnx"}
DECIDING = ("tokenizer.json", "tag_types_encoded.json", "thresholds.json")  # beside the model's own file
TIMED_QUESTIONS = 200


def find_models(models_dir: Path) -> dict[Path, dict[str, Path]]:
    """Return {folder: {precision: model file}} of everything trained below ``models_dir``, the baseline first."""
    found = {file.parent: {"fp32": file} for file in models_dir.glob(f"{BASELINE}/model.npz")}
    for folder in sorted(models_dir.glob("*/onnx")):
        files = {precision: folder / name for precision, name in PRECISIONS.items() if (folder / name).is_file()}
        if files:
            found[folder] = files
    return found


def load(file: Path, test: Part, data_dir: Path) -> Tagger | TfidfTagger:
    """Return the tagger of a model file, whose tags must be those of the data, and whose fields must be filled there.

    Raises
    ------
    ValueError : it is broken, was trained for other tags, or would find nothing to read
    """
    tagger = TfidfTagger.load(file.parent) if file.suffix == ".npz" else Tagger(file.parent, file.name)
    if tagger.tags != test.tags:
        raise ModelFolderError(f"{file} was trained for other tags than those in {data_dir}: train it again")
    if isinstance(tagger, Tagger):
        check_fields(test, tagger.settings.fields, str(file))
    return tagger


def measure(tagger: Tagger | TfidfTagger, test: Part) -> tuple[np.ndarray, dict[str, float]]:
    """Return probabilities over all of ``test``, and the speed over its first TIMED_QUESTIONS questions."""
    from tqdm import tqdm

    probabilities, seconds = [], []
    for title, description in tqdm(zip(test.titles, test.descriptions, strict=True), total=len(test), unit="question"):
        started = time.perf_counter()
        probabilities.append(tagger.probabilities([title], [description])[0])
        seconds.append(time.perf_counter() - started)
    milliseconds = 1000 * np.array(seconds[:TIMED_QUESTIONS])
    p50, p95 = (float(np.percentile(milliseconds, q)) for q in (50, 95))
    started = time.perf_counter()
    tagger.probabilities(test.titles[:TIMED_QUESTIONS], test.descriptions[:TIMED_QUESTIONS], batch_size=32)
    per_second = min(TIMED_QUESTIONS, len(test)) / (time.perf_counter() - started)
    speed = {"latency_p50_ms": p50, "latency_p95_ms": p95, "questions_per_second": per_second}
    return np.stack(probabilities), speed


def evaluate_model(
    files: dict[str, Path], train: Part, test: Part, data_dir: Path, baseline: Evaluation | None
) -> dict[str, Evaluation]:
    """Return {precision: evaluation} of one model, with its differences to the baseline, and to its fp32."""
    evaluations: dict[str, Evaluation] = {}
    for precision, file in files.items():
        name = file.parent.name if file.suffix == ".npz" else file.parent.parent.name
        print(f"{name} {precision}")
        tagger = load(file, test, data_dir)
        probabilities, speed = measure(tagger, test)
        chosen = tagger.rule.suggest(probabilities)
        evaluation = evaluate(name, precision, train, test, probabilities, chosen, tagger.rule.thresholds)
        evaluation.figures.update({"size_mb": file.stat().st_size / 1e6, **speed})
        if precision == "int8" and tagger.model.tiers:
            evaluation.figures.update(ticked_figures(evaluation, test, tagger.model.tiers))
        if baseline:
            evaluation.figures.update(differences(evaluation, baseline, "baseline"))
        if "fp32" in evaluations:
            evaluation.figures.update(differences(evaluation, evaluations["fp32"], "fp32"))
        evaluations[precision] = evaluation
    return evaluations


def evaluate_inputs(folder: Path, file: Path, train: Part, test: Part) -> list[Evaluation]:
    """Return the evaluation of a model by title, by description, and by both, where the questions have them."""
    described, inputs = inputs_of(test)
    tagger = Tagger(folder, file.name)
    if not inputs or len(tagger.settings.fields) == 1:
        return []
    evaluations = []
    for name, (titles, descriptions) in inputs.items():
        probabilities = tagger.probabilities(titles, descriptions, batch_size=32)
        chosen = tagger.rule.suggest(probabilities)
        evaluations.append(evaluate(folder.parent.name, name, train, described, probabilities, chosen))
        evaluations[-1].figures["questions"] = len(described)
    return evaluations


def evaluate_served(folder: Path, train: Part, test: Part, baseline: Evaluation | None) -> tuple[Evaluation, dict]:
    """Return the evaluation of the model in service by the tags of ``test``, and the decisions.

    Raises
    ------
    ValueError : the model is broken, or has none of these tags
    """
    print(f"in service: {folder}")
    tagger = Tagger(folder)
    known = {tag: column for column, tag in enumerate(test.tags) if tag in set(tagger.tags)}
    if not known:
        raise ValueError(f"{folder} has none of the tags of the test questions")
    ours, theirs = list(known.values()), [tagger.tags.index(tag) for tag in known]
    answers, speed = measure(tagger, test)
    probabilities, chosen = np.zeros(test.targets.shape), np.zeros(test.targets.shape, dtype=bool)
    probabilities[:, ours], chosen[:, ours] = answers[:, theirs], tagger.rule.suggest(answers)[:, theirs]
    evaluation = evaluate(f"in service: {folder.name}", "int8", train, test, probabilities, chosen)
    evaluation.figures.update({"size_mb": tagger.model.model_path.stat().st_size / 1e6, **speed})
    if baseline:
        evaluation.figures.update(differences(evaluation, baseline, "baseline"))
    hashes = file_hashes(folder, ("model_quantized.onnx", *DECIDING))
    return evaluation, describe_decisions(evaluation, test, hashes, tagger.settings.deciding)


def model_outputs(folder: Path) -> dict[str, Path]:
    """Return the files that this script writes next to a model."""
    return {name: folder / name for name in ("metrics.json", "per_tag.tsv", "worst_errors.md", "test_decisions.json")}


def write_model_report(
    folder: Path,
    files: dict[str, Path],
    evaluations: dict[str, Evaluation],
    inputs: list[Evaluation],
    train: Part,
    test: Part,
    data_dir: Path,
) -> None:
    """Write the figures of one model, and of its int8 file, if it has one, the tags, worst errors and decisions."""
    outputs = model_outputs(folder)
    served = evaluations.get("int8") or evaluations["fp32"]
    with atomic_path(outputs["per_tag.tsv"]) as temporary:
        per_tag_table(served, train, test).to_csv(
            temporary, sep="\t", index=False, float_format="%.4f", lineterminator="\n"
        )
    with atomic_path(outputs["worst_errors.md"]) as temporary:
        temporary.write_text(worst_errors(served, test), encoding="utf-8", newline="\n")
    names = [files[served.precision].name, *(name for name in DECIDING if (folder / name).is_file())]
    settings = {} if served.model == BASELINE else read_settings(folder).deciding
    decisions = describe_decisions(served, test, file_hashes(folder, names), settings)
    write_decisions(outputs["test_decisions.json"], decisions)
    figures = {precision: evaluation.figures for precision, evaluation in evaluations.items()}
    about = {"data_sha256": data_hash(data_dir), "test_questions": len(test), "tags": len(test.tags)}
    by_input = {evaluation.precision: evaluation.figures for evaluation in inputs}
    write_json(outputs["metrics.json"], about | figures | ({"inputs": by_input} if by_input else {}))


def write_comparison(
    outputs: dict[str, Path], rows: list[dict], inputs: list[dict], train: Part, test: Part, data_dir: Path
) -> str:
    """Write the comparison as Markdown, CSV and JSON; return the Markdown."""
    import pandas as pd

    counts = train.targets.sum(axis=0)
    thirds = {name: counts[tags].tolist() for name, tags in frequency_thirds(counts).items()}
    report = markdown(rows, len(test), thirds, inputs)
    with atomic_path(outputs["md"]) as temporary:
        temporary.write_text(report, encoding="utf-8", newline="\n")
    columns = dict.fromkeys(name for row in reversed(rows) for name in row)  # the last row has the most
    with atomic_path(outputs["csv"]) as temporary:
        table = pd.DataFrame(rows, columns=list(columns)).map(spreadsheet_text)
        table.to_csv(temporary, index=False, lineterminator="\n")
    measured = {"data_sha256": data_hash(data_dir), "test_questions": len(test), "rows": rows, "inputs": inputs}
    write_json(outputs["json"], measured | {"reference_on_another_split": REFERENCE})
    return report


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(
        parser,
        data_dir="folder of the test questions",
        models_dir="folder of the trained models",
        reports_dir="folder of the results",
    )
    parser.add_argument("--served", type=Path, help="model folder that is in service, to compare it, too")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    models = find_models(args.models_dir)
    outputs = {suffix: args.reports_dir / f"comparison.{suffix}" for suffix in ("md", "csv", "json")}
    beside_models = [path for folder in models for path in model_outputs(folder).values()]
    refuse_overwrite(*outputs.values(), *beside_models, force=args.force)
    if not models:
        sys.exit(f"no exported model in {args.models_dir}: run  python onnx_export/export.py  first")

    evaluated: dict[Path, dict[str, Evaluation]] = {}
    inputs: dict[Path, list[Evaluation]] = {}
    try:
        train, test = read_parts(args.data_dir, "train", "test")
        for folder, files in models.items():
            baseline = evaluated.get(args.models_dir / BASELINE, {}).get("fp32")
            evaluated[folder] = evaluate_model(files, train, test, args.data_dir, baseline)
            served_file = files.get("int8") or files["fp32"]
            inputs[folder] = evaluate_inputs(folder, served_file, train, test) if folder.name == "onnx" else []
        if args.served:
            baseline = evaluated.get(args.models_dir / BASELINE, {}).get("fp32")
            served, decisions = evaluate_served(args.served, train, test, baseline)
    except ValueError as error:
        sys.exit(f"cannot compare: {error}")

    evaluations = [no_tags(train, test), most_frequent_tags(train, test)]
    evaluations += [evaluation for by_precision in evaluated.values() for evaluation in by_precision.values()]
    if args.served:
        evaluations.append(served)
        write_decisions(args.reports_dir / "served_decisions.json", decisions)
    for folder, by_precision in evaluated.items():
        write_model_report(folder, models[folder], by_precision, inputs[folder], train, test, args.data_dir)
    plots = save_plots(evaluations, test.targets, args.reports_dir)
    rows = [evaluation.row for evaluation in evaluations]
    of_inputs = [evaluation.row for folder in inputs for evaluation in inputs[folder]]
    print(write_comparison(outputs, rows, of_inputs, train, test, args.data_dir))
    print(f"written: {', '.join(str(path) for path in [*outputs.values(), *plots])}")
    print(f"and next to each model: {', '.join(model_outputs(Path()))}")


if __name__ == "__main__":
    run_script(main)
