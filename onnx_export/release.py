"""Put a release of a site into service, if it is no worse than the one that is there, or the one before back.

    sites/NAME/releases/  ->  sites/NAME/releases.json, which the apps follow

    python onnx_export/release.py cooking status     # the releases and their figures
    python onnx_export/release.py cooking test       # the gate alone: exit status 1 if the release is worse
    python onnx_export/release.py cooking promote    # into service, if the gate lets it
    python onnx_export/release.py cooking restore    # the release before back into service

The gate is that of quality_gate.py: worse means that the 95 % interval of the difference in micro or macro F1, on the
same test questions, lies below 0. An app that serves the folder, TAGGER_MODEL=sites/cooking, takes a release up within
seconds, without a restart.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.markdown import markdown_table
from onnx_export.sites.gate import gate
from onnx_export.sites.releases import (
    Releases,
    complete_releases,
    read_releases,
    release_folder,
    write_releases,
)
from tagging.console import run_script
from tagging.locks import sole_writer
from tagging.model_folder import RELEASES, ModelFolder, read_json
from tagging.options import add_force_option, script_parser

ACTIONS = ("status", "test", "promote", "restore")


def status(site: Path, releases: Releases) -> str:
    """Return a table of the releases: state, model, figures on their test questions, and size."""
    states = {releases.staged: "staged", releases.previous: "before", releases.served: "in service"}
    rows = []
    for name in complete_releases(site):
        folder = release_folder(site, name)
        metrics, run = read_json(folder / "metrics.json"), read_json(folder / "run.json")
        figures = metrics["int8"]
        f1 = [
            f"{figures[figure]:.3f} [{figures[f'{figure}_low']:.3f}, {figures[f'{figure}_high']:.3f}]"
            for figure in ("f1_micro", "f1_macro")
        ]
        size = f"{figures['size_mb']:.1f}"
        rows.append([name, states.get(name, ""), run["name"], metrics["test_questions"], metrics["tags"], *f1, size])
    headings = ["release", "state", "model", "test questions", "tags", "micro F1", "macro F1", "MB"]
    return markdown_table(headings, rows, num_text=3)


def test(site: Path, name: str, served: str | None) -> bool:
    """Print the verdict of the gate on a release, and return whether it may be promoted."""
    ModelFolder.read(release_folder(site, name))  # whole
    if served is None:
        print(f"release {name}: no release is in service yet, so there is none to compare it with")
        return True
    verdicts = gate(site, name, served)
    print("\n".join(f"release {name}: {verdict.line}" for verdict in verdicts))
    return not any(verdict.worse for verdict in verdicts)


def chosen(site: Path, releases: Releases, asked: str | None) -> str:
    """Return the release that was asked for, by default the staged one.

    Raises
    ------
    ValueError : there is no such release
    """
    name = asked or releases.staged
    if name is None:
        raise ValueError(
            f"{site}: no release is staged: run  python onnx_export/build_site.py {site.name}, or give --release"
        )
    if name not in complete_releases(site):
        raise ValueError(f"{site}: there is no release {name}; see  python onnx_export/release.py {site.name} status")
    return name


def promote(site: Path, releases: Releases, asked: str | None, force: bool) -> None:
    """Put a release into service if the gate lets it, or with ``force``.

    Raises
    ------
    ValueError : there is no such release, or it cannot be compared
    """
    name = chosen(site, releases, asked)
    if name == releases.served:
        raise ValueError(f"{site}: release {name} is in service already")
    if not force and not test(site, name, releases.served):
        sys.exit(f"release {name} stays out of service, since it is worse; --force promotes it all the same")
    write_releases(site, releases.promote(name))
    kept = f"; release {releases.served} is kept for  restore" if releases.served else ""
    print(f"release {name} is in service{kept}: TAGGER_MODEL={site.as_posix()} python deployment/app.py")


def restore(site: Path, releases: Releases) -> None:
    """Put the release before back into service.

    Raises
    ------
    ValueError : there is none
    """
    restored = releases.restore()
    write_releases(site, restored)
    print(f"release {restored.served} is in service again, instead of release {restored.previous}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("name", help="name of the site's folder")
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("--release", help="the release to test or promote, instead of the staged one")
    parser.add_argument("--sites-dir", type=Path, default=Path("sites"), help="folder of the sites' folders")
    add_force_option(parser, "promote a release that the gate refuses or cannot compare")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    site = args.sites_dir / args.name
    if not complete_releases(site):
        sys.exit(f"{site} has no release: run  python onnx_export/build_site.py {args.name}  first")
    try:
        with sole_writer(site / RELEASES):
            releases = read_releases(site)
            if args.action == "test" and not test(site, chosen(site, releases, args.release), releases.served):
                sys.exit(1)
            if args.action == "promote":
                promote(site, releases, args.release, args.force)
            if args.action == "restore":
                restore(site, releases)
            if args.action == "status":
                print(status(site, releases))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    run_script(main)
