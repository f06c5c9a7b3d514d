"""What tokens are for: the calls that they open, those that they don't, and how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from cluster.directory import Directory
from cluster.store_sqlite import SqliteStore
from stepwell.client.errors import error_from
from stepwell.v1 import tenants_pb2, workflows_pb2
from tests.unit.control_plane.serving import Api, Part, header, reason


async def test_a_token_is_made_listed_and_revoked(api: Api) -> None:
    await api.tenant("acme")
    reader, reading = await api.token("tenants/acme", tenants_pb2.TOKEN_SCOPE_READ)
    listed = await api.tenants.ListTokens(tenants_pb2.ListTokensRequest(parent="tenants/acme"), metadata=api.operator)
    assert len(listed.tokens) == 2
    assert [*listed.tokens[0].scopes] == [
        tenants_pb2.TOKEN_SCOPE_READ,
        tenants_pb2.TOKEN_SCOPE_RUN,
        tenants_pb2.TOKEN_SCOPE_DEPLOY,
    ]
    assert listed.tokens[1] == reader
    await api.workflows.ListWorkflows(workflows_pb2.ListWorkflowsRequest(parent="tenants/-"), metadata=reading)
    request = tenants_pb2.RevokeTokenRequest(name=reader.name)
    for _ in range(20):
        await api.workflows.ListWorkflows(workflows_pb2.ListWorkflowsRequest(parent="tenants/-"), metadata=reading)
    await api.tenants.RevokeToken(request, metadata=api.operator)
    listing = api.workflows.ListWorkflows(workflows_pb2.ListWorkflowsRequest(parent="tenants/-"), metadata=reading)
    assert await reason(listing) == "UNAUTHENTICATED"
    assert await reason(api.tenants.RevokeToken(request, metadata=api.operator)) == "NOT_FOUND"


async def test_a_revocation_is_answered_when_it_has_been_heard_of(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.tenant("acme")
    token, _ = await api.token("tenants/acme")
    waited_for: list[int] = []
    heard = Directory.heard

    async def hear(directory: Directory, revision: int) -> None:
        await heard(directory, revision)
        waited_for.append(revision)

    monkeypatch.setattr(Directory, "heard", hear)
    await api.tenants.RevokeToken(tenants_pb2.RevokeTokenRequest(name=token.name), metadata=api.operator)
    assert len(waited_for) == 1


async def test_operators_make_list_and_revoke_operators_tokens(api: Api) -> None:
    token, another = await api.token("")
    assert not token.scopes
    await api.tenants.ListTenants(tenants_pb2.ListTenantsRequest(), metadata=another)
    listed = await api.tenants.ListTokens(tenants_pb2.ListTokensRequest(), metadata=another)
    assert listed.tokens[1] == token
    first = tenants_pb2.RevokeTokenRequest(name=listed.tokens[0].name)
    await api.tenants.RevokeToken(first, metadata=another)
    assert await reason(api.tenants.ListTenants(tenants_pb2.ListTenantsRequest(), metadata=api.operator)) == (
        "UNAUTHENTICATED"
    )
    last = tenants_pb2.RevokeTokenRequest(name=token.name)
    assert await reason(api.tenants.RevokeToken(last, metadata=another)) == "WRONG_STATE"


@pytest.mark.parametrize("scopes", [[tenants_pb2.TOKEN_SCOPE_UNSPECIFIED], [99]])
async def test_a_scope_that_is_none_is_refused(api: Api, scopes: list[int]) -> None:
    await api.tenant("acme")
    request = tenants_pb2.CreateTokenRequest(parent="tenants/acme", scopes=scopes)  # type: ignore[arg-type]
    assert await reason(api.tenants.CreateToken(request, metadata=api.operator)) == "INVALID_ARGUMENT"


async def test_an_operators_token_takes_no_scopes(api: Api) -> None:
    request = tenants_pb2.CreateTokenRequest(scopes=[tenants_pb2.TOKEN_SCOPE_READ])
    assert await reason(api.tenants.CreateToken(request, metadata=api.operator)) == "INVALID_ARGUMENT"


async def test_each_scope_opens_its_own_calls_alone(api: Api) -> None:
    await api.tenant("acme")
    _, reader = await api.token("tenants/acme", tenants_pb2.TOKEN_SCOPE_READ)
    _, deployer = await api.token("tenants/acme", tenants_pb2.TOKEN_SCOPE_DEPLOY)
    _, runner = await api.token("tenants/acme", tenants_pb2.TOKEN_SCOPE_RUN)
    listing = workflows_pb2.ListVersionsRequest(parent="tenants/-")
    await api.workflows.ListVersions(listing, metadata=reader)
    await api.deploy("tenants/-", deployer)
    for other in (deployer, runner):
        assert await reason(api.workflows.ListVersions(listing, metadata=other)) == "PERMISSION_DENIED"
    for other in (reader, runner):
        assert await reason(api.deploy("tenants/-", other)) == "PERMISSION_DENIED"


async def test_a_route_is_set_and_listed(api: Api) -> None:
    mine = await api.tenant("acme")
    old = (await api.deploy("tenants/-", mine, code=b"1")).version.name
    new = (await api.deploy("tenants/-", mine, code=b"2")).version.name
    listed = await api.workflows.ListRoutes(workflows_pb2.ListRoutesRequest(parent="tenants/acme"), metadata=mine)
    (before,) = listed.routes
    assert (before.name, before.version) == ("tenants/acme/workflows/order/route", new)
    request = workflows_pb2.SetRouteRequest(name=before.name, version=old, etag=before.etag)
    after = await api.workflows.SetRoute(request, metadata=mine)
    assert (after.name, after.version, after.entrypoint) == (before.name, old, "main:Order")
    assert after.etag != before.etag
    assert await reason(api.workflows.SetRoute(request, metadata=mine)) == "CONFLICT"
    workflow = workflows_pb2.GetWorkflowRequest(name="tenants/-/workflows/order")
    assert (await api.workflows.GetWorkflow(workflow, metadata=mine)).version == old
    request = workflows_pb2.SetRouteRequest(name=before.name, version=new)
    for wrong in ("tenants/acme/workflows/order", "tenants/acme/workflows/order/route/x", "route", ""):
        request.name = wrong
        assert await reason(api.workflows.SetRoute(request, metadata=mine)) == "INVALID_ARGUMENT"


async def test_a_route_leads_to_a_version_of_its_own_tenant(api: Api) -> None:
    mine = await api.tenant("acme")
    await api.tenant("globex")
    version = (await api.deploy("tenants/-", mine)).version.name
    request = workflows_pb2.SetRouteRequest(name="tenants/globex/workflows/order/route", version=version)
    assert await reason(api.workflows.SetRoute(request, metadata=api.operator)) == "INVALID_ARGUMENT"
    request = workflows_pb2.SetRouteRequest(
        name="tenants/-/workflows/order/route", version=version.replace("acme", "globex")
    )
    assert await reason(api.workflows.SetRoute(request, metadata=mine)) == "PERMISSION_DENIED"


async def test_a_deploy_may_leave_the_routes_alone(api: Api) -> None:
    mine = await api.tenant("acme")
    begin, file = header("tenants/acme"), Part(file=Part.File(path="main.py"))
    begin.header.no_route = True
    deployed = await api.deploy("", mine, begin, file, Part(chunk=b"code"))
    assert deployed.created
    assert not deployed.workflows
    listed = await api.workflows.ListRoutes(workflows_pb2.ListRoutesRequest(parent="tenants/-"), metadata=mine)
    assert not listed.routes


async def test_an_upload_ends_when_its_token_is_revoked(api: Api) -> None:
    await api.tenant("acme")
    token, mine = await api.token("tenants/acme")
    call = api.workflows.DeployVersion(metadata=mine)
    await call.write(header("tenants/-"))
    await call.write(Part(file=Part.File(path="main.py")))
    await api.tenants.RevokeToken(tenants_pb2.RevokeTokenRequest(name=token.name), metadata=api.operator)
    await api.calls.recheck()
    async with asyncio.timeout(10):
        assert await reason(call) == "TOKEN_REVOKED"


async def test_a_deploy_that_is_being_checked_ends_too_and_leaves_nothing(api: Api) -> None:
    await api.tenant("acme")
    token, mine = await api.token("tenants/acme")
    checking = asyncio.Event()

    async def without_end(*_: Any) -> None:
        checking.set()
        await asyncio.Event().wait()

    api.check.answer = without_end
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        deploying = group.create_task(reason(api.deploy("tenants/-", mine)))
        await checking.wait()
        await api.tenants.RevokeToken(tenants_pb2.RevokeTokenRequest(name=token.name), metadata=api.operator)
        await api.calls.recheck()
        assert await deploying == "TOKEN_REVOKED"
    assert not [path for path in api.bundles.rglob("*") if path.is_file()]


async def test_what_a_token_may_not_do_or_name_is_refused_before_anything_is_looked_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its own record is, which is remembered."""
    mine = await api.tenant("acme")
    await api.tenant("globex")
    _, reader = await api.token("tenants/acme", tenants_pb2.TOKEN_SCOPE_READ)
    listing = workflows_pb2.ListVersionsRequest(parent="tenants/-")
    for token in (mine, reader):
        await api.workflows.ListVersions(listing, metadata=token)
    looked_up: list[str] = []

    async def refuse(self: SqliteStore, key: str, *_: Any, **__: Any) -> None:
        looked_up.append(key)

    monkeypatch.setattr(SqliteStore, "get", refuse)
    monkeypatch.setattr(SqliteStore, "range", refuse)
    answers: set[tuple[str, str | None]] = set()
    for tenant in ("globex", "nobody"):
        for stub, method, request in foreign(api, tenant):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await getattr(stub, method)(request, metadata=mine)
            answers.add((error_from(ended.value).reason, ended.value.details()))
        deploying = [api.deploy(f"tenants/{tenant}", token) for token in (mine, reader)]
        for call in deploying:
            assert await reason(call) == "PERMISSION_DENIED"
    assert looked_up == []
    assert {reason for reason, _ in answers} == {"PERMISSION_DENIED"}
    assert len(answers) == 2


