"""An instance stays on the version it was created with, whatever is deployed and killed meanwhile."""

from __future__ import annotations

import json

import grpc
import pytest

from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import workflows_pb2
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


async def test_pinned_instances_go_on_across_a_canary_its_promotion_and_its_roll_back(make_server: MakeServer) -> None:
    server = make_server(config="[loader]\nidle_timeout_ms = 300\n")
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        old = await api.deploy("acme", BUNDLES / "pinned_old")
        new = await api.deploy("acme", BUNDLES / "pinned_new")
        word = {old: "old", new: "new"}
        targets = [workflows_pb2.RouteTarget(version=old, weight=50), workflows_pb2.RouteTarget(version=new, weight=50)]
        route = workflows_pb2.SetRouteRequest(name=f"{WORKFLOW}/route", targets=targets)
        await api.call(api.workflows.SetRoute, route)
        begun = {f"id-{number}": await api.create(WORKFLOW, {"sleep": 0}, id=f"id-{number}") for number in range(16)}
        assert {each.version for each in begun.values()} == {old, new}
        again = await api.create(WORKFLOW, {"sleep": 0}, request_id="same")
        promote = workflows_pb2.PromoteRouteRequest(name=route.name, version=new)
        promoted = await api.call(api.workflows.PromoteRoute, promote)
        assert [each.version for each in promoted.route.targets] == [new]
        assert [(each.version, each.weight) for each in promoted.replaced_targets] == [(old, 50), (new, 50)]
        assert (await api.create(WORKFLOW, {"sleep": 0}, request_id="same")).version == again.version
        assert {(await api.create(WORKFLOW, {"sleep": 0})).version for _ in range(8)} == {new}
        await server.kill()
        await server.start()
        await api.call(api.workflows.SetRoute, workflows_pb2.SetRouteRequest(name=route.name, version=new))
        rolled = await api.call(api.workflows.RollBackRoute, workflows_pb2.RollBackRouteRequest(name=route.name))
        assert [each.version for each in rolled.route.targets] == [old]
        assert (await api.create(WORKFLOW, {"sleep": 0})).version == old
        for each in begun.values():
            await api.send_event(each.name, "go", None)
        for each in begun.values():
            ended = await api.ended(each.name)
            assert (ended.version, json.loads(ended.output)) == (each.version, [word[each.version]] * 2)


async def test_a_version_is_drained_and_retired_once_its_instances_have_ended(make_server: MakeServer) -> None:
    server = make_server(config="[loader]\nidle_timeout_ms = 300\n")
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        old = await api.deploy("acme", BUNDLES / "pinned_old")
        waiter = await api.create(WORKFLOW, {"sleep": 0}, id="waiter")
        new = await api.deploy("acme", BUNDLES / "pinned_new")
        route = f"{WORKFLOW}/route"
        targets = [workflows_pb2.RouteTarget(version=new, weight=50), workflows_pb2.RouteTarget(version=old, weight=50)]
        await api.call(api.workflows.SetRoute, workflows_pb2.SetRouteRequest(name=route, targets=targets))
        retire = workflows_pb2.RetireVersionRequest(name=old)
        wrong_state = (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
        assert await api.refused(api.workflows.RetireVersion, retire) == wrong_state
        drained = await api.call(api.workflows.DrainVersion, workflows_pb2.DrainVersionRequest(name=old))
        assert [(each.version, each.weight) for each in drained.routes[0].targets] == [(new, 100)]
        assert await api.refused(api.workflows.RetireVersion, retire) == wrong_state
        usage = workflows_pb2.GetVersionUsageRequest(name=old)
        assert (await api.call(api.workflows.GetVersionUsage, usage)).pinned_instances == 1
        await api.send_event(waiter.name, "go", None)
        assert json.loads((await api.ended(waiter.name)).output) == ["old", "old"]
        await api.call(api.workflows.RetireVersion, retire)
        found = workflows_pb2.GetVersionRequest(name=old)
        assert (await api.refused(api.workflows.GetVersion, found))[1] == "NOT_FOUND"
        assert (await api.get(waiter.name)).version == old
        back = workflows_pb2.SetRouteRequest(name=route, version=old)
        assert (await api.refused(api.workflows.SetRoute, back))[1] == "NOT_FOUND"
        assert await api.deploy("acme", BUNDLES / "pinned_old") == old
        again = await api.create(WORKFLOW, {"sleep": 0}, id="again")
        await api.send_event(again.name, "go", None)
        assert json.loads((await api.ended(again.name)).output) == ["old", "old"]
