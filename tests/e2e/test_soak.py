"""Nothing grows while honest and hostile tenants work and sandboxes die; `soak.py` says so of as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.hostile.scene import CONFIG
from tests.e2e.server import Server
from tests.e2e.soak import measure, tell

SECONDS = 45


@pytest.mark.timeout(300)
async def test_memory_threads_files_processes_control_groups_and_disk_level_off(tmp_path: Path) -> None:
    server = Server(tmp_path, config=CONFIG)
    try:
        figures = await measure(server, SECONDS, tell)
    finally:
        server.end()
    tell(str(figures))
    assert figures.faults() == []