def foreign(api: Api, tenant: str) -> list[tuple[Any, str, Any]]:
    """Each call with one request of the control plane, made about another tenant: read off the protos."""
    found: list[tuple[Any, str, Any]] = []
    for stub, file in ((api.tenants, tenants_pb2), (api.workflows, workflows_pb2)):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if not method.client_streaming:
                    request = getattr(file, method.input_type.name)()
                    for field in method.input_type.fields_by_name.keys() & NAMES.keys():
                        form = NAMED.get(method.name, NAMES[field]) if field in ("name", "parent") else NAMES[field]
                        setattr(request, field, form.format(tenant))
                    found.append((stub, method.name, request))
    return found


NAMES = {"name": "", "parent": "tenants/{}", "tenant_id": "{}", "version": "tenants/{}/versions/sha256-" + "0" * 64}
NAMED = {
    "GetTenant": "tenants/{}",
    "RevokeToken": "tenants/{}/tokens/" + "0" * 16,
    "GetVersion": NAMES["version"],
    **dict.fromkeys(("ListVersionFiles", "GetVersionUsage", "DrainVersion", "RetireVersion"), NAMES["version"]),
    **dict.fromkeys(
        ("GetWorkflow", "DeleteWorkflow", "PauseSchedules", "ResumeSchedules"), "tenants/{}/workflows/order"
    ),
    **dict.fromkeys(("GetRoute", "SetRoute", "PromoteRoute", "RollBackRoute"), "tenants/{}/workflows/order/route"),
}
