"""Tokens as they are lived with: narrowed, revoked under open streams, lost and found; and never seen."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import tenants_pb2, workflows_pb2
from stepwell.v1.tenants_pb2 import TOKEN_SCOPE_DEPLOY, TOKEN_SCOPE_READ, TOKEN_SCOPE_RUN
from tests.e2e.api import BUNDLES, Api, reason_of
from tests.e2e.conftest import MakeServer
from tests.e2e.server import Server
from tests.e2e.shell import Shell

REVOKED_S_MAX = 5.0
LOOPBACK = ("0100007F:", "0000000000000000FFFF00000100007F:")
"""127.0.0.1, as the kernel shows it for a socket of each family."""

Part = workflows_pb2.DeployVersionRequest
HEADER = Part.Header(
    parent="tenants/-",
    manifest=workflows_pb2.Manifest(workflows=[workflows_pb2.WorkflowEntry(workflow_id="o", entrypoint="main:O")]),
)
WORKFLOW = "tenants/acme/workflows/behaviours"


@pytest.fixture
async def server(make_server: MakeServer) -> AsyncIterator[Server]:
    """A server that serves, in which a tenant has deployed."""
    made = make_server(sandbox="process", config="[rpc]\nwatches_per_tenant_max = 4\n")
    await made.start()
    async with Api(made.endpoint, made.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "behaviours")
    yield made
    if made.starts:
        assert await made.stop() == 0


async def minted(api: Api, parent: str, *scopes: tenants_pb2.TokenScope.ValueType) -> tuple[str, str]:
    """The name and the secret of a new token."""
    answer = await api.call(api.tenants.CreateToken, tenants_pb2.CreateTokenRequest(parent=parent, scopes=scopes))
    return answer.token.name, answer.secret


async def begun(call: Any) -> None:
    """Its server has said something."""
    await call.read()


async def end_of(call: Any) -> grpc.aio.AioRpcError:
    """How it ends, whatever it says until then."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("it ended well")


async def test_what_a_token_began_ends_within_five_seconds_of_its_revocation(server: Server) -> None:
    async with Api(server.endpoint, server.token) as operator:
        name, secret = await minted(operator, "tenants/acme")
        _, another = await minted(operator, "tenants/acme")
        waiting = await operator.create(WORKFLOW, {"do": "events"})
        async with Api(server.endpoint, secret) as mine, Api(server.endpoint, another) as others:
            request = pb.WatchInstanceRequest(name=waiting.name)
            watch = mine.instances.WatchInstance(request, metadata=mine.metadata)
            kept = others.instances.WatchInstance(request, metadata=others.metadata)
            logs = mine.instances.WatchLogs(pb.WatchLogsRequest(name=waiting.name), metadata=mine.metadata)
            upload = mine.workflows.DeployVersion(metadata=mine.metadata)
            await begun(watch)
            await begun(kept)
            for part in (Part(header=HEADER), Part(file=Part.File(path="main.py")), Part(chunk=b"unfinished")):
                await upload.write(part)
            following = await Shell(server, secret).begin("instances", "watch", "behaviours", "latest", "-o", "json")
            assert following.stdout is not None
            await following.stdout.readline()
            revoked_at = time.monotonic()
            await operator.call(operator.tenants.RevokeToken, tenants_pb2.RevokeTokenRequest(name=name))
            listing = pb.ListInstancesRequest(parent=WORKFLOW)
            refused = await mine.refused(mine.instances.ListInstances, listing)
            assert refused == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
            async with asyncio.timeout(REVOKED_S_MAX):
                ends = await asyncio.gather(end_of(watch), end_of(logs))
                _, said = await following.communicate()
                with pytest.raises(grpc.aio.AioRpcError) as ended:
                    await upload
            print(f"everything had ended {time.monotonic() - revoked_at:.2f} s after the revocation")
            for error in (*ends, ended.value):
                assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
            assert following.returncode == 1
            assert json.loads(said)["reason"] == "TOKEN_REVOKED"
            for payload in range(2):
                await others.send_event(waiting.name, "go", payload)
            seen = [event.type async for event in kept_on(kept)]
            assert seen[-1] == "completed"


async def kept_on(call: Any) -> AsyncIterator[pb.InstanceEvent]:
    while (event := await call.read()) is not grpc.aio.EOF:
        yield event


