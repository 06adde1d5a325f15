"""The port to time. The engine reads no clock but this one, so that a simulation can own it."""

from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written and compared across restarts; the event loop's own time for waiting."""

    def now_us(self) -> int:
        """Return the time in whole µs since 1970-01-01T00:00:00Z."""
        ...
