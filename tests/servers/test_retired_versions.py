"""A version's end in a cluster: all owners are asked, and the lists, and what nodes remember of routes is waited out.

The tenant's instances lie in many shards, so that each node has some.
"""

from __future__ import annotations

import time

import grpc
import pytest

from cluster.directory import ROUTE_AGE_S, STALENESS_S
from stepwell.v1 import workflows_pb2
from tests.e2e.api import BUNDLES, Api
from tests.servers.installation import Installation

pytestmark = pytest.mark.timeout(600)

SPREAD = 16
INSTANCES = 12
WORKFLOW = "tenants/ended/workflows/pinned"
RETIRE_S_MAX = 120.0


async def test_a_version_is_retired_once_no_node_has_an_instance_of_it(installation: Installation) -> None:
    async with Api(installation.addresses, installation.cluster.token, installation.authority) as api:
        await api.create_tenant("ended", SPREAD)
        old = await api.deploy("ended", BUNDLES / "pinned_old")
        begun = [await api.create(WORKFLOW, {"sleep": 0}, id=f"i{number}") for number in range(INSTANCES)]
        await api.deploy("ended", BUNDLES / "pinned_new")
        usage = workflows_pb2.GetVersionUsageRequest(name=old)
        assert (await api.call(api.workflows.GetVersionUsage, usage)).pinned_instances == INSTANCES
        retire = workflows_pb2.RetireVersionRequest(name=old)
        refused = await api.refused(api.workflows.RetireVersion, retire)
        assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
        for each in begun:
            await api.send_event(each.name, "go", None)
        for each in begun:
            await api.ended(each.name)
        asked_s = time.monotonic()
        await api.workflows.RetireVersion(retire, metadata=api.metadata, timeout=RETIRE_S_MAX)
        assert time.monotonic() - asked_s >= STALENESS_S + ROUTE_AGE_S
        found = workflows_pb2.GetVersionRequest(name=old)
        assert (await api.refused(api.workflows.GetVersion, found))[1] == "NOT_FOUND"
        assert (await api.get(begun[0].name)).version == old
        assert await api.deploy("ended", BUNDLES / "pinned_old") == old
        again = await api.create(WORKFLOW, {"sleep": 0}, id="again")
        assert again.version == old
        await api.send_event(again.name, "go", None)
        await api.ended(again.name)
