"""How the benchmarks take time and memory, and report."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from data import files
from data.files import refuse_foreign


def seconds(run: Callable[[], object]) -> float:
    """Return how long ``run`` takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def fastest(run: Callable[[], object], repetitions: int = 10) -> float:
    """Return the least seconds of ``run``: what it takes when nothing else is in its way."""
    return min(seconds(run) for _ in range(repetitions))


def resident(process: psutil.Process) -> float:
    """Return the resident MB of a process, without its children's."""
    return process.memory_info().rss / 1e6


def proportional(process: psutil.Process) -> float:
    """Return the MB of a process and its children, what they share counted once (PSS)."""
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_full_info().pss for member in family) / 1e6


def peak_memory(command: Sequence[str | Path], memory: Callable[[psutil.Process], float] = resident) -> float:
    """Run a Python script with its options to its end and return the peak of its memory in MB.

    Raises
    ------
    SystemExit : the script failed; the message ends with what it said
    """
    peak = 0.0
    with (
        tempfile.TemporaryFile("w+") as said,  # a pipe that nobody reads would fill and stop the script
        subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=said) as run,
    ):
        watched = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                peak = max(peak, memory(watched))
            except psutil.NoSuchProcess:  # ended meanwhile
                continue
            time.sleep(0.02)
        if run.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: {said.read()[-500:]}")
    return peak


def add_output_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add ``--output`` of benchmarks/NAME.py: a file that does not exist yet, or NAME's last report."""

    def report(output: str) -> Path:
        refuse_foreign(output, f"benchmarks/{name}.py")
        return Path(output)

    parser.add_argument("--output", type=report, default=f"reports/{name}.md", help="Markdown file to write")


def write_report(name: str, path: Path, lines: Sequence[str]) -> None:
    """Write the lines of the report of benchmarks/NAME.py to ``path``, show them, and say where they lie."""
    text = "\n".join(lines)
    files.write_report(path, text, f"benchmarks/{name}.py")
    print(f"{text}\n\n-> {path}")
