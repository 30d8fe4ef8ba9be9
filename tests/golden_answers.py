"""Write what the shipped model answers to a few questions; tests/test_shipped_model.py expects the same ever after.

In: deployment/model/. Out: tests/golden_answers.json. Run it after onnx_export/ship.py has put another model there, and
read the difference before you commit it:

    python tests/golden_answers.py --force
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite, write_json
from tagging.console import run_script
from tagging.options import add_force_option, script_parser
from tagging.tagger import Tagger

SHIPPED = Path("deployment/model")
ANSWERS = Path("tests/golden_answers.json")
MOST_PROBABLE = 8
QUESTIONS = [  # written for this test, of all lengths and with signs that a model must read
    ("Why does my random forest overfit on a small data set?", ""),
    ("Keras LSTM returns the same value for every time step", ""),
    ("How do I merge two pandas dataframes on the nearest timestamp?", ""),
    ("k-means or DBSCAN for clusters of unequal size", ""),
    ("Is C++ faster than Python for training an SVM?", ""),
    ("BERT: fine-tune all layers or only the last ones for sentiment analysis?", ""),
    ("ROC AUC is 0.97 but precision is poor on imbalanced classes", ""),
    ("XGBoost", ""),
    ("How to choose the number of principal components in PCA?", "The first three explain 80 % of the variance."),
    ("", "My convolutional network in PyTorch classifies images of leaves. Its loss becomes NaN after a few batches."),
    ("What should I read to become a data scientist?", "I know statistics and some R, but no machine learning."),
    ("Explain `alpha=0.5` & <UNK> tokens: übung, 数据 🙂", "x" * 50),
]


def answers(tagger: Tagger) -> list[dict]:
    """Return, for each of QUESTIONS, its texts, the suggested tags by name, and the MOST_PROBABLE tags with scores."""
    golden = []
    for title, description in QUESTIONS:
        scores = tagger.probabilities([title], [description])[0]
        best = np.argsort(-scores, kind="stable")[:MOST_PROBABLE]
        golden.append(
            {
                "title": title,
                "description": description,
                "suggested": sorted(entry["tag"] for entry in tagger.answer(title, description)["suggested"]),
                "probabilities": {tagger.tags[index]: round(float(scores[index]), 4) for index in best},
            }
        )
    return golden


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="folder of the served model")
    parser.add_argument("--output", type=Path, default=ANSWERS, help="JSON file to write")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    refuse_overwrite(args.output, force=args.force)
    try:
        golden = answers(Tagger(args.model))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    write_json(args.output, golden)
    print(f"written: {args.output}")


if __name__ == "__main__":
    run_script(main)
