"""The stages from a site's questions to a release: the commands of the README, with their files. No I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_export.sites.choices import Choices
from tagging.similar import SIMILAR
from tagging.tiers import TIERS
from training.backbones import short_name
from training.recipes import FROZEN_ENCODER, OURS, folder_name
from training.tfidf import NAME as BASELINE

SOURCES = ("api", "pages", "dump")
WRITTEN = r"^written: .*\((.* MB)\)"  # of export.py, quantize.py and ship.py


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes
    ----------
    name : for people
    words : script and options on which the result depends
    inputs : files on whose content the result depends; those that are missing count as such
    outputs : files without which the stage is not done
    made : regular expression of the parts of its output that say what was made
    form : how they are shown
    told : regular expression of the lines that are shown while it runs
    own : further options
    resumed : options instead of ``own`` if the last run of this stage was cut
    """

    name: str
    words: list[str]
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    made: str = r"(.+)\n\Z"
    form: str = "{}"
    told: str = r"\Z."
    own: Sequence[str] = ("--force",)
    resumed: Sequence[str] | None = None

    def describe(self, output: str) -> str:
        """Return what the stage made, from its output."""
        found = re.findall(self.made, output, re.MULTILINE)
        return "; ".join(self.form.format(*([parts] if isinstance(parts, str) else parts)) for parts in found)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is known of a site, and its folders.

    Attributes
    ----------
    folder : sites/NAME
    url : of the site
    source : one of SOURCES
    file : the dump, of the source "dump"
    backbone : the encoder to train
    api, contact, delay : options of the scrapers, None for their defaults
    minutes : time for the training, None for no limit
    precision : what is promised of the tags that are ticked by default, None for the default of tiers.py
    """

    folder: Path
    url: str
    source: str
    backbone: str
    file: str | None = None
    api: str | None = None
    contact: str | None = None
    delay: float | None = None
    minutes: float | None = None
    precision: float | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def details(self) -> Path:
        return self.data / "ques_details.csv"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    @property
    def options(self) -> dict:
        """What site.json records."""
        names = ("url", "source", "backbone", "file", "api", "contact", "delay", "minutes", "precision")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def harvest(site: Site, top_up: bool = False) -> list[Stage]:
    """Return the stages that fetch the questions; ``top_up`` fetches what is new or has changed since the last time."""
    polite = [
        word
        for option, value in (("--contact", site.contact), ("--delay", site.delay))
        if value is not None
        for word in (option, str(value))
    ]
    own = ("--since-last",) if top_up else ()
    details = site.details.as_posix()
    if site.source == "dump":
        words = ["scraper/data_dump.py", "--input", str(site.file), "--site", site.url, "--output", details]
        return [Stage("harvest", words, outputs=[site.details], own=own)]
    if site.source == "pages":
        urls = site.data / "ques_urls.csv"
        listing = ["scraper/question_url_scraper.py", "--site", site.url, "--output", urls.as_posix(), *polite]
        pages = ["scraper/question_details_scraper.py", "--input", urls.as_posix(), "--output", details, *polite]
        return [
            Stage("list", listing, outputs=[urls], own=own),
            Stage("harvest", pages, outputs=[site.details], own=own),
        ]
    api = ["--site", site.url, *(["--api", site.api] if site.api else []), *polite]
    synonyms = (site.data / "tag_synonyms.csv").as_posix()
    return [
        Stage("harvest", ["scraper/stack_exchange_api.py", *api, "--output", details], outputs=[site.details], own=own),
        Stage("synonyms", ["scraper/tag_synonyms.py", *api, "--output", synonyms]),
    ]


def preparation(site: Site, choices: Choices) -> list[Stage]:
    """Return the stages from the questions to tags and parts."""
    data, reports = site.data.as_posix(), site.reports.as_posix()
    options = ["--min-frequency", f"{choices.min_frequency:.8f}", "--split", choices.split]
    filtering = ["training/filter_tags.py", "--data-dir", data, *options]
    return [
        Stage(
            "validate",
            ["data/validate.py", "--data-dir", data, "--reports-dir", reports],
            [site.details],
            [site.reports / "data.md"],
            own=(),
        ),
        Stage(
            "filter",
            filtering,
            [site.details, site.data / "tag_synonyms.csv"],
            [
                site.data / name
                for name in ("ques_filtered.csv", "tag_types_encoded.json", "split.csv", "filter_tags.json")
            ],
            made=r"^(?:tags|questions|split): (.+)$",
        ),
    ]


def baseline(site: Site, models: Path) -> Stage:
    """Return the stage of the TF-IDF baseline."""
    words = ["training/baseline.py", "--data-dir", site.data.as_posix(), "--models-dir", models.as_posix()]
    return Stage(
        "baseline", words, [site.data / "split.csv"], [models / BASELINE / "thresholds.json"], made=r"^written: (.+)$"
    )


def tagger_name(site: Site, quick: bool) -> str:
    """Return the name of a tagger's folder below the models."""
    return folder_name(short_name(site.backbone), FROZEN_ENCODER if quick else OURS)


