"""An instance of as many steps as one may have: it ends, also over a SIGKILL late in its life, and its steps are listed
page by page."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.engine.limits import EngineLimits
from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import Api
from tests.e2e.server import Server

BUNDLE = Path(__file__).parents[2] / "bench" / "bundle"
STEPS = EngineLimits().steps_max
KILLED_AT = STEPS * 9 // 10


@pytest.mark.timeout(240)
async def test_ten_thousand_steps_end_over_a_sigkill_and_are_listed_in_pages(server: Server) -> None:
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLE)
        name = (await api.create("tenants/acme/workflows/steps", {"steps": STEPS})).name
        seen = 0
        async for event in api.watch(name):
            seen += event.type == "stepCompleted"
            if seen == KILLED_AT:
                break
        await server.kill()
        await server.start()
        ended = await api.ended(name, 120)
        assert ended.status == pb.INSTANCE_STATUS_COMPLETE, ended
        assert ended.output == str(sum(range(STEPS))).encode()
        steps = await api.steps(name)
        assert [step.step_name for step in steps] == [f"step {number}" for number in range(STEPS)]
        assert {step.status for step in steps} == {pb.STEP_STATUS_COMPLETE}
        page = await api.call(api.instances.ListSteps, pb.ListStepsRequest(parent=name, page_size=STEPS))
        assert len(page.steps) < STEPS, "one answer never has them all"
