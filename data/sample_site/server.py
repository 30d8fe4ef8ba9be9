"""Serve the embedded sample site over HTTP, for the demo and the tests.

The site's URL is printed and, with --port-file, written to a file.

    python data/sample_site/server.py --port 8765
"""

import argparse
import signal
import sys
import threading
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this folder's modules, whatever is installed
from data.sample_site.faults import Faults
from data.sample_site.site import SampleSite
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.options import at_least_one, number_from, port, script_parser, seed_number, whole_number

FAULT_HELP = {
    "too_many_requests_every": "answer 429 to every k-th page request, 0 for none",
    "retry_after_s": "value of the Retry-After header of a 429, in seconds",
    "error_every": "answer 500 to every k-th page request, 0 for none",
    "slow_s": "delay of each page in seconds",
    "challenge_after": "show a bot check from the k-th page request on, 0 for never",
    "robots_disallow_all": "forbid the whole site in robots.txt",
    "garbage_every": "answer every k-th page request with truncated JSON, 0 for none",
    "cut_every": "close the connection in the middle of the response to every k-th page request, 0 for none",
    "login_every": "redirect every k-th page request to the login page, 0 for none",
    "quota": "number of calls that the API allows",
    "backoff_s": "backoff that each response of the API asks for, in seconds, 0 for none",
    "crawl_delay_s": "Crawl-delay in robots.txt, in seconds, 0 for none",
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; each fault has an option."""
    parser = script_parser(__doc__)
    parser.add_argument("--port", type=port, default=8765, help="port to listen on, 0 for a free one")
    parser.add_argument("--port-file", type=Path, help="file to write the site's URL to; removed when the server stops")
    parser.add_argument("--num-questions", type=at_least_one, default=450, help="number of questions")
    parser.add_argument("--seed", type=seed_number, default=42, help="seed of the questions")
    for field in fields(Faults):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action="store_true", help=FAULT_HELP[field.name])
        else:
            kind = whole_number(0) if field.type is int else number_from(0)
            parser.add_argument(flag, type=kind, default=field.default, help=FAULT_HELP[field.name])
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    args = parse_args(argv)
    faults = Faults(**{field.name: getattr(args, field.name) for field in fields(Faults)})
    try:
        site = SampleSite(args.port, args.num_questions, args.seed, faults)
    except ValueError as error:
        sys.exit(f"cannot serve the sample site: {error}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with site:
        print(f"{len(site.questions)} questions at {site.url}", flush=True)
        if args.port_file:
            with atomic_path(args.port_file) as temporary:
                temporary.write_text(site.url, encoding="utf-8", newline="\n")
        while not stop.wait(1):  # on Windows, Ctrl-C does not interrupt a wait
            pass
    if args.port_file:
        args.port_file.unlink(missing_ok=True)


if __name__ == "__main__":
    run_script(main)
