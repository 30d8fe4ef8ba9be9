"""Shared functions of the benchmarks: measure time and memory, write reports."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

from data import files
from data.files import refuse_foreign
from tagging.cpus import usable_cpus
from tagging.tagger import Tagger, import_onnxruntime
from training.processor import cpu_flags, cpu_name


def feed_of(tagger: Tagger, length: int, rows: int) -> dict[str, np.ndarray]:
    """Return a batch of random tokens without padding."""
    ids = np.random.default_rng(0).integers(tagger.model.tokenizer.get_vocab_size(), size=(rows, length))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: feed[name] for name in tagger.input_names}


def seconds(run: Callable[[], object]) -> float:
    """Return the run time of ``run`` in seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def fastest(run: Callable[[], object], repetitions: int = 10) -> float:
    """Return the minimum run time of ``run`` in seconds, which other load affects least."""
    return min(seconds(run) for _ in range(repetitions))


def resident(process: psutil.Process) -> float:
    """Return the resident memory of a process in MB, without its children."""
    return process.memory_info().rss / 1e6


def proportional(process: psutil.Process) -> float:
    """Return the memory of a process and its children in MB, shared memory counted once (PSS)."""
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_full_info().pss for member in family) / 1e6


def peak_memory(command: Sequence[str | Path], memory: Callable[[psutil.Process], float] = resident) -> float:
    """Run a Python script with its options and return its peak memory in MB.

    Parameters
    ----------
    command
        The script and its options.
    memory
        Function that measures the memory of a process, in MB.

    Raises
    ------
    SystemExit
        The script failed; the message ends with its error output.
    """
    peak = 0.0
    with (
        tempfile.TemporaryFile("w+") as said,  # a pipe that is not read would fill up and block the script
        subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=said) as run,
    ):
        watched = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                peak = max(peak, memory(watched))
            except psutil.NoSuchProcess:  # it has ended in the meantime
                continue
            time.sleep(0.02)
        if run.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: {said.read()[-500:]}")
    return peak


def machine() -> str:
    """Return the processor, whether it has VNNI, the cores that this process may use, and onnxruntime's version."""
    vnni = ", ".join(sorted(flag for flag in cpu_flags() if "vnni" in flag)) or "without VNNI"
    return f"{cpu_name()} ({vnni}), {usable_cpus()} logical cores, onnxruntime {import_onnxruntime().__version__}"


def add_output_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add ``--output`` of benchmarks/NAME.py: a file that does not exist yet, or NAME's last report."""

    def report(output: str) -> Path:
        refuse_foreign(output, f"benchmarks/{name}.py")
        return Path(output)

    parser.add_argument("--output", type=report, default=f"reports/{name}.md", help="Markdown file to write")


def write_report(name: str, path: Path, lines: Sequence[str]) -> None:
    """Write the report of benchmarks/NAME.py to ``path``, and print it with its path."""
    text = "\n".join(lines)
    files.write_report(path, text, f"benchmarks/{name}.py")
    print(f"{text}\n\n-> {path}")
