"""Clocks of single processes, which may be put forward and back while they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from scripts.local_cluster import Part

_HOW: Final = Path(__file__).parent / "wrong_clock"
"""On a process's path, this has Python take the time of day from a file's say."""


class Clock:
    """Of one part, a Python program, from its next start on."""

    def __init__(self, part: Part, folder: Path) -> None:
        self._file = folder / f"clock-of-{part.name}"
        self.set(0)
        path = os.pathsep.join(filter(None, (str(_HOW), part.environment.get("PYTHONPATH"))))
        part.environment |= {"PYTHONPATH": path, "WRONG_CLOCK": str(self._file)}

    def set(self, ahead_s: float) -> None:
        """By so much it is ahead of the machine's, within a second."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s}\n")
        new.rename(self._file)
