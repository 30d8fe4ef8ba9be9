"""Compare quality, time and size of the served tagger and of its rivals, in one run on one test set.

    python benchmarks/frontier.py --model all-minilm-l6-v2    # models/NAME/ and its onnx/ -> reports/frontier.md, .png

Each tagger's thresholds are tuned on the validation set; the figures are those of the test set. Time is that of one
question at a time, from its text to its probabilities, with every core that this process may use. The taggers take
turns in every round, so that other load affects all of them; between two of them is a pause, in which the threads of
the one before fall asleep. benchmarks/rivals.py defines the rivals. Those that need further packages are left out where
these are not installed:

    python -m pip install '.[bench]'
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, machine, seconds, write_report
from benchmarks.rivals import FP32, MAKERS, OURS, PYTORCH, Material, Rival
from data.files import require
from data.markdown import markdown_table
from data.options import add_folder_options, add_trained_model_option
from tagging.console import run_script
from tagging.decision import DecisionRule
from tagging.files import atomic_path
from tagging.model_folder import ModelFolder, read_json
from tagging.options import at_least_one, script_parser
from training.backbones import find_backbone, short_name
from training.dataset import Part, read_parts
from training.metrics import interval, resample, tagging_metrics
from training.thresholds import tune_thresholds

LENGTHS = (12, 125)  # tokens: of a title, and of a title with a short description
TEXTS = 10  # of each length
ROUNDS = 10
PAUSE_S = 0.3
# Targets of the served tagger; the report lists those that it misses.
EQUAL = 0.005  # micro F1 that counts as equal
MIN_SAME_TAGS = 0.97  # of the questions, as fp32
MIN_OVER_PYTORCH = 3.0  # times its speed, at the longer length
MAX_SPREAD = 2.0  # p99 / median
TIMER_NOISE = 1.05  # medians of one run that are closer than this are equal


def make_rivals(material: Material) -> list[Rival]:
    """Return the rivals that can be made here, and print a line for each that cannot."""
    rivals = []
    for make in MAKERS:
        try:
            rivals.append(make(material))
        except ImportError as error:
            print(f"left out: {make.__name__} needs {error.name}; python -m pip install '.[bench]'")
    return rivals


def texts_of(length: int, model: ModelFolder, part: Part) -> list[str]:
    """Return TEXTS texts of ``length`` tokens, from the questions of ``part``, one after the other."""
    words = " ".join(f"{title} {text}" for title, text in zip(part.titles, part.descriptions, strict=True)).split()
    texts = []
    while len(texts) < TEXTS and words:
        taken = next(
            (n for n in range(1, len(words)) if len(model.encode([" ".join(words[:n])], [""])[0].ids) >= length), None
        )
        if taken is None:
            break
        texts.append(" ".join(words[:taken]))
        words = words[taken:]
    return texts


def latencies(rivals: list[Rival], texts: list[str], rounds: int) -> dict[str, np.ndarray]:
    """Return the milliseconds of each text in each round, shape (rounds * len(texts),), by rival."""
    taken: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    for _ in range(rounds):
        for rival in rivals:
            time.sleep(PAUSE_S)
            rival.score(texts[:1], [""])
            taken[rival.name] += [1000 * seconds(lambda: rival.score([text], [""])) for text in texts]  # noqa: B023
    return {name: np.array(values) for name, values in taken.items()}


def quality(rivals: list[Rival], validation: Part, test: Part) -> dict[str, dict[str, float]]:
    """Return the figures of each trained rival on the test set: F1 and its interval at its own thresholds, and the
    share of questions with the same tags as fp32 at fp32's thresholds, which shows the rounding alone."""
    from tqdm import tqdm

    rules: dict[str, DecisionRule] = {}
    raw: dict[str, np.ndarray] = {}
    for rival in tqdm([rival for rival in rivals if rival.is_trained], desc="quality", unit="tagger"):
        tuned_on = rival.score(validation.titles, validation.descriptions)
        thresholds = tune_thresholds(validation.targets, tuned_on, validation.tags)
        rules[rival.name] = DecisionRule.of(thresholds, validation.tags)
        raw[rival.name] = rival.score(test.titles, test.descriptions)

    def chosen(name: str, rule: DecisionRule) -> np.ndarray:
        return rule.suggest(rule.probabilities(raw[name]))

    figures = {}
    for name, rule in rules.items():
        tags, shown = chosen(name, rule), rule.probabilities(raw[name])
        metrics = tagging_metrics(test.targets, tags, shown)
        low, high = interval(metrics["f1_micro"], resample(test.targets, tags, shown)["f1_micro"])
        same = (chosen(name, rules[FP32]) == chosen(FP32, rules[FP32])).all(axis=1).mean()
        figures[name] = metrics | {"low": low, "high": high, "same_tags": same}
    return figures


