"""Make a tagger for a site from its name: fetch the questions, train, compare, and stage what release.py promotes.

    the name of a site  ->  sites/NAME/: data/, models/, reports/, releases/, report.html

    python onnx_export/build_site.py cooking --contact you@example.org

The stages are the scripts of the README. The first release is that of the trained head, in minutes; then the whole
encoder is trained, unless --quick leaves that out. The same command goes on after any interruption, and repeats no
stage whose options and files are the same. --refresh, to be run monthly, fetches what is new, and trains again if
tag_watch.py says so. The options of a site are kept in sites/NAME/site.json, so later commands need its name only.
"""

import argparse
import csv
import re
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import write_json
from onnx_export.sites import report, stages
from onnx_export.sites.census import take_census
from onnx_export.sites.choices import Census, Choices, choose, explain
from onnx_export.sites.progress import ROOT, Progress, spoken_seconds
from onnx_export.sites.releases import (
    Releases,
    next_release,
    read_releases,
    release_folder,
    write_releases,
)
from onnx_export.sites.stages import SOURCES, Site
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.locks import sole_writer
from tagging.model_folder import RULES, SETTINGS, read_json
from tagging.options import number_from, positive, promised_precision, script_parser
from tagging.stack_exchange import STACK_EXCHANGE, site_url
from training.dataset import data_hash

NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
BACKBONE = "all-minilm-l6-v2"
DEFAULTS = {"source": "api", "backbone": BACKBONE}
TAGGER_STAGES = 7  # train, export, int8, tiers, index, compare, stage


