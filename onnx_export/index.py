"""Index the questions of a site, so that answers name similar ones.

models/NAME/onnx/model_quantized.onnx, data/ques_filtered.csv  ->  models/NAME/onnx/similar.npz, similar_titles.txt

python onnx_export/index.py --model all-minilm-l6-v2

deployment/tagging/similar.py describes the two files. Questions of other sites, and those without an id in their URL,
are left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import refuse_overwrite, require
from data.options import add_folder_options, add_trained_model_option
from data.question_list import identify
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import add_force_option, script_parser
from tagging.similar import SIMILAR, SIMILAR_TITLES, Index, write_index
from tagging.stack_exchange import STACK_EXCHANGE
from tagging.tagger import Tagger
from training.backbones import short_name
from training.dataset import Part, check_tags, read_whole

BATCH_SIZE = 32
CHUNK = 256  # questions between two steps of the progress bar


def questions_of_site(part: Part, site: str) -> tuple[Part, list[int]]:
    """Return the questions of a site that have an id, and their ids.

    Raises
    ------
    ValueError : there is none
    """
    found = {row: known for row, url in enumerate(part.urls) if (known := identify(url, STACK_EXCHANGE))}
    rows = [row for row, (host, _) in found.items() if host == site]
    if not rows:
        form = STACK_EXCHANGE.question_url(site, "ID")
        raise ValueError(f"no URL is that of a question of {site}, the site of the model, such as {form}")
    return part.take(np.array(rows)), [found[row][1] for row in rows]


def compute_vectors(tagger: Tagger, questions: Part) -> np.ndarray:
    """Return the model's vectors of the questions, shape (n, hidden_size), with a progress bar."""
    from tqdm import tqdm

    vectors = []
    with tqdm(total=len(questions), unit="question", desc="Indexing") as progress:
        for start in range(0, len(questions), CHUNK):
            chunk = slice(start, start + CHUNK)
            vectors.append(tagger.vectors(questions.titles[chunk], questions.descriptions[chunk], BATCH_SIZE))
            progress.update(len(vectors[-1]))
    return np.concatenate(vectors)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_trained_model_option(parser, "onnx_export/quantize.py")
    add_folder_options(parser, data_dir="folder of the questions", models_dir="folder of the trained models")
    add_force_option(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.models_dir / short_name(args.model) / "onnx"
    require(folder / "model_quantized.onnx", f"python onnx_export/quantize.py --model {args.model}")
    files = folder / SIMILAR, folder / SIMILAR_TITLES
    refuse_overwrite(*files, force=args.force)
    try:
        tagger = Tagger(folder, index=False)  # an older one may be damaged, or of another model
        _, part = read_whole(args.data_dir)
        check_tags(part, tagger.tags, folder, args.data_dir)
        questions, ids = questions_of_site(part, tagger.settings.site)
        vectors = compute_vectors(tagger, questions)
    except ValueError as error:
        sys.exit(str(error))
    index = Index.of(vectors, ids, [np.flatnonzero(row).tolist() for row in questions.targets])
    files[0].unlink(missing_ok=True)  # it says "whole": it goes first and comes last
    with atomic_path(files[1]) as temporary:
        lines = [" ".join(title.split()) + "\n" for title in questions.titles]
        temporary.write_text("".join(lines), encoding="utf-8", errors="replace", newline="\n")
    with atomic_path(files[0]) as temporary:
        write_index(index, temporary)
    left_out = len(part) - len(questions)
    others = f"; {left_out} of other sites or without an id are not" if left_out else ""
    print(f"{len(questions)} questions indexed{others}")
    print(f"written: {files[0]} ({files[0].stat().st_size / 1e6:.1f} MB), {files[1]}")


if __name__ == "__main__":
    run_script(main)
