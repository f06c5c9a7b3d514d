from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.running import Running, running
from tests.api.world import World, made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps everything."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    """One for all tests of a module; it may have failed in nothing."""
    with running(folder) as serving:
        yield serving
        assert serving.log.faults == []


@pytest.fixture(scope="module")
def world(server: Running) -> World:
    """Its two tenants."""
    return made(server)
