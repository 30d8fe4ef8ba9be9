"""Put a compared int8 model, with its figures and a model card, where the Space and the form look for it.

models/NAME/, data/ques_filtered.csv, data/split.csv  ->  deployment/model/

python onnx_export/ship.py --model all-minilm-l6-v2
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from data.files import DATE_COLUMN, read_questions, read_table, refuse_overwrite, require
from deployment.tagger import Tagger, read_json
from training.backbones import HUB_IDS, short_name
from training.questions import data_hash

SERVED = ("model_quantized.onnx", "tokenizer.json", "tag_types_encoded.json", "thresholds.json")
FIGURES = ("metrics.json", "per_tag.tsv")
LICENCES = {
    "distilroberta-base": "Apache-2.0",
    "roberta-base": "MIT",
    "bert-base-uncased": "Apache-2.0",
    "all-minilm-l6-v2": "Apache-2.0",
}
SHOWN = {
    "micro F1": "f1_micro",
    "macro F1": "f1_macro",
    "P@1": "precision_at_1",
    "R@5": "recall_at_5",
    "micro precision": "precision_micro",
    "micro recall": "recall_micro",
    "F1 of a question": "f1_samples",
    "exact match": "exact_match",
    "no tag suggested": "empty_answers",
    "calibration error of the shown tags": "calibration_error_shown",
}


def describe_data(data_dir: Path) -> dict[str, object]:
    """Return what the card says of the questions: their site, number, parts, descriptions, and dates."""
    questions = read_questions(data_dir / "ques_filtered.csv")
    parts = read_table(data_dir / "split.csv", ["url", "split"])["split"].value_counts()
    sites = sorted({urlsplit(url).netloc for url in questions["url"]})
    dates = ""
    if DATE_COLUMN in questions and questions[DATE_COLUMN].notna().any():
        dates = f", asked {questions[DATE_COLUMN].min():%Y-%m-%d} to {questions[DATE_COLUMN].max():%Y-%m-%d}"
    described = int((questions["description"] != "").sum())
    return {
        "site": sites[0],
        "sites": ", ".join(sites),
        "questions": len(questions),
        "described": f"{described} of them with a description" if described else "titles alone, without descriptions",
        "parts": ", ".join(f"{parts[name]} {name}" for name in ("train", "validation", "test")),
        "dates": dates,
    }


def figures_table(metrics: dict) -> str:
    """Return the SHOWN figures of both precisions as a Markdown table, with intervals where there are some."""

    def cell(figures: dict, name: str) -> str:
        ends = f" [{figures[f'{name}_low']:.3f}, {figures[f'{name}_high']:.3f}]" if f"{name}_low" in figures else ""
        return f"{figures[name]:.3f}{ends}"

    lines = ["| | fp32 | int8, as served |", "|---|---:|---:|"]
    for label, name in SHOWN.items():
        lines.append(f"| {label} | {cell(metrics['fp32'], name)} | {cell(metrics['int8'], name)} |")
    return "\n".join(lines)


def model_card(model: str, run: dict, metrics: dict, data: dict, size_mb: float) -> str:
    """Return model_card.md, Markdown under the header that the Hugging Face Hub reads, with everything filled in."""
    names = ("recipe", "max_length", "epochs", "batch_size", "learning_rate", "consistency", "runs", "seed")
    return (
        Path(__file__)
        .with_name("model_card.md")
        .read_text(encoding="utf-8")
        .format(
            **data,
            model=model,
            backbone=HUB_IDS.get(model, model),
            licence=LICENCES.get(model, "as its own card names it"),
            size_mb=size_mb,
            tags=metrics["tags"],
            test_questions=metrics["test_questions"],
            figures=figures_table(metrics),
            same_tags=metrics["int8"]["same_tags_as_fp32"],
            f1_head=metrics["int8"]["f1_head"],
            f1_tail=metrics["int8"]["f1_tail"],
            options=" ".join(f"--{name.replace('_', '-')} {run['arguments'][name]}" for name in names),
            minutes=run["minutes"],
            data_sha256=run["data_sha256"],
        )
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="distilroberta-base", help="model that onnx_export/compare.py has compared")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the questions it was trained on")
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of the trained models")
    parser.add_argument("--output", type=Path, default=Path("deployment/model"), help="folder of the served model")
    parser.add_argument("--force", action="store_true", help="replace the model that is served now")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    name = short_name(args.model)
    folder = args.models_dir / name
    require(folder / "onnx" / "model_quantized.onnx", f"python onnx_export/quantize.py --model {args.model}")
    require(folder / "onnx" / "metrics.json", "python onnx_export/compare.py")
    refuse_overwrite(args.output / "model_quantized.onnx", force=args.force)
    try:
        Tagger(folder / "onnx")  # whole, and its files belong together
        run, metrics = read_json(folder / "run.json"), read_json(folder / "onnx" / "metrics.json")
        data = describe_data(args.data_dir)
    except (ValueError, OSError) as error:
        sys.exit(f"cannot ship {folder}: {error}")
    if not run["data_sha256"] == metrics["data_sha256"] == data_hash(args.data_dir) or "int8" not in metrics:
        sys.exit(
            f"cannot ship {folder}: it was not trained and compared, in int8, on the data in {args.data_dir}: run  "
            "python onnx_export/compare.py --force  or name the right --data-dir"
        )

    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".model.") as temporary:
        staging = Path(temporary) / "model"
        staging.mkdir()
        for file in (*SERVED, *FIGURES):
            shutil.copyfile(folder / "onnx" / file, staging / file)
        size_mb = (staging / "model_quantized.onnx").stat().st_size / 1e6
        (staging / "README.md").write_text(model_card(name, run, metrics, data, size_mb), encoding="utf-8")
        if args.output.exists():
            args.output.rename(Path(temporary) / "replaced")
        staging.rename(args.output)
    print(f"written: {args.output} ({sum(file.stat().st_size for file in args.output.iterdir()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
