"""One server on real gVisor for the whole suite, with the bundle of workflows that it tries."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stepwell.client import connect
from tests.conformance.calls import TENANT, Calls
from tests.e2e.api import Api
from tests.e2e.server import Server

BUNDLE = Path(__file__).parent / "bundles" / "behaviours"


@pytest.fixture(scope="session")
def served() -> Iterator[Server]:
    """All tests are of one group, so that there is one of it."""
    with tempfile.TemporaryDirectory(prefix="stepwell-conformance-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        try:
            asyncio.run(start(server))
            yield server
        finally:
            server.end()


async def start(server: Server) -> None:
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant(TENANT)
        await api.deploy(TENANT, BUNDLE, {"COLOUR": "green"})


@pytest.fixture
async def calls(served: Server) -> AsyncIterator[Calls]:
    async with connect(served.endpoint, served.token) as client:
        yield Calls(client)