async def test_a_narrow_token_does_its_own_and_nothing_else(server: Server) -> None:
    async with Api(server.endpoint, server.token) as operator:
        scopes = (TOKEN_SCOPE_READ, TOKEN_SCOPE_RUN, TOKEN_SCOPE_DEPLOY)
        read, run, deploy = [(await minted(operator, "tenants/acme", scope))[1] for scope in scopes]
    reader, runner, deployer = (Shell(server, secret) for secret in (read, run, deploy))
    trigger = ("workflows", "trigger", "behaviours", "--params", '{"do": "nothing"}', "--id", "mine")
    look = ("instances", "list", "behaviours")
    upload = ("deploy", str(BUNDLES / "behaviours"))
    triggered = await runner.document(*trigger)
    assert (triggered["id"], triggered["params"], triggered["output"]) == ("mine", None, None)
    await runner.document("workflows", "trigger", "behaviours", "--params", '{"do": "events"}', "--id", "other")
    steered = await runner.document("instances", "terminate", "behaviours", "other")
    assert (steered["status"], steered["params"], steered["steps"]) == ("terminated", None, None)
    assert (await reader.document("instances", "describe", "behaviours", "other"))["params"] == {"do": "events"}
    assert {item["id"] for item in (await reader.document(*look))["items"]} == {"mine", "other"}
    await deployer.document(*upload)
    for shell, words in (
        (reader, trigger), (reader, upload), (runner, look), (runner, upload), (deployer, look), (deployer, trigger),
        (reader, ("tenants", "list")), (deployer, ("tokens", "list", "--tenant", "acme")),
    ):  # fmt: skip
        assert (await shell.refused(*words))["reason"] == "PERMISSION_DENIED", words


async def test_a_tenants_watches_are_bounded_and_anothers_are_not_touched(server: Server) -> None:
    async with Api(server.endpoint, server.token) as operator:
        await operator.create_tenant("globex")
        await operator.deploy("globex", BUNDLES / "behaviours")
        waiting = [
            await operator.create(f"tenants/{tenant}/workflows/behaviours", {"do": "events"}, id="w")
            for tenant in ("acme", "globex")
        ]
        secrets = [(await minted(operator, f"tenants/{tenant}"))[1] for tenant in ("acme", "globex")]
    async with Api(server.endpoint, secrets[0]) as flooding, Api(server.endpoint, secrets[1]) as honest:
        request = pb.WatchInstanceRequest(name=waiting[0].name)
        watches = [flooding.instances.WatchInstance(request, metadata=flooding.metadata) for _ in range(4)]
        for watch in watches:
            await begun(watch)
        refused = await end_of(flooding.instances.WatchInstance(request, metadata=flooding.metadata))
        assert (refused.code(), reason_of(refused)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        other = honest.instances.WatchInstance(pb.WatchInstanceRequest(name=waiting[1].name), metadata=honest.metadata)
        await begun(other)
        watches[0].cancel()
        async with asyncio.timeout(10):
            while True:
                again = flooding.instances.WatchInstance(request, metadata=flooding.metadata)
                try:
                    await begun(again)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)


async def test_tokens_are_seen_once_and_nowhere_else(server: Server, tmp_path: Path) -> None:
    shell = Shell(server)
    status, out, err = await shell.run("tokens", "create", "--tenant", "acme")
    secret = out.strip().rpartition("_")[2]
    assert (status, len(secret), secret in err) == (0, 64, False)
    token_id = out.split("_")[1]
    listed = await shell.document("tokens", "list", "--tenant", "acme")
    assert [item["token"] for item in listed["items"]] == [token_id]
    assert listed["items"][0]["scopes"] == ["read", "run", "deploy"]
    mine = Shell(server, out.strip())
    await mine.document("workflows", "list")
    words: tuple[tuple[str, ...], ...] = (
        ("tenants", "create", out.strip()), ("instances", "watch", "behaviours", "latest", "--cursor", out.strip()),
        ("tenants", "list"), ("instances", "describe", "behaviours", "nobody"), ("tokens", "revoke", token_id),
    )  # fmt: skip
    for each in words:
        for ending in ((), ("-o", "json")):
            status, told, said = await mine.run(*each, *ending)
            assert status != 0
            assert secret not in told + said, each
    await shell.document("tokens", "revoke", token_id, "--tenant", "acme")
    assert (await mine.refused("workflows", "list"))["reason"] == "UNAUTHENTICATED"
    for path in (server.log, *(path for path in server.data.rglob("*") if path.is_file())):
        assert secret.encode() not in path.read_bytes(), path
        assert server.token.rpartition("_")[2].encode() not in path.read_bytes(), path


