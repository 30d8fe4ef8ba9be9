"""Processes that end with the one that started them, and together with those that they have started."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def end_with_parent() -> None:
    """End this process of a pool of ``multiprocessing`` when the one that started it has ended, be it by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process of a pool

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def program_options() -> dict[str, Any]:
    """Return the ``popen_kw`` of a Selenium service whose program Ctrl-C does not reach: its starter is to end it.

    On Linux it also ends when the thread that started it does, be it by SIGKILL.
    """
    if sys.platform == "win32":
        return {"creation_flags": subprocess.CREATE_NEW_PROCESS_GROUP}
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl  # looked up here, as little may be done between fork and exec
        return {"start_new_session": True, "preexec_fn": lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)}
    return {"start_new_session": True}


def kill_tree(process: subprocess.Popen) -> None:
    """Kill a program that was started with ``program_options``, and all that it has started."""
    if sys.platform == "win32":
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):  # it has ended; macOS then says that it may not
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
