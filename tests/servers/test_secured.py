"""Who may do what at a cluster's processes: by certificates among them, by tokens and their scopes for clients."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import tenants_pb2, workflows_pb2
from stepwell.v1.tenants_pb2 import TOKEN_SCOPE_DEPLOY, TOKEN_SCOPE_READ, TOKEN_SCOPE_RUN
from tests.e2e.api import BUNDLES, Api, reason_of
from tests.servers.installation import Installation

REVOKED_S_MAX = 5.0
HANDSHAKE_S_MAX = 5.0
TENANT = "tenants/guarded"
WORKFLOW = f"{TENANT}/workflows/traffic"
RACE = json.dumps({"shape": "race", "sleeps": [0] * 8}).encode()


def api_of(installation: Installation, name: str, token: str) -> Api:
    """One process's."""
    return Api(f"ipv4:{installation.cluster.endpoints[name]}", token, installation.authority)


async def tenant_made(installation: Installation) -> None:
    async with Api(installation.addresses, installation.cluster.token, installation.authority) as api:
        found = tenants_pb2.GetTenantRequest(name=TENANT)
        try:
            await api.call(api.tenants.GetTenant, found)
        except grpc.aio.AioRpcError:
            await api.create_tenant("guarded")
            await api.deploy("guarded", BUNDLES / "traffic", {"TENANT": "guarded"})


async def minted(installation: Installation, *scopes: tenants_pb2.TokenScope.ValueType) -> tuple[str, str]:
    """The name and the secret of a token."""
    async with Api(installation.addresses, installation.cluster.token, installation.authority) as api:
        request = tenants_pb2.CreateTokenRequest(parent=TENANT, scopes=scopes)
        made = await api.call(api.tenants.CreateToken, request)
        return made.token.name, made.secret


async def said(api: Api, method: Any, request: Any) -> str:
    """`OK`, or the reason of a refusal."""
    try:
        await api.call(method, request)
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return "OK"


async def test_a_token_may_do_what_its_scopes_say_whichever_process_is_asked(installation: Installation) -> None:
    await tenant_made(installation)
    processes = [part.name for part in (*installation.cluster.controls, *installation.cluster.nodes)]
    told: dict[tuple[str, str], tuple[str, ...]] = {}
    for scope in (TOKEN_SCOPE_READ, TOKEN_SCOPE_RUN, TOKEN_SCOPE_DEPLOY):
        _, secret = await minted(installation, scope)
        for name in processes:
            async with api_of(installation, name, secret) as api:
                listed = pb.ListInstancesRequest(parent=WORKFLOW)
                created = pb.CreateInstanceRequest(parent=WORKFLOW, params=RACE)
                routed = workflows_pb2.SetRouteRequest(
                    name=f"{WORKFLOW}/route", version=f"{TENANT}/versions/sha256-{'0' * 64}"
                )
                others = pb.ListInstancesRequest(parent="tenants/acme/workflows/traffic")
                told[tenants_pb2.TokenScope.Name(scope), name] = (
                    await said(api, api.instances.ListInstances, listed),
                    await said(api, api.instances.CreateInstance, created),
                    await said(api, api.workflows.SetRoute, routed),
                    await said(api, api.instances.ListInstances, others),
                    await said(api, api.tenants.CreateTenant, tenants_pb2.CreateTenantRequest(tenant_id="other")),
                )
    no = "PERMISSION_DENIED"
    expected: Mapping[str, tuple[str, ...]] = {
        "TOKEN_SCOPE_READ": ("OK", no, no, no, no),
        "TOKEN_SCOPE_RUN": (no, "OK", no, no, no),
        "TOKEN_SCOPE_DEPLOY": (no, no, "NOT_FOUND", no, no),  # it may; there is no such version
    }
    assert told == {(scope, name): expected[scope] for scope in expected for name in processes}


