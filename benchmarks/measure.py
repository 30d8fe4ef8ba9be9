"""How the benchmarks take time and memory, and report."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from data.files import atomic_path


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


def write_report(path: Path, lines: Sequence[str]) -> None:
    """Write the lines of a report in Markdown to ``path``, show them, and say where they lie.

    The file ends with a blank line, so that reports can be put one behind the other.
    """
    text = "\n".join([*lines, ""])
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")
    print(text)
    print(f"-> {path}")
