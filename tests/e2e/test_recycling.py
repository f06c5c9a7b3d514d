"""A sandbox that one instance is the end of: that instance hears why, and its neighbours in it go on in a new one."""

from __future__ import annotations

import json

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer

STEPS = 60
CONFIG = """
[loader]
warm_sandboxes = 1
loop_stall_ms = 1500
guest_limits = { abandonedThreads = 4 }

[gvisor]
memory_bytes_max = 134217728
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("workflow", "status", "told"),
    [
        ("spinner", pb.INSTANCE_STATUS_ERRORED, "its event loop stood still for over 1.5 s"),
        ("glutton", pb.INSTANCE_STATUS_ERRORED, "it used more than its 128 MiB of memory"),
        ("sticky", pb.INSTANCE_STATUS_COMPLETE, ""),
    ],
)
async def test_neighbours_of_what_ends_a_sandbox_go_on_in_a_new_one(
    make_server: MakeServer, workflow: str, status: pb.InstanceStatus.ValueType, told: str
) -> None:
    server = make_server(config=CONFIG)
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "recycled")
        steady = await api.create("tenants/acme/workflows/steady", {"steps": STEPS})
        await api.reached(steady.name, lambda found: found.status == pb.INSTANCE_STATUS_RUNNING)
        fatal = await api.create(f"tenants/acme/workflows/{workflow}", {})
        ended = await api.ended(fatal.name)
        assert ended.status == status
        if told:
            assert ended.error.type == "SandboxDiedError"
            assert told in ended.error.message
        else:
            assert json.loads(ended.output) == ["StepTimeoutError"] * 4
        survivor = await api.ended(steady.name)
        assert json.loads(survivor.output) == sum(range(STEPS))
        kinds = [event.type async for event in api.watch(steady.name)]
        assert kinds.count("sandboxDied") >= 1, "it was not in the sandbox that ended: the test shows nothing"
    assert await server.stop() == 0
