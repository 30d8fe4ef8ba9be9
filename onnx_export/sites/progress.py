"""Run the stages of a site as processes, skip those that are up to date, and go on after a cut."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from data.files import write_json
from onnx_export.sites.stages import Stage
from tagging.model_folder import read_json

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 10  # for a stage that Ctrl-C has reached, too, or that is to end


class Progress:
    """Which stages of a site are done, in sites/NAME/stages.json; their output is in sites/NAME/logs/.

    Parameters
    ----------
    folder : of the site
    total : number of stages of this run
    """

    def __init__(self, folder: Path, total: int):
        self._folder, self._file, self._logs = folder, folder / "stages.json", folder / "logs"
        self._content = read_json(self._file) if self._file.is_file() else {"done": {}}
        self._total, self._number = total, 0
        self._end_orphan()

    def is_done(self, stage: Stage) -> bool:
        """Tell whether the stage was run with the same options on the same files, and what it made is there."""
        record = self._content["done"].get(stage.name)
        return bool(record) and record["key"] == self._key(stage) and all(path.is_file() for path in stage.outputs)

    def run(self, stage: Stage, again: bool = False) -> bool:
        """Run a stage unless it is up to date, and print a line; return whether it was run.

        Parameters
        ----------
        again : whether to run it even if it is up to date

        Raises
        ------
        SystemExit : the stage failed, or Ctrl-C stopped it
        """
        self._number += 1
        head = f"[{self._number:2}/{self._total}] {stage.name}:"
        if not again and self.is_done(stage):
            print(f"{head} up to date ({self._content['done'][stage.name]['made']})", flush=True)
            return False
        key, started = self._key(stage), time.monotonic()
        cut = self._content.get("started", {})
        resumes = stage.resumed is not None and (cut.get("name"), cut.get("key")) == (stage.name, key)
        own = stage.resumed if resumes and stage.resumed is not None else stage.own
        print(f"{head} {stage.words[0]}{', resumed' if resumes else ''} ...", flush=True)
        output = self._execute(stage, [*stage.words, *own], key)
        seconds = time.monotonic() - started
        made = stage.describe(output) or "done"
        self._content["done"][stage.name] = {"key": key, "made": made, "seconds": round(seconds, 1)}
        self._content.pop("started", None)
        write_json(self._file, self._content)
        print(f"{head} {made} ({spoken_seconds(seconds)})", flush=True)
        return True

    @property
    def done(self) -> dict[str, dict]:
        """{name of a stage: {"key", "made", "seconds"}} of those that were run, in the order of their first run."""
        return self._content["done"]

    def _key(self, stage: Stage) -> str:
        """Return a hash of a stage's options and of the content of its inputs, the same wherever the folder lies."""
        words = [word.replace(self._folder.as_posix(), ".") for word in stage.words]
        contents = [_file_hash(path) if path.is_file() else None for path in stage.inputs]
        return hashlib.sha256(json.dumps([words, contents]).encode()).hexdigest()

    def _execute(self, stage: Stage, words: list[str], key: str) -> str:
        """Run a command, show its lines that ``stage.told`` names, and return its output."""
        script, *options = words
        log = self._logs / f"{stage.name.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        # A terminal shows progress bars; elsewhere they go into the log.
        errors = None if sys.stderr.isatty() else subprocess.STDOUT
        process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        )
        running = {"pid": process.pid, "created": _created(process.pid)}
        write_json(self._file, self._content | {"started": {"name": stage.name, "key": key} | running})
        self._content["started"] = {"name": stage.name, "key": key}
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        lines = []
        try:
            with log.open("w", encoding="utf-8", newline="\n") as file:
                for line in process.stdout or ():
                    lines.append(line)
                    file.write(line)
                    file.flush()
                    if re.search(stage.told, line):
                        print(f"        {line.rstrip()}", flush=True)
            code = process.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)
            process.terminate()
            process.wait()
            sys.exit(f"stopped in the stage {stage.name}: the same command goes on there")
        finally:
            signal.signal(signal.SIGTERM, before)
        if code:
            last = next((line.strip() for line in reversed(lines) if line.strip()), "see its message above")
            sys.exit(
                f"{script} ended with status {code}: {last}\nits output is in {log}; the same command goes on there"
            )
        return "".join(lines)

    def _end_orphan(self) -> None:
        """End the stage that outlived a run which was killed: two would write the same files."""
        orphan = self._content.get("started", {})
        with suppress(psutil.NoSuchProcess):
            if "pid" in orphan and _created(orphan["pid"]) == orphan["created"]:
                process = psutil.Process(orphan["pid"])
                process.terminate()
                try:
                    process.wait(PATIENCE_S)
                except psutil.TimeoutExpired:
                    process.kill()


def spoken_seconds(seconds: float) -> str:
    """Return a duration for a line of progress.

    Examples
    --------
    >>> spoken_seconds(4.2), spoken_seconds(75), spoken_seconds(4000)
    ('4 s', '1 min 15 s', '1 h 6 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _created(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it has ended already
        return None
