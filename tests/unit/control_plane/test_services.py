"""The tenant and workflow calls, over a real connection."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from stepwell.v1 import tenants_pb2, workflows_pb2
from tests.unit.control_plane.serving import Api, Part, header, reason, served


async def test_a_tenant_is_made_found_and_listed(api: Api) -> None:
    request = tenants_pb2.CreateTenantRequest(tenant_id="acme", request_id="r1", spread=4)
    made = await api.tenants.CreateTenant(request, metadata=api.operator)
    assert (made.name, made.spread) == ("tenants/acme", 4)
    assert made.create_time.ToMilliseconds() > 0
    assert await api.tenants.CreateTenant(request, metadata=api.operator) == made
    found = await api.tenants.GetTenant(tenants_pb2.GetTenantRequest(name=made.name), metadata=api.operator)
    assert found == made
    await api.tenant("globex")
    first = await api.tenants.ListTenants(tenants_pb2.ListTenantsRequest(page_size=1), metadata=api.operator)
    again = tenants_pb2.ListTenantsRequest(page_size=1, page_token=first.next_page_token)
    second = await api.tenants.ListTenants(again, metadata=api.operator)
    names = [tenant.name for tenant in (*first.tenants, *second.tenants)]
    assert (names, second.next_page_token) == (["tenants/acme", "tenants/globex"], "")


async def test_tenant_calls_are_the_operators_alone(api: Api) -> None:
    mine = await api.tenant("acme")
    for call in (
        api.tenants.CreateTenant(tenants_pb2.CreateTenantRequest(tenant_id="mine"), metadata=mine),
        api.tenants.GetTenant(tenants_pb2.GetTenantRequest(name="tenants/acme"), metadata=mine),
        api.tenants.ListTenants(tenants_pb2.ListTenantsRequest(), metadata=mine),
        api.tenants.CreateToken(tenants_pb2.CreateTokenRequest(parent="tenants/acme"), metadata=mine),
        api.tenants.ListTokens(tenants_pb2.ListTokensRequest(parent="tenants/acme"), metadata=mine),
        api.tenants.RevokeToken(tenants_pb2.RevokeTokenRequest(name="tenants/acme/tokens/" + "0" * 16), metadata=mine),
    ):
        assert await reason(call) == "PERMISSION_DENIED"


@pytest.mark.parametrize("parent", ["tenants/acme", "tenants/-"])
async def test_a_tenant_deploys_and_reads_what_it_deployed(api: Api, parent: str) -> None:
    mine = await api.tenant("acme")
    deployed = await api.deploy(parent, mine)
    version = deployed.version
    assert deployed.created
    assert version.name.startswith("tenants/acme/versions/sha256-")
    assert (version.file_count, version.size_bytes, dict(version.manifest.vars)) == (1, 4, {"REGION": "eu"})
    (workflow,) = deployed.workflows
    assert (workflow.name, workflow.version, workflow.entrypoint) == (
        "tenants/acme/workflows/order", version.name, "main:Order",
    )  # fmt: skip
    stub = api.workflows
    assert await stub.GetVersion(workflows_pb2.GetVersionRequest(name=version.name), metadata=mine) == version
    assert await stub.GetWorkflow(workflows_pb2.GetWorkflowRequest(name=workflow.name), metadata=mine) == workflow
    listed = await stub.ListWorkflows(workflows_pb2.ListWorkflowsRequest(parent=parent), metadata=mine)
    assert list(listed.workflows) == [workflow]
    again = await api.deploy(parent, mine)
    assert not again.created
    assert again.version == version


async def test_versions_come_newest_first_page_by_page(api: Api) -> None:
    mine = await api.tenant("acme")
    names = [(await api.deploy("tenants/-", mine, code=code)).version.name for code in (b"1", b"2", b"3")]
    request = workflows_pb2.ListVersionsRequest(parent="tenants/acme", page_size=2)
    first = await api.workflows.ListVersions(request, metadata=mine)
    request.page_token = first.next_page_token
    second = await api.workflows.ListVersions(request, metadata=mine)
    assert [version.name for version in (*first.versions, *second.versions)] == names[::-1]
    other = workflows_pb2.ListWorkflowsRequest(parent="tenants/acme", page_token=first.next_page_token)
    assert await reason(api.workflows.ListWorkflows(other, metadata=mine)) == "INVALID_ARGUMENT"


async def test_what_is_not_mine_and_what_does_not_exist_are_refused_in_the_same_words(api: Api) -> None:
    mine = await api.tenant("acme")
    await api.tenant("globex")
    messages: set[str | None] = set()
    for other in ("globex", "nobody"):
        for call in (
            api.deploy(f"tenants/{other}", mine),
            api.workflows.ListVersions(workflows_pb2.ListVersionsRequest(parent=f"tenants/{other}"), metadata=mine),
            api.workflows.GetWorkflow(
                workflows_pb2.GetWorkflowRequest(name=f"tenants/{other}/workflows/order"), metadata=mine
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
            messages.add(ended.value.details())
    assert len(messages) == 1


async def test_a_stream_that_is_no_deploy_is_refused(api: Api) -> None:
    mine = await api.tenant("acme")
    begin, file = header("tenants/acme"), Part(file=Part.File(path="main.py"))
    for parts in ((file,), (begin, begin), (begin, file, Part())):
        assert await reason(api.deploy("", mine, *parts)) == "INVALID_ARGUMENT"
    large = Part(chunk=b"x" * (1024 * 1024 + 1))
    assert await reason(api.deploy("", mine, begin, file, large)) == "LIMIT_EXCEEDED"
    climbing = Part(file=Part.File(path="../main.py"))
    assert await reason(api.deploy("", mine, begin, climbing)) == "BUNDLE_REFUSED"


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as before:
        mine = await before.tenant("acme")
        deployed = await before.deploy("tenants/-", mine)
    async with served(tmp_path) as after:
        name = deployed.workflows[0].name
        found = await after.workflows.GetWorkflow(workflows_pb2.GetWorkflowRequest(name=name), metadata=mine)
        assert found == deployed.workflows[0]
