"""A circuit breaker: stops asking a service that fails, and lets one caller at a time find out whether it is back.

pybreaker holds a lock during each call and so lets one caller through at a time even while all is well, and
circuitbreaker lets every caller through as soon as its rest is over; both would have many askers wait for a hung Space.
"""

import threading
import time


class CircuitBreaker:
    """Nygard's circuit breaker ("Release It!", 2007). Thread-safe.

    Parameters
    ----------
    failures : calls in a row that must fail before it opens
    rest : seconds that it stays open before one probe may pass
    """

    def __init__(self, failures: int, rest: float):
        self._limit, self._rest = failures, rest
        self._lock = threading.Lock()
        self._failed = 0
        self._closed_until_probe = 0.0  # no call passes before this time while open

    def admit(self) -> str | None:
        """Return "call" when closed, "probe" to the one caller who tries a rested service, None to all others."""
        with self._lock:
            if self._failed < self._limit:
                return "call"
            if time.monotonic() < self._closed_until_probe:
                return None
            self._closed_until_probe = float("inf")  # until the probe reports
            return "probe"

    def succeeded(self) -> None:
        with self._lock:
            self._failed = 0

    def failed(self) -> None:
        with self._lock:
            self._failed += 1
            self._closed_until_probe = time.monotonic() + self._rest
