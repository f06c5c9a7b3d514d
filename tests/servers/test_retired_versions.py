"""The end of a version and of a workflow in a cluster: what nodes remember of routes is waited out; of a version, all
owners are asked, and the lists.

The tenant's instances lie in many shards, so that each node has some.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from cluster.directory import ROUTE_AGE_S, STALENESS_S
from stepwell.v1 import instances_pb2, workflows_pb2
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
        await asyncio.gather(
            api.workflows.RetireVersion(retire, metadata=api.metadata, timeout=RETIRE_S_MAX), _a_workflow_goes(api)
        )
        assert time.monotonic() - asked_s >= STALENESS_S + ROUTE_AGE_S
        found = workflows_pb2.GetVersionRequest(name=old)
        assert (await api.refused(api.workflows.GetVersion, found))[1] == "NOT_FOUND"
        assert (await api.get(begun[0].name)).version == old
        assert await api.deploy("ended", BUNDLES / "pinned_old") == old
        again = await api.create(WORKFLOW, {"sleep": 0}, id="again")
        assert again.version == old
        await api.send_event(again.name, "go", None)
        await api.ended(again.name)


async def _a_workflow_goes(api: Api) -> None:
    """No node creates an instance of it any more once that is answered, and those that there are can be deleted."""
    await api.create_tenant("leaving", SPREAD)
    await api.deploy("leaving", BUNDLES / "pinned_new")
    workflow, ids = "tenants/leaving/workflows/pinned", [f"i{number}" for number in range(INSTANCES)]
    for id in ids:
        await api.create(workflow, {"sleep": 0}, id=id)
    asked_s = time.monotonic()
    gone = workflows_pb2.DeleteWorkflowRequest(name=workflow)
    await api.workflows.DeleteWorkflow(gone, metadata=api.metadata, timeout=RETIRE_S_MAX)
    assert time.monotonic() - asked_s >= STALENESS_S + ROUTE_AGE_S
    for number in range(INSTANCES):
        late = instances_pb2.CreateInstanceRequest(parent=workflow, instance_id=f"late-{number}")
        assert (await api.refused(api.instances.CreateInstance, late))[1] == "NOT_FOUND"
    batch = instances_pb2.BatchDeleteInstancesRequest(parent=workflow, instance_ids=ids, request_id="leaving")
    deleted = await api.call(api.instances.BatchDeleteInstances, batch)
    assert not [each.error for each in deleted.results if each.HasField("error")]
    for id in ids:
        asked = instances_pb2.GetInstanceRequest(name=f"{workflow}/instances/{id}")
        assert (await api.refused(api.instances.GetInstance, asked))[1] == "NOT_FOUND"
    listed = instances_pb2.ListInstancesRequest(parent=workflow)
    assert not (await api.call(api.instances.ListInstances, listed)).instances
