"""The port to whoever counts sandboxes' starts. Nothing depends on it."""

from __future__ import annotations

from typing import Protocol


class BootObserver(Protocol):
    """Called on the event loop: it returns at once and raises nothing."""

    def booted(self, seconds: float) -> None:
        """A sandbox said its first word, so long after it was asked for."""

    def boot_failed(self) -> None:
        """One did not start, or said nothing in time; another will be tried."""
