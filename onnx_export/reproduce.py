"""Make a shipped model again from its run.json and questions.csv.gz, and show its figures beside the recorded ones.

    deployment/model/  ->  data/reproduced/, models/reproduced/, reports/reproduced/reproduction.md

    python onnx_export/reproduce.py --contact you@example.org

The stages are the scripts of the README: the questions of the list are fetched from the API, get the tags and parts of
the list, and a model is trained, exported, quantized and compared with the recorded options. The same command resumes
an interrupted run, also on the next day if the quota of the API is used up; a stage that is done is not repeated.
"""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import write_json, write_report
from onnx_export.evaluation.reproduction import PLACES, QUESTION_LIST, RECORD, Stage, figures_table, stages
from tagging.console import run_script
from tagging.model_folder import read_json
from tagging.options import add_force_option, number_from, script_parser
from training.backbones import short_name
from training.recipes import folder_name

ROOT = Path(__file__).resolve().parents[1]
MARK = "reproduction.json"  # in a folder that this script may write to
NEEDED = ("name", "arguments", "minutes", "allow_drop", "question_list")
TRAININGS = ("training/finetune.py", "training/distill.py")
LISTED = ("sha256", "site", "questions", "parts")


def read_record(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return run.json and metrics.json of a shipped model.

    Raises
    ------
    ValueError : one is missing or lacks something, or questions.csv.gz is not the recorded one
    """
    for name in (RECORD, "metrics.json", QUESTION_LIST):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} not found: ship.py writes it, where the questions have ids")
    record, metrics = read_json(folder / RECORD), read_json(folder / "metrics.json")
    lacking = [key for key in NEEDED if key not in record]
    lacking = lacking or [key for key in LISTED if key not in record["question_list"]]
    if lacking:
        raise ValueError(f"{folder / RECORD} lacks {', '.join(lacking)}: ship the model again")
    if hashlib.sha256((folder / QUESTION_LIST).read_bytes()).hexdigest() != record["question_list"]["sha256"]:
        raise ValueError(f"{folder / QUESTION_LIST} is not the one that {RECORD} records: restore it")
    return record, metrics


def claim(places: dict[str, Path], record: dict[str, Any]) -> None:
    """Mark the folders as those of this reproduction; stop if one holds anything else."""
    mark = {"name": record["name"], "question_list": record["question_list"]["sha256"]}
    for name, place in places.items():
        marked = place / MARK
        if marked.is_file() and json.loads(marked.read_text(encoding="utf-8")) == mark:
            continue
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ValueError(f"{place} holds something else than this reproduction: name another --{name}-dir")
    for place in places.values():
        write_json(place / MARK, mark)


def is_done(stage: Stage) -> bool:
    """Tell whether the outputs of a stage are there, and not older than its inputs."""
    if not stage.inputs or not all(path.is_file() for path in (*stage.inputs, *stage.outputs)):
        return False
    oldest = min(path.stat().st_mtime_ns for path in stage.outputs)
    return oldest >= max(path.stat().st_mtime_ns for path in stage.inputs)


def run_stage(stage: Stage, processes: int, extra: list[str]) -> None:
    """Run a stage; stop with one line if it fails."""
    python = [sys.executable]
    if processes > 1 and stage.words[0] in TRAININGS:
        python += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    script, *options = stage.words
    print(f"--- {shlex.join([script, *options])}", flush=True)
    process = subprocess.Popen([*python, str(ROOT / script), *options, *extra])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        code = process.wait()  # which Ctrl-C reaches, too
    if code:
        sys.exit(f"{script} ended with status {code}: its last lines say why; the same command resumes")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("deployment/model"), help="folder of the shipped model")
    add("--backbone", help="local folder of the backbone, if its recorded name cannot be found")
    add("--teacher-backbone", help="the same of the teacher's backbone")
    add("--api", help="base URL of the API, if not that of Stack Exchange")
    add("--contact", help="URL or e-mail address for the User-Agent of the calls of the API")
    add("--delay", type=number_from(0), default=1.0, help="minimum delay between two calls, in seconds")
    for name, place in PLACES.items():
        add(f"--{name}-dir", type=Path, default=place, help=f"folder of the {name}, which holds nothing else")
    add_force_option(parser, "repeat all stages but the fetching")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    places = {name: getattr(args, f"{name}_dir") for name in PLACES}
    try:
        record, recorded = read_record(args.model)
        claim(places, record)
    except (ValueError, OSError) as error:
        sys.exit(f"cannot make {args.model} again: {error}")
    if args.backbone:
        record["arguments"]["model"] = args.backbone
        record["name"] = folder_name(short_name(args.backbone), record["arguments"]["recipe"])
    for teacher in record.get("teachers", []) if args.teacher_backbone else []:
        teacher["arguments"]["model"] = args.teacher_backbone
        teacher["name"] = folder_name(short_name(args.teacher_backbone), teacher["arguments"]["recipe"])
    given = {"--api": args.api, "--contact": args.contact, "--delay": str(args.delay)}
    fetching = [word for option, value in given.items() if value for word in (option, value)]
    plan = stages(record, args.model, places, recorded, fetching, args.delay)
    for number, stage in enumerate(plan, start=1):
        print(f"{number}. {stage.words[0]}: {stage.expected}")
    for stage in plan:
        if not stage.inputs:  # a fetching, which resumes by itself
            run_stage(stage, 1, [])
        elif is_done(stage) and not args.force:
            print(f"--- {stage.words[0]}: done before")
        else:
            resume = ["--resume"] if stage.words[0] in TRAININGS and not args.force else []
            run_stage(stage, record.get("processes", 1), [*resume, "--force"])
    table = figures_table(recorded, read_json(places["models"] / record["name"] / "onnx" / "metrics.json"))
    report = places["reports"] / "reproduction.md"
    write_report(report, f"# {args.model} made again\n\n{table}", "onnx_export/reproduce.py")
    print(f"{table}\nwritten: {report}")


if __name__ == "__main__":
    run_script(main)
