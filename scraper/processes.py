"""Child processes that end with their parent, and can be killed together with their own children."""

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
    """Exit this process of a ``multiprocessing`` pool when its parent has ended, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process of a pool

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def program_options() -> dict[str, Any]:
    """Return the ``popen_kw`` of a Selenium service that protects its program from Ctrl-C; the caller must end it.

    On Linux, the program also ends when the thread that started it ends, even by SIGKILL.
    """
    if sys.platform == "win32":
        return {"creation_flags": subprocess.CREATE_NEW_PROCESS_GROUP}
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl  # looked up here, because little is safe between fork and exec
        return {"start_new_session": True, "preexec_fn": lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)}
    return {"start_new_session": True}


def kill_tree(process: subprocess.Popen) -> None:
    """Kill a program that was started with ``program_options``, and its children."""
    if sys.platform == "win32":
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):  # it has ended; macOS then reports a missing permission
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
