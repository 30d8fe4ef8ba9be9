"""Measure the effect of onnxruntime's session options and of its ORT file format on the time to load and to answer.

Input: a model folder and questions. Output: speeds relative to the session of deployment/tagging/tagger.py, which uses
onnxruntime's defaults.

    python benchmarks/session.py --questions data/ques_details.csv    # -> reports/session.md
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, fastest, seconds, write_report
from data.files import read_questions
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.model_folder import add_model_folder_option
from tagging.options import script_parser
from tagging.tagger import Tagger, import_onnxruntime

if TYPE_CHECKING:
    import onnxruntime

ROUNDS = 3
AS_SERVED = "as served"
ORT_FORMAT = "ORT format, optimized for this processor"
# Arguments of open_session: attributes of onnxruntime.SessionOptions, its configuration keys
# (onnxruntime_session_options_config_keys.h), and an argument of InferenceSession.
VARIANTS: dict[str, dict] = {
    AS_SERVED: {},
    "one thread": {"intra_op_num_threads": 1},
    "threads that sleep between operators": {"session.intra_op.allow_spinning": "0"},
    "no memory arena": {"enable_cpu_mem_arena": False},
    "no memory patterns": {"enable_mem_pattern": False},
    # This changes the order of additions, and so the rounding.
    "SkipLayerNormalization in two steps": {"disabled_optimizers": ["SkipLayerNormFusion"]},
    "without prepacking of weights": {"session.disable_prepacking": "1"},
    ORT_FORMAT: {"session.load_model_format": "ORT"},
}


def open_session(path: Path, disabled_optimizers: list | None = None, **settings) -> "onnxruntime.InferenceSession":
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # suppress the warning that a file in ORT format is specific to the processor
    for name, value in settings.items():
        if "." in name:
            options.add_session_config_entry(name, value)
        else:
            setattr(options, name, value)
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled_optimizers
    )


def measure(model: Path, in_ort_format: Path, feeds: list[dict]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds to load, and to answer a question, for each of VARIANTS: medians of ROUNDS rounds."""
    loads: dict[str, list[float]] = defaultdict(list)
    answers: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for variant, settings in VARIANTS.items():
            path = in_ort_format if variant == ORT_FORMAT else model
            loads[variant].append(fastest(partial(open_session, path, **settings), 3))
            session = open_session(path, **settings)
            session.run(None, feeds[0])
            answers[variant].append(statistics.median(seconds(partial(session.run, None, feed)) for feed in feeds))
    return medians(loads), medians(answers)


def medians(taken: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in taken.items()}


def report(loads: dict[str, float], answers: dict[str, float], questions: int) -> list[str]:
    """Return the lines of the report."""
    rows = [(name, *(f"{taken[AS_SERVED] / taken[name]:.2f}" for taken in (loads, answers))) for name in VARIANTS]
    return [
        f"# onnxruntime's session options, {questions} questions one at a time, {ROUNDS} rounds\n",
        markdown_table(["", "speed-up of loading", "speed-up of answers"], rows),
        f"\nLoading takes as long as {loads[AS_SERVED] / answers[AS_SERVED]:.0f} answers.",
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_model_folder_option(parser)
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv; uses 200 questions")
    add_output_option(parser, "session")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        questions = read_questions(args.questions).head(200)
        tagger = Tagger(args.model)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    encodings = tagger.model.encode(questions["title"].tolist(), questions["description"].tolist())
    feeds = [tagger.inputs([encoding]) for encoding in encodings]
    model = tagger.model.model_path
    with tempfile.TemporaryDirectory() as folder:
        in_ort_format = Path(folder, "model.ort")
        to_ort_format: dict = {"session.save_model_format": "ORT", "optimized_model_filepath": str(in_ort_format)}
        open_session(model, **to_ort_format)
        loads, answers = measure(model, in_ort_format, feeds)
    write_report("session", args.output, report(loads, answers, len(feeds)))


if __name__ == "__main__":
    run_script(main)
