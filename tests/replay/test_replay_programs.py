"""Random programs, live against replay. `python -m tests.replay.random_programs 10000` runs many more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def test_every_prefix_of_every_program_replays_exactly_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.replay.random_programs", "300"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout.splitlines()[-1].startswith("0 of 300 programs differ"), (
        done.stdout[-2000:] + done.stderr[-2000:]
    )
    assert done.returncode == 0


def test_the_comparison_notices_when_sets_of_tasks_iterate_by_address() -> None:
    code = (
        "from stepwell.guest import scheduler;"
        "del scheduler.RunTask.__hash__;"
        "from tests.replay.random_programs import compare;"
        "raise SystemExit(0 if compare(0, 60) else 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
