"""Load test of the form and its Space on this machine.

Starts deployment/app.py and the form under gunicorn as `make serve` does, then sends distinct questions to the form's
POST /api/tags from --clients concurrent clients, each sending the next one as soon as it gets a response. Fails if a
response has an error status other than a deliberate 503, if a question gets no response, if an answer differs from the
model's, or if memory grows. With --restarts, the Space is killed and started anew so many times in each run. A single
client comes first, for a minute at most and without restarts: the others' latency is compared to its own.

    python benchmarks/load.py       # -> reports/load.md
    python benchmarks/load.py --clients 200 --seconds 600 --restarts 3
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, write_report
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.model_folder import add_model_folder_option
from tagging.options import at_least_one, positive, script_parser, whole_number
from tagging.tagger import Tagger

ROOT = Path(__file__).parents[1]
SPACE_PORT, FORM_PORT = 7871, 8071
WORDS = (
    *("train", "neural", "network", "python", "pandas", "keras", "loss", "random", "forest", "converge", "metric"),
    *("imbalanced", "time", "series", "regression", "clustering", "features", "scikit-learn", "gradient", "to", "the"),
)
MAX_GROWTH = 1.05  # ratio of the memory in the last sixth of a run to the first sixth
CHECKED = 100  # answers per run that are compared to the model's
START_LIMIT = 120  # seconds
DIRECTLY: dict = {"timeout": 5, "trust_env": False}  # without a proxy: both servers run on this machine
ALONE = 60  # seconds of the run of a single client, to which the others' latency is compared
WARM_UP = 20  # seconds before memory is measured, so that threads and caches exist


@dataclass
class Run:
    """The measurements of one run."""

    clients: int
    duration: float  # in seconds
    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # latencies of the responses with status 200
    memory: list[float] = field(default_factory=list)  # MB of Space and form together, one sample per second
    answers: dict[str, list[str]] = field(default_factory=dict)  # title: suggested tags
    wrong: int = 0
    unanswered: int = 0

    def growth(self) -> float:
        """Return the ratio of the median memory in the last sixth of the run to that in the first sixth."""
        sixth = max(1, len(self.memory) // 6)
        return statistics.median(self.memory[-sixth:]) / statistics.median(self.memory[:sixth])

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds at a quantile such as 0.99."""
        return 1000 * sorted(self.seconds)[int(share * (len(self.seconds) - 1))]

    def failures(self) -> list[str]:
        """Return a message for each error of the run."""
        found = [f"{count} responses with status {status}" for status, count in self.statuses.items() if status >= 500]
        found = [line for line in found if not line.endswith("503")]
        if self.unanswered:
            found.append(f"{self.unanswered} questions without a response")
        if self.wrong:
            found.append(f"{self.wrong} of {CHECKED} answers differ from the model's")
        if self.growth() > MAX_GROWTH:
            found.append(f"memory grew by a factor of {self.growth():.2f}")
        return [f"{self.clients} clients: {line}" for line in found]


class Server:
    """A server, which runs for the ``with`` block.

    Raises
    ------
    SystemExit
        The server exits, or is not ready within START_LIMIT seconds.
    """

    def __init__(self, command: list, is_ready: Callable[[], bool], **settings: str):
        self.command, self.is_ready = command, is_ready
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)} | settings

    def __enter__(self) -> "Server":
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + START_LIMIT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.terminate()
                sys.exit(f"{' '.join(map(str, self.command))}: not ready after {START_LIMIT} s, or ended")
            time.sleep(0.05)
        return self

    def __exit__(self, *reason: object) -> None:
        self.process.terminate()
        self.process.wait()

    def restart(self) -> None:
        """Kill the server, as a crash does, and start it anew."""
        self.process.kill()
        self.process.wait()
        self.__enter__()

    def memory(self) -> float:
        """Return the resident memory of the server and its children in MB."""
        try:
            process = psutil.Process(self.process.pid)
            return sum(member.memory_info().rss for member in (process, *process.children(recursive=True))) / 1e6
        except psutil.NoSuchProcess:  # it is being restarted
            return 0.0


def space_answers(url: str) -> bool:
    """Return whether the Space answers a question with tags."""
    calls = f"{url}/gradio_api/call"
    try:
        event = httpx.post(f"{calls}/v2/predict", json={"title": "python", "description": ""}, **DIRECTLY).json()
        return "suggested" in httpx.get(f"{calls}/predict/{event['event_id']}", **DIRECTLY).text
    except (httpx.HTTPError, ValueError, KeyError):
        return False


def form_is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", **DIRECTLY).is_success
    except httpx.HTTPError:
        return False


