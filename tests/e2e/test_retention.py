"""What has ended is gone when its time has come, and all of it, though the server is killed before and meanwhile."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from stepwell.v1 import instances_pb2 as pb
from stepwell.v1.resources_pb2 import Retention
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer
from tests.e2e.shell import Shell

WORKFLOW = "tenants/acme/workflows/kept"
BATCHES, EACH = 4, 100
KILLS = 4
MINUTE_MS, DAY_MS = 60_000, 86_400_000


@pytest.mark.timeout(300)
async def test_what_expires_is_gone_whole_whatever_is_killed(make_server: MakeServer) -> None:
    server = make_server()
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await Shell(server).document("deploy", str(BUNDLES / "kept"), "--tenant", "acme")
        kept = await _created(api, "kept", 3, Retention(success_ms=DAY_MS))
        gone = [name for number in range(BATCHES) for name in await _created(api, f"gone-{number}", EACH)]
        for name in (*kept, *gone):
            await api.ended(name)
        expire = [(await api.get(name)).expire_time.ToMilliseconds() for name in gone]
        restarted = gone.pop()
        await api.call(api.instances.RestartInstance, pb.RestartInstanceRequest(name=restarted))

        await server.kill()
        await server.start()
        assert len(await api.listed(WORKFLOW)) == len(kept) + len(gone) + 1, "all are there, since none has expired"
        assert (await api.get(gone[0])).expire_time.ToMilliseconds() == expire[0]
        again = (await api.ended(restarted)).expire_time.ToMilliseconds()
        assert again > max(expire)

        left = []
        await asyncio.sleep((min(expire) - _now_ms()) / 1000 + 0.3)
        for _ in range(KILLS):
            await server.kill()
            left.append(_instances(server.data / "journal.db"))
            await server.start()
            await asyncio.sleep(0.1)
        print(f"of {len(gone)} instances, the kills left {[len(each) for each in left]} journals")
        async with asyncio.timeout(60):
            while len(await api.listed(WORKFLOW)) > len(kept) + 1:
                await asyncio.sleep(0.1)
        assert {each.name for each in await api.listed(WORKFLOW)} - {restarted} == set(kept)
        for name in gone[::50]:
            _, reason = await api.refused(api.instances.GetInstance, pb.GetInstanceRequest(name=name))
            assert reason == "NOT_FOUND"
        for name in kept:
            assert json.loads((await api.get(name)).output) == "y" * 20_000
        await asyncio.sleep((again - _now_ms()) / 1000)
        async with asyncio.timeout(30):
            while len(await api.listed(WORKFLOW)) > len(kept):
                await asyncio.sleep(0.1)
    assert await server.stop() == 0
    ids = {name.rpartition("/")[2] for name in kept}
    assert _instances(server.data / "journal.db") == ids
    assert _count(server.data / "journal.db", "SELECT count(*) FROM blobs") == 2 * len(kept)
    assert _count(server.data / "logs.db", "SELECT count(DISTINCT instance) FROM lines") == len(kept)


async def _created(api: Api, prefix: str, count: int, retention: Retention | None = None) -> list[str]:
    item = pb.BatchCreateInstancesRequest.Item
    request = pb.BatchCreateInstancesRequest(
        parent=WORKFLOW,
        items=[item(instance_id=f"{prefix}-{number}", retention=retention) for number in range(count)],
        request_id=prefix,
    )
    answer = await api.call(api.instances.BatchCreateInstances, request)
    assert all(each.HasField("instance") for each in answer.results)
    return [each.instance.name for each in answer.results]


def _instances(journal: Path) -> set[str]:
    """Of which anything is there."""
    tables = ("rows", "blobs", "listings")
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        return {id for table in tables for (id,) in connection.execute(f"SELECT DISTINCT instance FROM {table}")}


def _count(database: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute(query).fetchone()[0])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