async def test_contexts_hold_what_the_command_needs(server: Server) -> None:
    shell = Shell(server)
    made = await shell.document("tokens", "create", "--tenant", "acme", "--scope", "read")
    added = await shell.document(
        "contexts", "add", "reader", "--endpoint", server.endpoint, stdin=f"{made['secret']}\n"
    )
    assert added == {"name": "reader", "endpoint": server.endpoint, "current": False}
    await shell.document("contexts", "use", "reader")
    assert await shell.document("workflows", "list")
    assert (await shell.refused("tenants", "list"))["reason"] == "PERMISSION_DENIED"
    await shell.document("contexts", "use", server.endpoint)
    assert await shell.document("tenants", "list")
    status, told, said = await shell.run("contexts", "list")
    assert status == 0
    assert "swk_" not in told + said


@pytest.mark.timeout(180)
async def test_whoever_lost_the_operators_token_has_one_again_at_the_next_start(server: Server) -> None:
    shell, first = Shell(server), server.token
    last = await shell.refused("tokens", "revoke", first.split("_")[1], "--operator")
    assert last["reason"] == "WRONG_STATE"
    other = (await shell.document("tokens", "create", "--operator"))["secret"]
    await Shell(server, other).document("tokens", "revoke", first.split("_")[1], "--operator")
    assert (await shell.refused("tenants", "list"))["reason"] == "UNAUTHENTICATED"
    assert await server.stop() == 0
    await server.start()
    assert server.token != first
    assert [item["tenant"] for item in (await shell.document("tenants", "list"))["items"]] == ["acme"]
    await Shell(server, other).document("tenants", "list")
    kept = server.token
    assert await server.stop() == 0
    await server.start()
    assert server.token == kept


async def test_routes_lead_new_instances_and_leave_running_ones_alone(server: Server) -> None:
    shell, acme = Shell(server), ("--tenant", "acme")
    old = (await shell.document("routes", "list", *acme))["items"][0]
    running = await shell.document("workflows", "trigger", "behaviours", *acme, "--params", '{"do": "events"}')
    async with Api(server.endpoint, server.token) as api:
        new = (await api.deploy("acme", BUNDLES / "behaviours", {"N": "2"})).rpartition("/")[2]
    assert new != old["version"]
    described = await shell.document("versions", "describe", new, *acme)
    assert described["vars"] == {"N": "2"}
    stale = await shell.refused("routes", "set", "behaviours", old["version"], *acme, "--etag", old["etag"])
    assert (stale["reason"], stale["code"]) == ("CONFLICT", "ABORTED")
    back = await shell.document("routes", "set", "behaviours", old["version"], *acme)
    assert back["version"] == old["version"]
    trigger = ("workflows", "trigger", "behaviours", *acme, "--params", '{"do": "nothing"}')
    assert (await shell.document(*trigger))["version"] == old["version"]
    await shell.document("routes", "set", "behaviours", new, *acme, "--etag", back["etag"])
    assert (await shell.document(*trigger))["version"] == new
    still = await shell.document("instances", "describe", "behaviours", running["id"], *acme)
    assert still["version"] == old["version"]
    unrouted = await shell.document("deploy", str(BUNDLES / "story"), *acme, "--no-route")
    assert unrouted["created"]
    late = await shell.refused("workflows", "trigger", "order", *acme)
    assert late["reason"] == "NOT_FOUND"
    await shell.document("routes", "set", "order", unrouted["version"], *acme)
    assert (await shell.document("workflows", "trigger", "order", *acme))["version"] == unrouted["version"]


async def test_reflection_tells_what_the_api_is_to_who_has_a_token(server: Server) -> None:
    async with Api(server.endpoint, server.token) as api:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(api.channel)  # type: ignore[arg-type]
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = [each async for each in stub.ServerReflectionInfo(iter([asked]), metadata=api.metadata)]
        names = {service.name for service in answer.list_services_response.service}
        assert names >= {"stepwell.v1.TenantService", "stepwell.v1.WorkflowService", "stepwell.v1.InstanceService"}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            _ = [each async for each in stub.ServerReflectionInfo(iter([asked]))]
        assert reason_of(refused.value) == "UNAUTHENTICATED"


async def test_the_server_listens_on_loopback_alone(server: Server) -> None:
    sockets = {f"socket:[{inode}]" for inode in listening_elsewhere()}
    descriptors = server.descriptors()
    assert descriptors
    assert not sockets & set(descriptors)


def listening_elsewhere() -> set[str]:
    """Inodes of this machine's listening sockets whose address is not 127.0.0.1."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and not fields[1].startswith(LOOPBACK):
                found.add(fields[9])
    return found
