"""Servers that a test may kill: the shipped command on real gVisor, each with folders of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server

MakeServer = Callable[..., Server]


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """`make_server(config="", sandbox="gvisor")`; ended with the test, and nothing of it may be left then."""
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="stepwell-e2e-", ignore_cleanup_errors=True) as folder:

        def make(*, config: str = "", sandbox: str = "gvisor") -> Server:
            server = Server(Path(folder) / str(len(servers)), config=config, sandbox=sandbox)
            servers.append(server)
            return server

        yield make
        for server in servers:
            server.end()


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """Not started yet."""
    return make_server()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """One that serves all tests of a module."""
    with tempfile.TemporaryDirectory(prefix="stepwell-e2e-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        try:
            asyncio.run(server.start())
            yield server
        finally:
            server.end()
