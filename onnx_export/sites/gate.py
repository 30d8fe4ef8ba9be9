"""Whether a release is no worse than the one in service, on the same test questions."""

from pathlib import Path

from onnx_export.evaluation.best_shipped import read_decisions, served_decisions
from onnx_export.evaluation.decisions import GATE_FIGURES, Verdict, judge, part_id
from onnx_export.sites.releases import release_folder

SERVED_DECISIONS = "served_decisions.json"  # of compare.py --served, in the reports


def gate(site: Path, name: str, served: str) -> list[Verdict]:
    """Return the verdict on each of GATE_FIGURES of the release ``name`` against the release ``served``.

    Two of the same questions are compared by the decisions that lie in their folders, else by those that the release in
    service made for the new questions, when these were compared.

    Raises
    ------
    ValueError : they cannot be compared; or a file is damaged
    OSError : a file cannot be read
    """
    candidate = served_decisions(release_folder(site, name))
    other = served_decisions(release_folder(site, served))
    if part_id(candidate) != part_id(other):
        file = site / "reports" / SERVED_DECISIONS
        again = read_decisions(file) if file.is_file() else None
        if not again or again["sha256"] != other["sha256"] or part_id(again) != part_id(candidate):
            raise ValueError(
                f"release {name} and release {served}, which is in service, were not compared on the same questions: "
                f"run  python onnx_export/build_site.py {site.name}  first"
            )
        other = again
    return judge(candidate, dict.fromkeys(GATE_FIGURES, other | {"model": f"release {served}"}))
