"""Measure the browser page in Chromium: how soon it answers, compared to the Python package in the same run.

Input: the page that `make browser` builds, and the questions of the sample site. The page is served from this machine.
Cold: the browser's cache is empty. Warm: the second visit. Typing: from the last key in the title to its tags, the
pause of 250 ms included. Fails if an answer comes later than its target, or if more than three questions in a hundred
get other tags than in Python.

    python benchmarks/browser.py --page build/browser    # -> reports/browser.md
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, fastest, write_report
from data.files import read_questions
from data.markdown import markdown_table
from tagging.console import run_script
from tagging.cpus import usable_cpus
from tagging.html_text import question_text
from tagging.options import at_least_one, script_parser
from tagging.tagger import Tagger

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

VISITS = 3  # of each kind; the fastest is reported, which other load affects least
COLD, WARM, TYPING = 6.0, 1.5, 0.15  # seconds: targets on two cores; typing without the pause
PAUSE = 0.25  # seconds that the page waits after a key
MIN_EQUAL = 0.97  # of questions with descriptions; where a tag is at its threshold, rounding decides
LENGTHS = (8, 16, 32, 64, 128)  # tokens
TITLE = "Loss becomes NaN when I train a CNN"
# performance.now() counts from the navigation to the page.
FIRST_ANSWER = """
const [title, done] = arguments;
const shown = () => document.querySelector("#result:not([hidden]) #suggested a");
const field = document.getElementById("title");
field.value = title;
field.dispatchEvent(new Event("input", { bubbles: true }));
(function look() { shown() ? done(performance.now() / 1000) : setTimeout(look, 5); })();
"""
KEEP = """
const done = arguments[0];
navigator.serviceWorker.ready.then(async () => {
  const cache = await caches.open(`question-tagger ${new URL("./", location)}`);
  const isComplete = async () => (await cache.keys()).some(({ url }) => url.includes("worker.js?"));
  while (!(await isComplete())) await new Promise((resume) => setTimeout(resume, 50));
}).then(done);
"""
TYPE = """
const [titles, done] = arguments;
const field = document.getElementById("title");
const answer = document.getElementById("answer");
(async () => {
  const seconds = [];
  for (const title of titles) {
    const changed = new Promise((resolve) => new MutationObserver((_, observer) => {
      observer.disconnect();
      resolve(performance.now());
    }).observe(answer, { childList: true }));
    const begun = performance.now();
    field.value = title;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    seconds.push(((await changed) - begun) / 1000);
  }
  return seconds;
})().then(done);
"""
LATENCY = """
const [ids, repetitions, done] = arguments;
(async () => {
  const { loadTagger } = await import("./tagger.js");
  const read = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  const wasm = read("ort-wasm-simd-threaded.wasm");
  const tagger = globalThis.tagger = await loadTagger((name) => read(`model/${name}`), wasm);
  const times = [];
  for (const row of ids) {
    const encoding = { ids: row, typeIds: row.map(() => 0) };
    const taken = [];
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      const begun = performance.now();
      await tagger.logits(encoding);
      taken.push((performance.now() - begun) / 1000);
    }
    times.push(Math.min(...taken));
  }
  return times;
})().then(done);
"""
ANSWERS = """
const [questions, done] = arguments;
(async () => {
  const answers = [];
  for (const question of questions) {
    const rows = await globalThis.tagger.tag(...question);
    answers.push(rows.map(({ tag }) => tag));
  }
  return answers;
})().then(done);
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a port of this machine for the ``with`` block and yield its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def start_browser() -> "Chrome":
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"):
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options=options)
    driver.set_script_timeout(300)
    driver.get("about:blank")
    time.sleep(1)  # its own start is not part of the page's
    return driver


def visit(browser: "Chrome", url: str) -> float:
    """Open the page, write a title, and return the seconds from the navigation to its tags."""
    browser.get(url)
    return browser.execute_async_script(FIRST_ANSWER, TITLE)


def measure_starts(url: str) -> tuple[float, float]:
    """Return the seconds from opening the page to its first tags, with an empty cache and at the second visit."""
    cold, warm = [], []
    for _ in range(VISITS):
        browser = start_browser()
        try:
            cold.append(visit(browser, url))
            browser.execute_async_script(KEEP)
            warm.append(visit(browser, url))
        finally:
            browser.quit()
    return min(cold), min(warm)


