"""A circuit breaker: stops calling a service that fails, and lets a single caller test whether it has recovered.

Two libraries were considered. pybreaker holds a lock during each call, which serializes all calls, also those to a
healthy service. circuitbreaker lets every caller through once its recovery timeout is over. With either, many requests
would wait for a Space that hangs.
"""

import threading
import time


class CircuitBreaker:
    """Nygard's circuit breaker ("Release It!", 2007). Thread-safe.

    Parameters
    ----------
    failures : int
        Number of consecutive failed calls after which the breaker opens.
    recovery_timeout : float
        Seconds for which it stays open before one call may probe the service.
    """

    def __init__(self, failures: int, recovery_timeout: float):
        self._max_failures, self._recovery_timeout = failures, recovery_timeout
        self._lock = threading.Lock()
        self._failed = 0
        self._next_probe = 0.0  # while open, no call passes before this time

    def admit(self) -> str | None:
        """Ask for permission to call the service.

        Returns
        -------
        "call" while the breaker is closed. While it is open, "probe" for one caller after the recovery timeout, and
        None for all others.
        """
        with self._lock:
            if self._failed < self._max_failures:
                return "call"
            if time.monotonic() < self._next_probe:
                return None
            self._next_probe = float("inf")  # until the probe has ended
            return "probe"

    def succeeded(self) -> None:
        """Record a successful call, which closes the breaker."""
        with self._lock:
            self._failed = 0

    def failed(self) -> None:
        """Record a failed call."""
        with self._lock:
            self._failed += 1
            self._next_probe = time.monotonic() + self._recovery_timeout
