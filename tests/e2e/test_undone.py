"""What fails or is ended by a call is undone in sandboxes, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer

WORKFLOW = "tenants/acme/workflows/undone"
KILLS = 2


@pytest.mark.parametrize("waits", [False, True], ids=["it fails", "a call ends it"])
async def test_a_rollback_survives_kills_of_the_server(make_server: MakeServer, waits: bool) -> None:
    server, chance = make_server(), random.Random(20_240_817)
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "undone")
        name = (await api.create(WORKFLOW, {"waits": waits})).name
        if waits:
            await api.reached(name, lambda instance: instance.status == pb.INSTANCE_STATUS_WAITING)
            request = pb.TerminateInstanceRequest(name=name, request_id="once", rollback=True)
            await api.call(api.instances.TerminateInstance, request)
        for _ in range(KILLS):
            async with asyncio.timeout(20):
                while not any(step.kind == pb.STEP_KIND_ROLLBACK for step in await api.steps(name)):
                    await asyncio.sleep(0.02)
            await asyncio.sleep(chance.uniform(0, 0.3))
            await server.kill()
            await server.start()
        if waits:
            await api.call(api.instances.TerminateInstance, request)  # the answer to the first may have been lost
        ended = await api.ended(name)
        steps = await api.steps(name)
    assert ended.status == (pb.INSTANCE_STATUS_TERMINATED if waits else pb.INSTANCE_STATUS_ERRORED)
    assert (ended.rollback.outcome, ended.rollback.HasField("error")) == (pb.ROLLBACK_OUTCOME_COMPLETE, False)
    assert ended.error.message == ("" if waits else "over")
    undone = [step for step in steps if step.kind == pb.STEP_KIND_ROLLBACK]
    assert {step.status for step in undone} == {pb.STEP_STATUS_COMPLETE}
    order = sorted(undone, key=lambda step: step.end_time.ToMilliseconds())
    assert [step.step_name for step in order] == ["step 3", "step 2", "step 1", "step 0"]
    assert await server.stop() == 0