def tagger(site: Site, choices: Choices, models: Path, quick: bool, served: Path | None) -> list[Stage]:
    """Return the stages from training to comparison: of the tagger of a minute if ``quick``, else of the whole encoder.

    ``served`` is the release in service if it was trained on other data; it is compared, too.
    """
    where = ["--data-dir", site.data.as_posix(), "--models-dir", models.as_posix()]
    name = tagger_name(site, quick)
    model, folder = ["--model", name, *where], models / name
    training = ["training/finetune.py", "--model", site.backbone, *where, "--max-length", str(choices.max_length)]
    if quick:
        training += ["--freeze-encoder"]
    else:
        training += ["--epochs", str(choices.epochs), "--batch-size", str(choices.batch_size)]
        training += ["--consistency", str(choices.consistency)]
        training += ["--minutes", str(site.minutes)] if site.minutes else []
    run, onnx, int8, metrics = (
        folder / file for file in ("run.json", "onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/metrics.json")
    )
    comparing = ["onnx_export/compare.py", *where, "--reports-dir", site.reports.as_posix()]
    kind = "head" if quick else "encoder"
    return [
        Stage(
            f"train the {kind}",
            training,
            [site.data / "split.csv"],
            [run],
            made=r"^(validation micro F1 .+)$",
            told=r"about .* for .* epoch",
            resumed=("--resume", "--force"),
        ),
        Stage(f"export the {kind}", ["onnx_export/export.py", *model], [run], [onnx], WRITTEN),
        Stage(
            f"int8 of the {kind}",
            ["onnx_export/quantize.py", *model, "--allow-drop"],  # the comparison and the gate judge what it lost
            [run],
            [int8],
            made=r"^int8: (.+)$",
        ),
        Stage(
            f"tiers of the {kind}",
            [
                *("onnx_export/tiers.py", *model, "--reports-dir", site.reports.as_posix()),
                *(["--precision", str(site.precision)] if site.precision else []),
            ],
            [int8],
            [folder / "onnx" / TIERS],
            made=r"^ticked: (.+)$",
        ),
        Stage(
            f"index by the {kind}",
            ["onnx_export/index.py", *model],
            [int8],
            [folder / "onnx" / SIMILAR],
            made=r"^(.+ questions) indexed",
        ),
        Stage(
            f"compare the {kind}",
            [*comparing, *(["--served", served.as_posix()] if served else [])],
            [run, folder / "onnx" / TIERS],
            [metrics, site.reports / "comparison.json"],
            made=rf"\A(?s:.*?)^\| {re.escape(name)} \| int8 \| ([^|]+) \| ([^|]+) \|",
            form="test micro F1 {}, macro F1 {}",
        ),
    ]


def ship(site: Site, models: Path, quick: bool, release: Path) -> Stage:
    """Return the stage that makes a release."""
    name = tagger_name(site, quick)
    where = ["--data-dir", site.data.as_posix(), "--models-dir", models.as_posix()]
    return Stage(
        f"stage the {'head' if quick else 'encoder'}",
        ["onnx_export/ship.py", "--model", name, *where, "--titles", "--best", (site.folder / "best").as_posix()],
        [models / name / "onnx" / "test_decisions.json"],
        made=WRITTEN,
        own=("--output", release.as_posix(), "--force"),
    )
