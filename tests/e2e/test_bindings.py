"""Workflows that create each other, through the public API on real sandboxes, and over a SIGKILL of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.server import Server

FAMILY = "tenants/acme/workflows/family"
CHILD = "tenants/acme/workflows/child"


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "bound")
        yield api


async def output(api: Api, **params: Any) -> Any:
    ended = await api.ended((await api.create(FAMILY, params)).name)
    assert ended.status == pb.INSTANCE_STATUS_COMPLETE, ended.error
    return json.loads(ended.output)


async def test_instances_create_steer_and_await_each_other(api: Api) -> None:
    assert await output(api, do="fans_out") == [{"slept": 1_500}, {"slept": 10}, {"slept": 1_500}]
    assert len(await api.listed(CHILD)) == 2, "what was tried again created nothing more"
    assert await output(api, do="steers", id="named") == [{"a": 1}, ": ValueError: no", "complete"]
    assert (await api.get(f"{CHILD}/instances/named")).parent.startswith(f"{FAMILY}/instances/")
    assert await output(api, do="goes_deep", depth=0) == [16, "LimitExceededError"]
    refused = ["NotFoundError", *["InvalidArgumentError"] * 3, "RunRestrictionError"]
    assert await output(api, do="misuses") == refused


async def test_a_child_is_rolled_back_by_its_parent(api: Api) -> None:
    child, status = await output(api, do="undoes_a_child")
    ended = await api.get(f"{CHILD}/instances/{child}")
    assert (status, ended.status) == ("terminated", pb.INSTANCE_STATUS_TERMINATED)
    assert ended.rollback.outcome == pb.ROLLBACK_OUTCOME_COMPLETE
    assert ("something", pb.STEP_KIND_ROLLBACK) in [(each.step_name, each.kind) for each in await api.steps(ended.name)]


@pytest.mark.timeout(180)
async def test_a_child_is_kept_for_as_long_as_its_parent_said(server: Server, api: Api) -> None:
    children = [await api.get(f"{CHILD}/instances/{each}") for each in await output(api, do="keeps_a_minute")]
    assert [each.expire_time.ToMilliseconds() - each.end_time.ToMilliseconds() for each in children] == [60_000, 60_000]
    await server.kill()
    await server.start()
    async with Api(server.endpoint, server.token) as again:
        assert len(await again.listed(CHILD)) == 2, "they are kept for a minute, whatever is killed"
        async with asyncio.timeout(90):
            while await again.listed(CHILD):
                await asyncio.sleep(0.5)
        _, reason = await again.refused(again.instances.GetInstance, pb.GetInstanceRequest(name=children[0].name))
        assert reason == "NOT_FOUND"


async def test_a_childs_end_reaches_its_parent_over_a_sigkill(server: Server, api: Api) -> None:
    name = (await api.create(FAMILY, {"do": "fans_out"})).name
    await api.reached(name, lambda found: found.status == pb.INSTANCE_STATUS_WAITING)
    await server.kill()
    await server.start()
    async with Api(server.endpoint, server.token) as again:
        assert json.loads((await again.ended(name)).output) == [{"slept": 1_500}, {"slept": 10}, {"slept": 1_500}]
