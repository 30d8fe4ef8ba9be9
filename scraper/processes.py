"""Processes that end with the one that started them, however it ends."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # from linux/prctl.h
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent() -> None:
    """Ask Linux to end this process when the thread that started it ends, be it by SIGKILL; elsewhere do nothing."""
    if PRCTL:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)
