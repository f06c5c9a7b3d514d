"""An instance stays on the version it was created with, whatever is deployed and killed meanwhile."""

from __future__ import annotations

import json

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer
from tests.e2e.server import until

WORKFLOW = "tenants/acme/workflows/pinned"
WARM = 2
"""Sandboxes without a tenant's code that stand ready; see `[loader] warm_sandboxes`."""


@pytest.mark.parametrize("killed", [False, True], ids=["the server goes on", "the server is killed in between"])
async def test_a_sleeping_instance_wakes_on_its_own_version(make_server: MakeServer, killed: bool) -> None:
    server = make_server(config="[loader]\nidle_timeout_ms = 300\n")
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        old = await api.deploy("acme", BUNDLES / "pinned_old")
        sleeper = await api.create(WORKFLOW, {"sleep": 4_000}, id="sleeper")
        waiter = await api.create(WORKFLOW, {"sleep": 0}, id="waiter")
        for each in (sleeper, waiter):
            await api.reached(each.name, lambda instance: instance.status == pb.INSTANCE_STATUS_WAITING)
        new = await api.deploy("acme", BUNDLES / "pinned_new")
        assert new != old
        if killed:
            await server.kill()
            await server.start()
        else:
            await until("no sandbox has the old code loaded", lambda: len(server.sandboxes()) <= WARM, 10)
        young = await api.create(WORKFLOW, {"sleep": 0}, id="young")
        outputs = {}
        for each in (sleeper, waiter, young):
            await api.send_event(each.name, "go", None)
            ended = await api.ended(each.name)
            outputs[each.name.rpartition("/")[2]] = (ended.version, json.loads(ended.output))
        assert outputs == {
            "sleeper": (old, ["old", "old"]),
            "waiter": (old, ["old", "old"]),
            "young": (new, ["new", "new"]),
        }
