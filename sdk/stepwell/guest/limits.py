"""What a guest bounds on its own side; the host sends the figures with the bundle, and enforces its own besides."""

from __future__ import annotations

from typing import NamedTuple

from stepwell.frames import PAYLOAD_BYTES_MAX


class Limits(NamedTuple):
    """`load` carries these by name; what it leaves out is as here, what this runtime does not know is ignored."""

    payloadBytes: int = PAYLOAD_BYTES_MAX
    """A step's result, the output of `run`."""
    steps: int = 10_000
    """Calls of steps, sleeps and waits in one instance."""
    drainTurns: int = 100_000
    """Turns that `run` may take without waiting for anything."""
    threads: int = 32
    """Bodies of plain functions that run at once; more of them wait."""
    abandonedThreads: int = 16
    """Bodies of plain functions that ran out of time and still run: at this many the guest ends, to be started
    afresh.
    """
    logBytes: int = 65_536
    """Of one write to stdout or stderr; of a longer one the middle is left out, saying so."""

    @classmethod
    def of(cls, given: dict[str, int]) -> Limits:
        """The limits with these figures."""
        return cls(**{name: value for name, value in given.items() if name in cls._fields})