def measure_page(url: str, titles: list[str], ids: list[list[int]], questions: list[tuple[str, str]]) -> tuple:
    """Return the seconds after each title, the seconds per length, and the tags of each question."""
    browser = start_browser()
    try:
        visit(browser, url)
        typing = browser.execute_async_script(TYPE, titles)
        latencies = browser.execute_async_script(LATENCY, ids, 10)
        return typing, latencies, browser.execute_async_script(ANSWERS, questions)
    finally:
        browser.quit()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--page", type=Path, default="build/browser", help="folder of the page, from make browser")
    parser.add_argument("--questions", type=Path, required=True, help="a ques_details.csv")
    parser.add_argument("--number", type=at_least_one, default=200, help="number of questions to compare")
    add_output_option(parser, "browser")
    return parser.parse_args(argv)


def native_seconds(tagger: Tagger, row: list[int]) -> float:
    """Return the seconds in which the Python package runs the model on the ids of one question."""
    ids = np.array([row], dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return fastest(partial(tagger.run, {name: feed[name] for name in tagger.input_names}))


def share_of_equal(tagger: Tagger, questions: list[tuple[str, str]], tags: list[list[str]]) -> float:
    """Return the share of questions that get the tags ``tags`` in Python, too."""
    texts = [question_text(*question, tagger.settings.max_length) for question in questions]
    titles, descriptions = zip(*texts, strict=True)
    expected = tagger.tag_batch(titles, descriptions)
    return statistics.mean(set(found) == {tag for tag, _ in rows} for found, rows in zip(tags, expected, strict=True))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if not (args.page / "files.json").is_file():
        sys.exit(f"{args.page} is no page: build it with  make browser")
    try:
        table = read_questions(args.questions).head(args.number)
        tagger = Tagger(args.page / "model", num_threads=1)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    questions = list(zip(table["title"], table["description"], strict=True))
    longest = tagger.model.encode([""], [" ".join(table["description"])])[0].ids
    ids = [longest[:length] for length in LENGTHS]
    with served(args.page) as url:
        cold, warm = measure_starts(url)
        typing, latencies, tags = measure_page(url, table["title"].tolist()[:20], ids, questions)
    native = [native_seconds(tagger, row) for row in ids]
    typed, equal = statistics.median(typing) - PAUSE, share_of_equal(tagger, questions, tags)
    write_report("browser", args.output, report(cold, warm, typed, equal, latencies, native, len(questions)))
    figures = {"cold start": (cold, COLD), "warm start": (warm, WARM), "typing": (typed, TYPING)}
    missed = [f"{name}: {taken:.2f} s, target {most:g} s" for name, (taken, most) in figures.items() if taken > most]
    if equal < MIN_EQUAL:
        missed.append(f"{equal:.1%} of the questions get the same tags, target {MIN_EQUAL:.0%}")
    if missed:
        sys.exit("\n".join(missed))


def report(
    cold: float, warm: float, typed: float, equal: float, latencies: list[float], native: list[float], questions: int
) -> list[str]:
    """Return the lines of the report."""
    starts = [
        ("first answer, cold cache", f"{cold:.2f} s", f"{COLD:g} s"),
        ("first answer, warm cache", f"{warm:.2f} s", f"{WARM:g} s"),
        ("tags of a title after the typing pause", f"{1000 * typed:.0f} ms", f"{1000 * TYPING:.0f} ms"),
        (f"same tags as in Python, {questions} questions", f"{equal:.1%}", f"{MIN_EQUAL:.0%}"),
    ]
    lengths = [
        (length, f"{1000 * page:.1f} ms", f"{1000 * python:.1f} ms", f"{page / python:.1f}")
        for length, page, python in zip(LENGTHS, latencies, native, strict=False)
    ]
    return [
        f"# The browser page in Chromium, {usable_cpus()} cores\n",
        markdown_table(["", "measured", "target"], starts),
        "\nOne question, one thread, the fastest of ten:\n",
        markdown_table(["tokens", "page", "Python", "page / Python"], lengths, num_text=0),
    ]


if __name__ == "__main__":
    run_script(main)