async def test_a_token_that_is_revoked_opens_nothing_at_any_process(installation: Installation) -> None:
    await tenant_made(installation)
    name, secret = await minted(installation)
    apis = [
        api_of(installation, part.name, secret)
        for part in (*installation.cluster.controls, *installation.cluster.nodes)
    ]
    try:
        listed = pb.ListInstancesRequest(parent=WORKFLOW)
        assert {await said(api, api.instances.ListInstances, listed) for api in apis} == {"OK"}
        async with Api(installation.addresses, installation.cluster.token, installation.authority) as operator:
            await operator.call(operator.tenants.RevokeToken, tenants_pb2.RevokeTokenRequest(name=name))
        deadline = time.monotonic() + REVOKED_S_MAX
        for api in apis:
            while (last := await said(api, api.instances.ListInstances, listed)) == "OK":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert last == "UNAUTHENTICATED"
    finally:
        for api in apis:
            await api.channel.close()


async def test_nobody_is_spoken_to_whom_a_certificate_does_not_prove(installation: Installation) -> None:
    files, cluster = installation.certificates, installation.cluster
    server_ca, peers_ca = files / "server-ca.pem", files / "peers-ca.pem"

    def shown(authority: Path, name: str = "") -> grpc.ChannelCredentials:
        own = ((files / f"{name}.key").read_bytes(), (files / f"{name}.pem").read_bytes()) if name else (None, None)
        return grpc.ssl_channel_credentials(authority.read_bytes(), *own)

    for part in (*cluster.controls, *cluster.nodes):
        clients, peers = cluster.endpoints[part.name], f"127.0.0.1:{cluster.peer_ports[part.name]}"
        assert await _connects(clients, shown(server_ca))
        assert await _connects(peers, shown(peers_ca, "peer"))
        assert not await _connects(clients, shown(peers_ca)), "its certificate is not by that authority"
        assert not await _connects(clients, None), "in plaintext"
        assert not await _connects(peers, shown(peers_ca)), "without a certificate"
        assert not await _connects(peers, shown(peers_ca, "server")), "with a certificate of another authority"
        assert not await _connects(peers, None), "in plaintext"


async def _connects(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether a call is answered at all, be it by a refusal."""
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    channel = (
        grpc.aio.insecure_channel(address, options=options[1:])
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=options)
    )
    async with channel:
        call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            await call(b"", timeout=HANDSHAKE_S_MAX)
        except grpc.aio.AioRpcError as error:
            return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return True


async def test_renewed_certificates_are_used_without_a_restart(installation: Installation) -> None:
    cluster = installation.cluster
    await tenant_made(installation)
    parts = (*cluster.controls, *cluster.nodes)
    addresses = [cluster.endpoints[part.name] for part in parts]
    peers = [f"127.0.0.1:{cluster.peer_ports[part.name]}" for part in parts]
    before = await asyncio.to_thread(lambda: [_served(address) for address in (*addresses, *peers)])
    pids = [part.pid for part in parts]
    await asyncio.to_thread(cluster.certificates.renew, "server")
    await asyncio.to_thread(cluster.certificates.renew, "peer")
    after = await asyncio.to_thread(lambda: [_served(address) for address in (*addresses, *peers)])
    assert not set(before) & set(after)
    assert len(set(after)) == 2
    assert [part.pid for part in parts] == pids
    # A node that starts now shows the new one to its peers, and takes theirs, which have it from before it was renewed.
    await asyncio.to_thread(cluster.nodes[0].stop)
    await asyncio.to_thread(cluster.start_node, cluster.nodes[0])
    for part in parts:
        async with api_of(installation, part.name, cluster.token) as api:
            made = [await api.create(WORKFLOW, json.loads(RACE)) for _ in range(8)]
            assert {(await api.ended(each.name)).status for each in made} == {pb.INSTANCE_STATUS_COMPLETE}


def _served(address: str) -> str:
    host, _, port = address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)))
