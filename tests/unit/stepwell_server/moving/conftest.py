from __future__ import annotations

from pathlib import Path

import pytest

from stepwell_server.moving.exporting import export
from stepwell_server.moving.importing import Cluster
from tests.unit.stepwell_server.moving.installation import Installation, cluster, installation


@pytest.fixture
async def made(tmp_path: Path) -> Installation:
    """Exported into `out`."""
    found = await installation(tmp_path)
    await export(found.source, tmp_path / "out", file_bytes=256)
    return found


@pytest.fixture
def out(tmp_path: Path, made: Installation) -> Path:
    return tmp_path / "out"


@pytest.fixture
def target(tmp_path: Path) -> Cluster:
    return cluster(tmp_path)
