"""What differs between machines: the cores that a process may use, locks, and how processes end."""

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from selenium.webdriver.chrome.service import Service

from data.files import write_json
from scraper import processes
from scraper.store import Table, open_store
from tagging.cpus import usable_cpus
from tagging.locks import sole_writer
from tagging.stack_exchange import STACK_EXCHANGE
from tests.tiny_model import build_model_folder
from training import trainers
from training.recipes import TrainingSettings

MANY = 64


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, MANY),
        ("0::/\n", {"cpu.max": "max 100000\n"}, MANY),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "nonsense\n"}, MANY),
        ("0::/\n", {"cpu.max": "100000 0\n"}, MANY),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/host/path\n", {"cpu.max": "200000 100000\n"}, 2),  # a container that sees its group as the root
        ("1:name=x:/\n0::/a\n", {"unified/a/cpu.max": "200000 100000\n"}, 2),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("4:cpuacct,cpu:/d/x\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "10000\n"}, 5),
        (
            "4:cpu,cpuacct:/d\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/d/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, MANY),
        ("3:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "100\n", "cpuset/cpu.cfs_period_us": "100\n"}, MANY),
        (None, {"cpu.max": "200000 100000\n"}, MANY),
    ],
)
def test_a_containers_quota_limits_the_cpus(tmp_path, monkeypatch, groups, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: MANY)
    process_groups, control_groups = tmp_path / "cgroup", tmp_path / "fs"
    if groups is not None:
        process_groups.write_text(groups)
    for name, content in files.items():
        (control_groups / name).parent.mkdir(parents=True, exist_ok=True)
        (control_groups / name).write_text(content)
    assert usable_cpus(process_groups, control_groups) == expected


ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from scraper.data_dump import parse_args
from tagging.tagger import Tagger, import_onnxruntime
import_onnxruntime()
before = len(os.listdir("/proc/self/task"))
Tagger(sys.argv[1])
print(len(os.listdir("/proc/self/task")) - before, parse_args(["--input", "x.7z", "--site", "cooking"]).workers)
"""


@pytest.mark.skipif(os.cpu_count() == 1 or sys.platform != "linux", reason="needs Linux and two cores to leave one out")
def test_a_process_on_one_core_starts_no_more_threads_or_workers(tmp_path):
    command = [sys.executable, "-c", ON_ONE_CORE, build_model_folder(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1"], done.stderr


@pytest.mark.parametrize(("address", "expected"), [("local", 3), ("auto", None)])
def test_a_local_ray_uses_only_the_usable_cores(tmp_path, monkeypatch, address, expected):
    asked = {}

    def init(**options):
        asked.update(options)
        raise ConnectionError("far enough")

    monkeypatch.syspath_prepend("deployment")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    shards = importlib.import_module("shards")
    monkeypatch.setattr(shards, "usable_cpus", lambda: 3)
    source, model = tmp_path / "shards", build_model_folder(tmp_path / "model")
    source.mkdir()
    pd.DataFrame({"title": ["python"]}).to_parquet(source / "one.parquet")
    with pytest.raises(ConnectionError):
        shards.tag_folder(source, tmp_path / "tagged", model, None, False, address, force=False)
    assert asked.get("num_cpus") == expected


def test_training_uses_only_the_usable_cores(monkeypatch, tmp_path):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(trainers, "usable_cpus", lambda: 1)
    trainers.training_arguments(TrainingSettings(), 0, tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(before)
    assert threads == 1


def test_a_file_has_one_writer_and_no_trace_of_the_lock_remains(tmp_path):
    path, link = tmp_path / "new" / "rows.csv", tmp_path / "link.csv"
    link.symlink_to(path)
    with sole_writer(path):
        for name in (path, link):
            with pytest.raises(BlockingIOError, match="is being written by another run"), sole_writer(name):
                pass
    with sole_writer(link):
        path.write_text("")
    assert list(path.parent.iterdir()) == [path]


def test_a_table_can_be_replaced_while_its_store_is_open(tmp_path):
    """Windows replaces no file that is open."""
    path = tmp_path / "rows.csv"
    table = Table("questions", path, ["url"], ["url"], ["url"])
    with (
        pytest.raises(SystemExit, match="has been changed during this run"),
        open_store(table, None, STACK_EXCHANGE, force=False) as store,
    ):
        with store.transaction():
            store.put([{"url": "a"}])
        store.write_files()
        assert [file.path for file in psutil.Process().open_files() if file.path == str(path)] == []
        (tmp_path / "other.csv").write_text("url\na\nb\n")
        (tmp_path / "other.csv").replace(path)
        with store.transaction():
            store.put([{"url": "c"}])
    assert path.read_text() == "url\na\nb\n"
    with open_store(table, None, STACK_EXCHANGE, force=False):
        pass
    assert path.read_text() == "url\na\nb\nc\n"


def test_a_file_that_is_open_in_another_program_is_reported(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(13, "Access is denied", str(self), 5, str(target))

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    (tmp_path / "split.csv").write_text("as before")
    with pytest.raises(SystemExit, match=r"split.csv cannot be replaced \(Access is denied\): close it"):
        write_json(tmp_path / "split.csv", {})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["as before"]


@pytest.fixture
def family():
    """A running program of a group of its own that has started another one, and the pid of that one."""
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, **processes.program_options()) as process:
        child = int(process.stdout.readline())
        yield process, child
        for pid in filter(psutil.pid_exists, (process.pid, child)):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("system", [sys.platform, "win32"])
def test_a_program_is_killed_with_what_it_started(family, monkeypatch, system):
    process, child = family
    monkeypatch.setattr(processes, "sys", SimpleNamespace(platform=system))
    processes.kill_tree(process)
    assert process.returncode == -signal.SIGKILL
    wait_for_the_end_of(child)
    processes.kill_tree(process)  # also where it has ended by itself


def test_windows_keeps_ctrl_c_from_the_driver(monkeypatch):
    monkeypatch.setattr(processes, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    service = Service(executable_path="chromedriver", popen_kw=processes.program_options())
    assert (service.creation_flags, service.popen_kw) == (0x200, {})


POOL = """
    from multiprocessing import get_context
    from concurrent.futures import ProcessPoolExecutor
    import os, time
    from scraper.processes import end_with_parent

    if __name__ == "__main__":
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as pool:
            print(pool.submit(os.getpid).result(), flush=True)
            pool.submit(time.sleep, 60)
            time.sleep(60)
"""


def test_the_processes_of_a_pool_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(textwrap.dedent(POOL))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", "deployment"])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    wait_for_the_end_of(worker)


def wait_for_the_end_of(pid: int) -> None:
    """SIGKILL is delivered when the system comes to it: a grandchild may outlive the program that was waited for."""
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
