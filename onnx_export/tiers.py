"""Choose the tags that are ticked by default, such that they keep a promised precision.

    models/NAME/onnx/model_quantized.onnx, thresholds.json  ->  models/NAME/onnx/tiers.json
                                                                reports/tiers.md, reports/tiers.png

    python onnx_export/tiers.py --model all-minilm-l6-v2 --precision 0.8

A suggested tag is ticked, and so right in at least the promised share of cases, or only shown; a tag that is not
suggested is shown, or hidden where it is too improbable. training/tiers.py describes the method. The report shows what
other promises would cost, on the validation questions; what is kept of the promise on the test questions is in the
report of compare.py.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_foreign, refuse_overwrite, require, write_json, write_report
from data.markdown import markdown_table
from data.options import add_folder_options, add_trained_model_option
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import THRESHOLDS, read_thresholds
from tagging.options import add_force_option, promised_precision, script_parser, share
from tagging.tagger import Tagger
from tagging.tiers import TIERS
from training.backbones import short_name
from training.dataset import Part, check_fields, check_tags, read_part
from training.thresholds import PER_TAG, TUNINGS
from training.tiers import promise_kept, tick_by_folds, tune_ticked

PROMISES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the report
SCRIPT = "onnx_export/tiers.py"


def compare_promises(validation: Part, raw: np.ndarray, tuning: str, promised: float) -> dict[float, dict[str, float]]:
    """Return {promise: what is kept of it, cross-fitted} for PROMISES and ``promised``."""
    kept = {}
    for promise in sorted({*PROMISES, promised}):
        ticked = tick_by_folds(validation.targets, raw, validation.tags, TUNINGS[tuning], promise)
        kept[promise] = promise_kept(validation.targets, ticked)
    return kept


def describe(kept: dict[float, dict[str, float]], promised: float, num_ticked: int, num_tags: int, n: int) -> str:
    """Return the report as Markdown."""
    rows = [
        (
            f"**{promise:g}**" if promise == promised else f"{promise:g}",
            f"{one['precision']:.3f} [{one['precision_low']:.3f}, {one['precision_high']:.3f}]",
            f"{one['recall']:.3f}",
            f"{one['questions']:.3f}",
        )
        for promise, one in kept.items()
    ]
    table = markdown_table(["promised", "kept", "share of all right tags", "questions with a tick"], rows, num_text=0)
    return (
        f"# Precision of the ticked tags\n\nOn {n} validation questions, each half ticked by what was tuned on the "
        f"other. In brackets: 95 % intervals, by bootstrap over questions. With the promise in bold, {num_ticked} of "
        f"{num_tags} tags can be ticked; the others are too rare or too uncertain.\n\n{table}"
    )


def plot(kept: dict[float, dict[str, float]]):
    """Return a figure of precision against coverage, the share of all right tags that are ticked."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    axes = Figure(figsize=(6, 4)).subplots()
    coverage, precision = zip(*((one["recall"], one["precision"]) for one in kept.values()), strict=True)
    ends = [[abs(one["precision"] - one[f"precision_{end}"]) for one in kept.values()] for end in ("low", "high")]
    axes.errorbar(coverage, precision, yerr=ends, fmt="o-", capsize=3)
    for promise, one in kept.items():
        axes.annotate(f"{promise:g}", (one["recall"], one["precision"]), textcoords="offset points", xytext=(6, 6))
    axes.set(xlabel="share of all right tags that are ticked", ylabel="precision", title="Ticked tags by promise")
    return axes.figure


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/quantize.py")
    add_folder_options(
        parser,
        data_dir="folder of the validation questions",
        models_dir="folder of the trained models",
        reports_dir="folder of the report",
    )
    parser.add_argument(
        "--precision", type=promised_precision, default=0.8, help="share of the ticked tags that is right"
    )
    parser.add_argument("--shown", type=share, default=0.05, help="probability below which a tag is hidden")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "model_quantized.onnx", f"python onnx_export/quantize.py --model {args.model}")
    refuse_overwrite(folder / TIERS, force=args.force)
    report, picture = args.reports_dir / "tiers.md", args.reports_dir / "tiers.png"
    refuse_foreign(report, SCRIPT, args.force)
    try:
        tagger = Tagger(folder)
        validation = read_part(args.data_dir, "validation")
        check_tags(validation, tagger.tags, folder, args.data_dir)
        check_fields(validation, tagger.settings.fields, str(folder))
        raw = tagger.raw_probabilities(validation.titles, validation.descriptions)
        tuning = read_thresholds(folder / THRESHOLDS, tagger.tags).tuning or PER_TAG
    except ValueError as error:
        sys.exit(str(error))
    thresholds = tune_ticked(validation.targets, tagger.rule.probabilities(raw), args.precision)
    ticked = {tag: round(float(cut), 6) for tag, cut in zip(tagger.tags, thresholds, strict=True) if np.isfinite(cut)}
    kept = compare_promises(validation, raw, tuning, args.precision)
    write_json(folder / TIERS, {"precision": args.precision, "ticked": ticked, "shown": args.shown})
    with atomic_path(picture) as temporary:
        plot(kept).savefig(temporary, format="png", dpi=120, bbox_inches="tight")
    text = describe(kept, args.precision, len(ticked), len(tagger.tags), len(validation))
    write_report(report, f"{text}\n\n![Precision against coverage]({picture.name})", SCRIPT)
    own = kept[args.precision]
    print(
        f"ticked: {own['precision']:.3f} are right (promised {args.precision:g}), {own['recall']:.3f} of all right "
        f"tags, in {own['questions']:.3f} of the validation questions"
    )
    print(f"written: {folder / TIERS}, {report}, {picture}")


if __name__ == "__main__":
    run_script(main)
