"""One machine's store, written by the previous commit's program up to a SIGKILL: this one goes on with it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from scripts.other_commit import unpacked
from tests.e2e.api import Api
from tests.e2e.server import Server
from tests.e2e.traffic import Traffic
from tests.servers.upgraded_from import COMMIT

SEED = 4
INSTANCES = 24


@pytest.mark.timeout(300)
async def test_what_the_previous_one_left_on_this_machine_goes_on(tmp_path: Path) -> None:
    server, upgraded, began = Server(tmp_path / "server", sandbox="process"), False, time.monotonic()
    of_now = dict(server.environ)
    server.environ = of_now | {"PYTHONPATH": unpacked(COMMIT, tmp_path / "previous")}
    try:
        await server.start()
        async with Api(server.endpoint, server.token) as api:
            traffic = Traffic(api, ("acme",), INSTANCES, SEED)
            await traffic.deploy()
            carried = asyncio.ensure_future(traffic.carry_on(lambda: 1.0 if upgraded else 0.7))
            await asyncio.sleep(2)
            await server.kill()
            server.environ, upgraded = of_now, True
            await server.start()
            await traffic.finished(carried)
            assert await traffic.verdict() == [], server.last_words()
        print(f"upgraded from {COMMIT}: all ended after {time.monotonic() - began:.0f} s", file=sys.stderr)
        assert await server.stop() == 0
    finally:
        server.end()
