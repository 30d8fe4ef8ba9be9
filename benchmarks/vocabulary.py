"""Measure the saving, and the loss of F1, if a model's vocabulary contained only the tokens of its training questions.

Input: an int8 model and the output of filter_tags.py. Output: the share of the file taken by the vectors of the other
tokens, and validation F1 with [UNK] in their place, at the model's thresholds.

    python benchmarks/vocabulary.py --model deployment/model    # -> reports/vocabulary.md
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, write_report
from data.files import read_questions
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.decision import sigmoid
from tagging.model_folder import add_model_folder_option
from tagging.options import script_parser
from tagging.tagger import Tagger
from training.dataset import Part, as_part, read_parts
from training.metrics import MAIN_FIGURES, tagging_metrics


def used_tokens(tagger: Tagger, train: Part) -> np.ndarray:
    """Return which tokens occur in the questions of ``train``, bool array of shape (vocabulary,)."""
    used = np.zeros(tagger.model.tokenizer.get_vocab_size(), dtype=bool)
    for encoding in tagger.model.encode(train.titles, train.descriptions):
        used[encoding.ids] = True
    return used


def share_of_file(model: Path, kept: np.ndarray) -> float:
    """Return the share of the file taken by the vectors of the tokens not ``kept``."""
    import onnx

    tables = [tensor for tensor in onnx.load(model).graph.initializer if tensor.dims[:1] == [len(kept)]]
    return (~kept).mean() * sum(len(tensor.raw_data) for tensor in tables) / model.stat().st_size


def probabilities(tagger: Tagger, part: Part, kept: np.ndarray, unknown: int) -> np.ndarray:
    """Return the probabilities of the tags, shape (n, num_labels), with tokens not ``kept`` replaced by ``unknown``."""
    rows = []
    for encoding in tqdm(tagger.model.encode(part.titles, part.descriptions), unit="question"):
        feed = tagger.inputs([encoding])
        feed["input_ids"] = np.where(kept[feed["input_ids"]], feed["input_ids"], unknown)
        rows.append(tagger.rule.probabilities(sigmoid(tagger.run(feed)[0])))
    return np.stack(rows)


def row(name: str, tagger: Tagger, part: Part, kept: np.ndarray, unknown: int) -> tuple:
    """Return a row of the table: the metrics with all tokens, and their change with only the ``kept`` tokens."""
    figures = []
    for tokens in (np.ones_like(kept), kept):
        scores = probabilities(tagger, part, tokens, unknown)
        figures.append(tagging_metrics(part.targets, tagger.rule.suggest(scores), scores))
    whole, trimmed = figures
    cells = (f"{whole[metric]:.3f} {trimmed[metric] - whole[metric]:+.3f}" for metric in MAIN_FIGURES.values())
    return name, len(part), *cells


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    add_folder_options(parser, data_dir="folder of the model's training questions")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="further ques_details.csv to evaluate on")
    add_output_option(parser, "vocabulary")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        tagger = Tagger(args.model)
        train, validation = read_parts(args.data_dir, "train", "validation")
        others = {str(path): as_part(read_questions(path), tagger.tags) for path in args.other}
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    kept = used_tokens(tagger, train)
    unknown = next(filter(None, map(tagger.model.tokenizer.token_to_id, ("[UNK]", "<unk>"))))
    share = share_of_file(tagger.model.model_path, kept)
    parts = {"validation": validation} | others
    rows = [row(name, tagger, part, kept, unknown) for name, part in parts.items()]
    lines = [
        f"# A vocabulary of the {kept.mean():.0%} of the tokens that occur in {len(train)} training questions\n",
        f"The vectors of the other tokens take {share:.0%} of the file.\n",
        markdown_table(["questions", "number", *MAIN_FIGURES.values()], rows),
    ]
    write_report("vocabulary", args.output, lines)


if __name__ == "__main__":
    run_script(main)