def ask(run: Run, until: float) -> None:
    """Send distinct questions one after the other until the time ``until`` (time.monotonic)."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        while time.monotonic() < until:
            title = f"{' '.join(random.choices(WORDS, k=9))} {uuid.uuid4()}"  # unique, to bypass the form's cache
            start = time.monotonic()
            try:
                response = client.post(f"http://127.0.0.1:{FORM_PORT}/api/tags", json={"title": title})
            except httpx.HTTPError:
                run.unanswered += 1
                continue
            run.statuses[response.status_code] += 1
            if response.status_code == 200:
                run.seconds.append(time.monotonic() - start)
                if len(run.answers) < CHECKED:
                    run.answers[title] = [row["tag"] for row in response.json()["suggested"]]
            elif response.status_code == 503:
                time.sleep(0.2)  # much less than the Retry-After header says


def load(clients: int, seconds: float, space: Server, form: Server, tagger: Tagger, restarts: int = 0) -> Run:
    """Run ``clients`` concurrent clients for ``seconds``, in which the Space restarts; return the measurements."""
    run = Run(clients, seconds)
    started = time.monotonic()
    threads = [threading.Thread(target=ask, args=(run, started + seconds)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    at = [started + seconds * number / (restarts + 1) for number in range(1, restarts + 1)]
    while any(thread.is_alive() for thread in threads):
        run.memory.append(space.memory() + form.memory())
        if at and time.monotonic() >= at[0]:
            at.pop(0)
            space.restart()
        time.sleep(1)
    run.wrong = sum([tag for tag, _ in tagger.tag(title, "")] != tags for title, tags in run.answers.items())
    return run


def report(runs: list[Run], start_up: float, restarts: int) -> list[str]:
    """Return the lines of the report: one row per run, with the latency relative to the run of a single client."""
    alone = runs[0].percentile(0.5)
    rows = []
    for run in runs:
        total, good, busy = run.statuses.total(), run.statuses[200], run.statuses[503]
        rows.append(
            (
                run.clients,
                f"{run.duration:.0f}",
                f"{good / run.duration:.1f}",
                f"{run.percentile(0.5):.0f} ms",
                f"{run.percentile(0.99):.0f} ms",
                f"{run.percentile(0.5) / alone:.1f}",
                f"{busy / total:.1%}",
                total - good - busy + run.unanswered,
                f"{run.wrong} of {len(run.answers)}",
                f"{run.growth():.3f}",
            )
        )
    headings = ["clients", "s", "answers/s", "p50", "p99", "p50 / one client's", "503", "other errors", "wrong"]
    return [
        "# The form and its Space under load",
        "",
        "Distinct questions, POST /api/tags; gunicorn with 16 threads and the Space on the "
        f"same {usable_cpus()} cores as the clients. From the Space's exec to its first answer: {start_up:.1f} s. "
        f"Restarts of the Space in each run, but the first: {restarts}.",
        "",
        markdown_table([*headings, "memory, end / start"], rows, num_text=0),
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--clients",
        type=at_least_one,
        nargs="+",
        default=[16, 64],
        help="numbers of concurrent clients, one run for each",
    )
    parser.add_argument("--seconds", type=positive, default=60, help="duration of a run in seconds")
    parser.add_argument(
        "--restarts", type=whole_number(0), default=0, help="times that the Space is killed and restarted in a run"
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter that runs the servers")
    add_model_folder_option(parser)
    add_output_option(parser, "load")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    space_url, form_url = f"http://127.0.0.1:{SPACE_PORT}", f"http://127.0.0.1:{FORM_PORT}"
    space = [args.python, "deployment/app.py", "--port", str(SPACE_PORT), "--model", str(args.model.resolve())]
    gunicorn = [args.python, "-m", "gunicorn", "--threads", "16", "--bind", f"127.0.0.1:{FORM_PORT}"]
    settings = {"TAGGER_SPACE": space_url, "TAGGER_RATE_LIMIT": "1000000 per second"}
    try:
        tagger = Tagger(args.model)
    except ValueError as error:
        sys.exit(f"cannot benchmark: {error}")
    begun = time.monotonic()
    with Server(space, lambda: space_answers(space_url)) as first:
        start_up = time.monotonic() - begun
        with Server([*gunicorn, "webapp.app:create_app()"], lambda: form_is_ready(form_url), **settings) as second:
            load(16, WARM_UP, first, second, tagger)
            runs = [load(1, min(args.seconds, ALONE), first, second, tagger)]
            runs += [load(clients, args.seconds, first, second, tagger, args.restarts) for clients in args.clients]
    write_report("load", args.output, report(runs, start_up, args.restarts))
    if failures := [line for run in runs for line in run.failures()]:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    run_script(main)
