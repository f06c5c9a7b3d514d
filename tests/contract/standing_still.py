"""A process that is there, and does nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

STOP_S_MAX: Final = 10.0


@contextmanager
def standing_still(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Until the block ends. Begun once each of its threads has stopped: the signal alone returns before that."""
    process.send_signal(signal.SIGSTOP)
    try:
        deadline = time.monotonic() + STOP_S_MAX
        while not all(_has_stopped(task) for task in Path(f"/proc/{process.pid}/task").iterdir()):
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.01)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _has_stopped(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except FileNotFoundError:
        return True
