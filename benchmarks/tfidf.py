"""Measure the training of the TF-IDF baseline against liblinear's own settings, and what its haste costs of F1.

In: the output of filter_tags.py. The thresholds come from the validation questions, F1 from the test questions. Fails
over 60 s, or where micro or macro F1 is lower by more than 0.005.

    python benchmarks/tfidf.py    # -> reports/tfidf.md
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import write_report
from deployment.tagger import DecisionRule, suggest
from training.baseline import TfidfTagger, fit
from training.metrics import tagging_metrics
from training.questions import Part, read_part
from training.thresholds import tune_thresholds

LIBLINEAR = {"dual": False, "tol": 1e-4}  # scikit-learn's defaults for this solver
SHOWN = ("f1_micro", "f1_macro", "precision_at_1", "recall_at_5")
MOST_SECONDS = 60
MOST_LOSS = 0.005


def train_and_test(train: Part, validation: Part, test: Part, **settings) -> tuple[float, dict[str, float]]:
    """Return the seconds of a training with ``settings`` and the figures of its answers to the test questions."""
    started = time.perf_counter()
    tagger = TfidfTagger(fit(train, **settings))
    took = time.perf_counter() - started
    tuning, answers = (tagger.raw_probabilities(part.titles, part.descriptions) for part in (validation, test))
    rule = DecisionRule.of(tune_thresholds(validation.targets, tuning, train.tags), train.tags)
    shown = rule.probabilities(answers)
    return took, tagging_metrics(test.targets, suggest(shown, rule.threshold), shown)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the output of filter_tags.py")
    parser.add_argument("--output", type=Path, default=Path("reports/tfidf.md"), help="Markdown file to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        parts = [read_part(args.data_dir, name) for name in ("train", "validation", "test")]
    except ValueError as error:
        sys.exit(str(error))
    for module in ("sklearn.feature_extraction.text", "sklearn.linear_model"):
        importlib.import_module(module)  # which is no part of the training
    took, figures = train_and_test(*parts)
    rival_took, rival = train_and_test(*parts, **LIBLINEAR)
    loss = max(rival[name] - figures[name] for name in ("f1_micro", "f1_macro"))
    lines = [
        f"# TF-IDF, {len(parts[0].tags)} tags, {len(parts[0])} training and {len(parts[2])} test questions\n",
        f"| | trained, times as fast | {' | '.join(SHOWN)} |",
        f"|---|---:|{'---:|' * len(SHOWN)}",
        f"| liblinear's own settings | 1.0 | {' | '.join(f'{rival[name]:.3f}' for name in SHOWN)} |",
        f"| baseline.py's | {rival_took / took:.1f} | {' | '.join(f'{figures[name]:.3f}' for name in SHOWN)} |",
    ]
    write_report(args.output, lines)
    if took > MOST_SECONDS or loss > MOST_LOSS:
        sys.exit(f"missed: {took:.0f} s of training, F1 lower by {loss:.4f}")


if __name__ == "__main__":
    main()
