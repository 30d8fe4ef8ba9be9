"""Which folder may import which, that nothing is imported from a script, and that there is no import cycle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "tagging": set(),
    "data": {"tagging"},
    "scraper": {"tagging", "data"},
    "training": {"tagging", "data"},
    "onnx_export": {"tagging", "data", "training"},
    "webapp": {"tagging", "data"},
    "benchmarks": {"tagging", "data", "scraper", "training", "onnx_export", "webapp"},
}
SPACE_SCRIPTS = sorted(ROOT.glob("deployment/*.py"))  # their folder is copied out alone
OWN = {*MAY_IMPORT, "tests", "deployment", *(script.stem for script in SPACE_SCRIPTS)}


@pytest.fixture(scope="module")
def imports():
    """{module: top-level names and modules of the repository that it imports}, also inside of functions."""
    graph = grimp.build_graph(*MAY_IMPORT, include_external_packages=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def folder_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_folder_of_code_has_its_place_in_the_order():
    packages = {path.parent.name for place in ("*", "deployment/*") for path in ROOT.glob(f"{place}/__init__.py")}
    assert packages == {*MAY_IMPORT, "tests"}


def test_no_folder_imports_one_above_it(imports):
    assert [
        f"{module} imports {imported}"
        for module, found in imports.items()
        for imported in found
        if folder_of(imported) in OWN - MAY_IMPORT.get(folder_of(module), OWN) - {folder_of(module)}
    ] == []


def test_nothing_is_imported_from_a_script(imports):
    """Scripts are those that end with run_script(main)."""
    paths = [path for folder in set(MAY_IMPORT) - {"tagging"} for path in ROOT.glob(f"{folder}/**/*.py")]
    scripts = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if "\n    run_script(main)" in path.read_text(encoding="utf-8")
    }
    assert {"training.finetune", "data.sample_site.server", "benchmarks.dump"} <= scripts
    assert [f"{module} imports {name}" for module, names in imports.items() for name in names & scripts] == []


@pytest.mark.parametrize("script", SPACE_SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_of_the_space_import_nothing_from_other_folders(script):
    imported = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {folder_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(folder_of(node.module or ""))
    assert "tagging" in imported
    assert imported & OWN <= {"tagging", *(other.stem for other in SPACE_SCRIPTS)}


def test_no_modules_import_each_other_in_a_circle(imports):
    TopologicalSorter(imports).prepare()