def missed_targets(rivals: list[Rival], figures: dict, times: dict[int, dict[str, np.ndarray]]) -> list[str]:
    """Return a message for each target that the served tagger misses."""
    ours = next(rival for rival in rivals if rival.name == OURS)
    medians = {length: {name: float(np.median(taken)) for name, taken in of.items()} for length, of in times.items()}
    f1 = {name: of["f1_micro"] for name, of in figures.items()}
    missed = []
    for rival in rivals:
        if not rival.is_trained or rival is ours:
            continue
        for length, median in medians.items():
            ratio = median[rival.name] / median[OURS]
            if rival.is_transformer and f1[rival.name] >= f1[OURS] - EQUAL and ratio < 1 / TIMER_NOISE:
                missed.append(f"{rival.name} takes {ratio:.2f} of its time at {length} tokens")
        faster = all(median[rival.name] < median[OURS] for median in medians.values())
        if faster and f1[rival.name] >= f1[OURS] and rival.size <= ours.size:
            missed.append(f"{rival.name} is better, faster and smaller")
    longest = medians[max(medians)]
    ratio = longest.get(PYTORCH, np.inf) / longest[OURS]
    if ratio < MIN_OVER_PYTORCH:
        missed.append(f"{ratio:.2f} times the speed of {PYTORCH} at {max(medians)} tokens, below {MIN_OVER_PYTORCH}")
    for length, of in times.items():
        spread = np.percentile(of[OURS], 99) / np.median(of[OURS])
        if spread > MAX_SPREAD:
            missed.append(f"p99 / median {spread:.2f} at {length} tokens, above {MAX_SPREAD}")
    if figures[OURS]["same_tags"] < MIN_SAME_TAGS:
        missed.append(f"{figures[OURS]['same_tags']:.3f} of the questions have fp32's tags, below {MIN_SAME_TAGS}")
    return missed


def table(rivals: list[Rival], figures: dict, times: dict[int, dict[str, np.ndarray]]) -> str:
    """Return one row per rival."""
    rows = []
    for rival in rivals:
        row = [rival.name]
        if rival.is_trained:
            of = figures[rival.name]
            same = f"{of['same_tags']:.3f}" if rival.is_transformer else ""
            row += [f"{of['f1_micro']:.3f} [{of['low']:.3f}, {of['high']:.3f}]", f"{of['f1_macro']:.3f}", same]
        else:
            row += ["", "", ""]
        for taken in times.values():
            median = np.median(taken[rival.name])
            row.append(f"{median:.2f} ({np.percentile(taken[rival.name], 99) / median:.1f})")
        rows.append([*row, f"{rival.size:.1f}"])
    headings = ["", "micro F1", "macro F1", "same tags as fp32", *(f"ms, {length} tokens" for length in times), "MB"]
    return markdown_table(headings, rows)


def plot(rivals: list[Rival], figures: dict, times: dict[int, dict[str, np.ndarray]], title: str):
    """Return a figure of micro F1 against time and size; a dotted line for what has no F1."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    panels = figure.subplots(1, len(times) + 1, sharey=True)
    measured = {f"ms per question of {length} tokens": of for length, of in times.items()}
    markers = "osD^v<>Pph*X"
    for axes, heading in zip(panels, [*measured, "MB"], strict=True):
        for number, rival in enumerate(rivals):
            place = rival.size if heading == "MB" else float(np.median(measured[heading][rival.name]))
            colour = f"C{number % 10}"
            if not rival.is_trained:
                axes.axvline(place, color="grey", linestyle=":", label=rival.name)
                continue
            of = figures[rival.name]
            axes.plot(
                place, of["f1_micro"], markers[number], color="black" if rival.name == OURS else colour,
                markersize=13 if rival.name == OURS else 8, label=rival.name,
            )  # fmt: skip
        axes.set(xscale="log", xlabel=heading)
        axes.grid(which="both", linewidth=0.3)
    panels[0].set_ylabel("micro F1")
    figure.suptitle(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/export.py")
    add_folder_options(parser, data_dir="folder of the questions", models_dir="folder of the trained models")
    parser.add_argument("--rounds", type=at_least_one, default=ROUNDS, help="number of rounds in which to time")
    add_output_option(parser, "frontier")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model)
    require(folder / "onnx/model.onnx", f"python onnx_export/export.py --model {args.model}")
    backbone = read_json(folder / "run.json")["arguments"]["model"]
    with tempfile.TemporaryDirectory() as temporary:
        try:
            train, validation, test = read_parts(args.data_dir, "train", "validation", "test")
            material = Material(folder, find_backbone(backbone), train, validation, Path(temporary))
            rivals = make_rivals(material)
        except ValueError as error:
            sys.exit(f"cannot benchmark: {error}")
        model = ModelFolder.read(folder / "onnx", "model.onnx", index=False)
        texts = {length: texts_of(length, model, test) for length in LENGTHS}
        figures = quality(rivals, validation, test)
        times = {length: latencies(rivals, texts[length], args.rounds) for length in LENGTHS}
    missed = "; ".join(missed_targets(rivals, figures, times))
    image = args.output.with_suffix(".png")
    with atomic_path(image) as temporary_image:
        plot(rivals, figures, times, f"{len(test)} test questions, {len(test.tags)} tags. {machine()}").savefig(
            temporary_image, format="png", dpi=100
        )
    lines = [
        f"# {folder.name} and its rivals: {len(test)} test questions, {len(test.tags)} tags\n",
        f"{machine()}. In brackets after F1, 95 % bootstrap intervals "
        f"over questions; after the median ms of {args.rounds * TEXTS} runs, p99 / median. Load of the machine, over "
        f"15 minutes: {psutil.getloadavg()[2]:.1f}.\n",
        table(rivals, figures, times),
        f"\n![micro F1 against time and size]({image.name})\n",
        f"Missed targets: {missed or 'none'}.",
    ]
    write_report("frontier", args.output, lines)
    if missed:
        sys.exit(f"missed targets: {missed}")


if __name__ == "__main__":
    run_script(main)
