"""SIGKILL while a schedule's times come: each of them makes one instance.

A minute is the shortest time between two, so times that were missed stand in: while the server is down, its schedule is
put back, as if it had been down for so long. All of them are due when it starts again, and come one after the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.records import Schedules
from cluster.store import Delete, Put
from cluster.store_sqlite import open_sqlite_store
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import workflows_pb2 as w
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer
from tests.e2e.server import Server

WORKFLOW = "tenants/acme/workflows/ticking"
KILLS = 8
MISSED_MINUTES = 90
MINUTE_MS = 60_000


async def test_each_time_makes_one_instance_over_kills_of_the_server(make_server: MakeServer) -> None:
    server, chance = make_server(), random.Random(20_261_129)
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "ticking")
        await server.kill()
        since_ms = await put_back(server, MISSED_MINUTES)
        seen = cut = 0
        for _ in range(KILLS):
            await server.start()
            seen = await more_than(seen, api)
            cut += seen < MISSED_MINUTES - 10
            await asyncio.sleep(chance.uniform(0, 0.05))
            await server.kill()
        await server.start()
        paused = await paused_once(lambda made: len(made) >= MISSED_MINUTES - 1, api)
        assert paused.paused
        instances = [await api.ended(each.name) for each in await api.listed(WORKFLOW)]
        await server.kill()
        await put_back(server, MISSED_MINUTES, forget=True)
        await server.start()
        await asyncio.sleep(4)
        after = await api.listed(WORKFLOW)
    assert cut >= KILLS // 2, "most kills came after all was done"
    first = since_ms - since_ms % MINUTE_MS + MINUTE_MS
    times = sorted(each.schedule.scheduled_time.ToMilliseconds() for each in instances)
    assert times == [first + number * MINUTE_MS for number in range(len(times))]
    assert len(times) >= MISSED_MINUTES - 1
    for each in instances:
        due = each.schedule.scheduled_time.ToMilliseconds()
        assert each.status == pb.INSTANCE_STATUS_COMPLETE
        assert json.loads(each.output) == {"cron": "* * * * *", "scheduledTime": due}
        assert each.name.endswith(f"-{due}")
    assert {each.name for each in after} == {each.name for each in instances}, "made while it was paused"
    assert await server.stop() == 0


async def put_back(server: Server, minutes: int, *, forget: bool = False) -> int:
    """Have the stopped server's schedule be in force for so much longer; the time since then, in ms since the epoch.

    `forget` forgets how far it has come.
    """

    def fatal(error: BaseException) -> None:
        os.abort()

    async with open_sqlite_store(server.data / "control.db", on_fatal=fatal) as store:
        (stored,) = await store.range(keys.SCHEDULES, limit=2)
        record = decode_value(Schedules, stored)
        (scheduled,) = record.workflows
        (active,) = scheduled.active
        since_ms = active.since_ms - minutes * MINUTE_MS
        put = scheduled._replace(active=(active._replace(since_ms=since_ms),))
        mark = Delete(keys.ticked(record.tenant_uid, scheduled.workflow))
        written = Put(stored.key, encode(Schedules(record.tenant_uid, (put,))))
        await store.txn((), (written, mark) if forget else (written,))
    return since_ms


async def more_than(count: int, api: Api) -> int:
    """How many instances there are, once there are more, or all."""
    async with asyncio.timeout(30):
        while not count < (now := len(await api.listed(WORKFLOW))) and now < MISSED_MINUTES:
            await asyncio.sleep(0.01)
    return now


async def paused_once(holds: Callable[[list[pb.Instance]], bool], api: Api) -> w.WorkflowSchedules:
    """The schedules, paused as soon as that holds of what they made."""
    async with asyncio.timeout(60):
        while not holds(await api.listed(WORKFLOW)):
            await asyncio.sleep(0.1)
    answer: w.WorkflowSchedules = await api.call(api.workflows.PauseSchedules, w.PauseSchedulesRequest(name=WORKFLOW))
    return answer