def site_name(text: str) -> str:
    """Convert the name of a site, which is that of its folder, too."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no name of a site, such as cooking")
    return text


def open_site(args: argparse.Namespace) -> Site:
    """Return the site of the command line, whose options add to those of site.json.

    Raises
    ------
    ValueError : an option is missing, or site.json is damaged
    """
    folder = args.sites_dir / args.name
    file = folder / "site.json"
    recorded = read_json(file) if file.is_file() else {}
    names = {field.name for field in fields(Site)} - {"folder"}
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    options = {"url": site_url(args.name)} | DEFAULTS | recorded | given
    if recorded.get("url", options["url"]) != options["url"]:
        raise ValueError(f"{folder} belongs to {recorded['url']}: give the other site another name")
    try:
        site = Site(folder=folder, **options)
    except TypeError as error:
        raise ValueError(f"{file}: {error}; remove it, and give the options again") from error
    if site.source == "dump" and not site.file:
        raise ValueError("the source dump needs --file: Posts.xml, or the archive that contains it")
    return site


def harvest(site: Site, progress: Progress, top_up: bool) -> None:
    """Fetch the questions, or what is new since the last time."""
    for stage in stages.harvest(site, top_up):
        progress.run(stage, again=top_up)


def must_retrain(site: Site, choices: Choices) -> bool:
    """Run tag_watch.py on the newest release; return its verdict."""
    releases = read_releases(site.folder)
    newest = releases.staged or releases.served
    if newest is None:
        return True
    model = ["--model", release_folder(site.folder, newest), "--backbone", site.backbone]
    words = ["--data-dir", site.data, "--reports-dir", site.reports, *model]
    command = [
        sys.executable,
        ROOT / "training/tag_watch.py",
        *words,
        "--min-frequency",
        f"{choices.min_frequency:.8f}",
        *("--months", choices.recent_months),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, encoding="utf-8")
    if done.returncode not in (0, 1):
        sys.exit(f"the watch cannot tell whether to retrain: {done.stderr.strip()}")
    verdict = next(line for line in done.stdout.splitlines() if line.startswith("# ")).removeprefix("# ")
    print(f"{verdict}, for release {newest}; see {site.reports / 'tag_watch.md'}", flush=True)
    return done.returncode == 1


def served_on_other_data(site: Site) -> Path | None:
    """Return the release in service if it was trained on other data than there are now."""
    served = read_releases(site.folder).served
    folder = release_folder(site.folder, served) if served else None
    if folder is None or read_json(folder / "run.json")["data_sha256"] == data_hash(site.data):
        return None
    return folder


def build_tagger(site: Site, progress: Progress, choices: Choices, models: Path, quick: bool) -> None:
    """Train, export, quantize and compare a tagger, and stage it."""
    for stage in stages.tagger(site, choices, models, quick, served_on_other_data(site)):
        progress.run(stage)
    name = next_release(site.folder)
    folder, releases = release_folder(site.folder, name), read_releases(site.folder)
    shipping = stages.ship(site, models, quick, folder)
    if not progress.is_done(shipping) and releases.served:
        # ship.py keeps what people wrote, such as the title of the page and the rules, from the model that it replaces.
        served = release_folder(site.folder, releases.served)
        for name_of_file in (SETTINGS, RULES):
            if (served / name_of_file).is_file():
                with atomic_path(folder / name_of_file) as temporary:
                    temporary.write_bytes((served / name_of_file).read_bytes())
    if progress.run(shipping):
        write_releases(site.folder, read_releases(site.folder).stage(name))
        print(f"        release {name} is staged: python onnx_export/release.py {site.folder.name} promote", flush=True)


def write_page(site: Site, census: Census, choices: Choices, progress: Progress) -> Path:
    """Write report.html on the newest release."""
    releases = read_releases(site.folder)
    name = releases.staged or releases.served or ""
    folder = release_folder(site.folder, name)
    metrics, run = read_json(folder / "metrics.json"), read_json(folder / "run.json")
    comparison = read_json(site.reports / "comparison.json")
    with (folder / "per_tag.tsv").open(encoding="utf-8", newline="") as file:
        per_tag = list(csv.DictReader(file, delimiter="\t"))
    headings, rows = report.comparison_table(comparison["rows"])
    models = models_folder(site)
    plots = [
        report.read_plot(
            site.reports / "comparison_quality.png", "Quality", "On the test questions, with 95 % intervals."
        ),
        report.read_plot(
            site.reports / "comparison_reliability.png",
            "Probabilities",
            "How often a tag that is shown with a probability is right; on the diagonal, as often as it says.",
        ),
        report.read_plot(
            site.reports / "tiers.png",
            "Ticked tags",
            "What a promised precision costs in right tags that are not ticked, on the validation questions.",
        ),
        report.read_plot(
            site.reports / "tag_frequencies.png", "Tags", "Questions of each tag, the most frequent first."
        ),
        report.read_plot(
            models / run["name"] / "training_curve.png", "Training", "Loss and validation micro F1 by epoch."
        ),
    ]
    page = report.render(
        licence=STACK_EXCHANGE.attribution,
        host=urlsplit(site.url).netloc,
        url=site.url,
        release=name,
        model=run["name"],
        made=datetime.fromtimestamp((folder / "README.md").stat().st_mtime, UTC).strftime("%Y-%m-%d"),
        state=waiting(site, releases),
        expectations=report.expectations(metrics["int8"]),
        advice=report.advice(
            census,
            choices,
            metrics["int8"],
            metrics["test_questions"],
            per_tag,
            only_head=run["name"] == stages.tagger_name(site, quick=True),
        ),
        census=census,
        dates=f", {census.dated} with a date" if census.dated else "",
        choices=explain(census, choices),
        test_questions=comparison["test_questions"],
        tags=metrics["tags"],
        headings=headings,
        rows=rows,
        plots=[plot for plot in plots if plot],
        stages=[(name, record["made"], spoken_seconds(record["seconds"])) for name, record in progress.done.items()],
    )
    path = site.folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def waiting(site: Site, releases: Releases) -> str:
    """Return a sentence about the release that waits or is in service."""
    if releases.staged:
        return f"It waits for: python onnx_export/release.py {site.folder.name} promote"
    return "It is in service."


def models_folder(site: Site) -> Path:
    """Return the folder of the models that are trained on the data as they are now."""
    return site.folder / "models" / data_hash(site.data)[:12]


def build(site: Site, quick: bool, refresh: bool) -> None:
    """Run the stages."""
    total = len(stages.harvest(site)) + 3 + TAGGER_STAGES * (1 if quick else 2)
    progress = Progress(site.folder, total)
    begun = site.folder / "refresh.json"  # there while a refresh that retrains is not finished
    top_up = refresh and not begun.is_file() and all(map(progress.is_done, stages.harvest(site, top_up=True)))
    harvest(site, progress, top_up)
    census = take_census(site.details)
    choices = choose(census)
    if top_up:
        if not must_retrain(site, choices):
            print("nothing is trained: the tagger is up to date")
            return
        write_json(begun, {"begun": datetime.now(UTC).isoformat(timespec="seconds")})
    print("\n".join(f"        {line}" for line in explain(census, choices)), flush=True)
    for stage in stages.preparation(site, choices):
        progress.run(stage)
    models = models_folder(site)
    progress.run(stages.baseline(site, models))
    build_tagger(site, progress, choices, models, quick=True)
    print(f"report: {write_page(site, census, choices, progress)}", flush=True)
    if not quick:
        build_tagger(site, progress, choices, models, quick=False)
        print(f"report: {write_page(site, census, choices, progress)}", flush=True)
    begun.unlink(missing_ok=True)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("name", type=site_name, help="name of the site, such as cooking, or its host")
    add("--url", help="URL of the site, if it is not that of its name")
    add("--source", choices=SOURCES, help=f"where the questions come from, by default {DEFAULTS['source']}")
    add("--file", help="the data dump of the source dump: Posts.xml, also compressed, or its .7z archive")
    add("--api", help="base URL of the API, if not that of Stack Exchange")
    add("--contact", help="URL or e-mail address for the User-Agent of the requests")
    add("--delay", type=number_from(0), help="minimum delay between two requests, in seconds")
    add("--backbone", help=f"encoder to train, as --model of finetune.py, by default {BACKBONE}")
    add("--minutes", type=positive, help="time for the training of the encoder")
    add("--precision", type=promised_precision, help="share of the tags ticked by default that is right")
    add("--quick", action="store_true", help="train only the head, in minutes")
    add("--refresh", action="store_true", help="fetch what is new, and train again if tag_watch.py says so")
    add("--sites-dir", type=Path, default=Path("sites"), help="folder of the sites' folders")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        site = open_site(args)
        with sole_writer(site.folder / "stages.json"):
            write_json(site.folder / "site.json", site.options)
            build(site, args.quick, args.refresh)
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    run_script(main)
