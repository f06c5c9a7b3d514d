"""Sleeping instances hold nothing; the command in `sleepers.py` says so of as many as one likes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.server import Server
from tests.e2e.sleepers import CONFIG, measure

SLEEPERS = 1_500


@pytest.mark.timeout(240)
async def test_sleepers_hold_no_sandbox_and_no_memory_and_all_wake_on_time_after_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path, config=CONFIG)
    try:
        figures = await measure(server, SLEEPERS, lambda text: print(text, file=sys.stderr, flush=True))
    finally:
        server.end()
    print(figures, file=sys.stderr)
    assert figures.faults() == []
