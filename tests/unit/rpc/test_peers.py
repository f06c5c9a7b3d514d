"""Calls among an installation's processes: in whose name they are made, what comes back, and who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
import trustme

from cluster.ownership_view import OwnedShard
from cluster.records import Member, ShardOwner
from rpc import rights
from rpc.auth import Authenticates, Principal, acting_as, principal
from rpc.health import Health
from rpc.internal.v1 import peers_pb2 as internal
from rpc.limits import RpcLimits
from rpc.node_service import NodeServicer
from rpc.open_calls import OpenCalls
from rpc.peers import INSTALLATION, PeerAuthenticator, PeerChannels, Peers, last_hop
from rpc.proxy import proxied
from rpc.rights import Right
from rpc.server import Service, build_server
from rpc.tls import CertificateError, CertificateFiles, Certificates
from rpc.trace_context import TraceContext, received, set_current
from stepwell.errors import InvalidArgumentError, NotFoundError, UnavailableError
from stepwell.names import TenantId
from stepwell.v1 import instances_pb2, nodes_pb2, tenants_pb2, workflows_pb2
from stepwell.v1.instances_pb2_grpc import add_InstanceServiceServicer_to_server
from stepwell.v1.tenants_pb2_grpc import add_TenantServiceServicer_to_server
from stepwell.v1.workflows_pb2_grpc import add_WorkflowServiceServicer_to_server
from tests.unit.rpc.echo import Log, Records

ACME = Principal("t1", TenantId("acme"), frozenset({Right.ANY, Right.READ, Right.DEPLOY}))
TENANT = "/stepwell.v1.TenantService/GetTenant"
DEPLOY = "/stepwell.v1.WorkflowService/DeployVersion"
WATCH = "/stepwell.v1.InstanceService/WatchInstance"


async def _unasked(request: Any, context: Any) -> Any:
    raise AssertionError("nobody asks for it here")


async def _unasked_stream(request: Any, context: Any) -> AsyncIterator[Any]:
    raise AssertionError("nobody asks for it here")
    yield


class Backend:
    """Three services, each with one method that is asked: it tells who called, and whether it may pass the call on."""

    def __getattr__(self, name: str) -> Any:
        return _unasked_stream if name == "WatchLogs" else _unasked

    def __init__(self) -> None:
        self.callers: list[Principal] = []
        self.last_hops: list[bool] = []
        self.traces: list[TraceContext | None] = []

    def _note(self, context: Any) -> str:
        who = principal(context)
        self.callers.append(who)
        self.last_hops.append(last_hop.get())
        self.traces.append(received(context.invocation_metadata()))
        return who.tenant or "the operator"

    async def GetTenant(self, request: Any, context: Any) -> tenants_pb2.Tenant:
        if request.name == "tenants/missing":
            raise NotFoundError("there is no tenant 'missing'", tenant="missing")
        return tenants_pb2.Tenant(name=self._note(context))

    async def DeployVersion(self, request_iterator: Any, context: Any) -> workflows_pb2.DeployVersionResponse:
        parts = [part async for part in request_iterator]
        return workflows_pb2.DeployVersionResponse(warnings=[self._note(context), str(len(parts))])

    async def WatchInstance(self, request: Any, context: Any) -> AsyncIterator[instances_pb2.InstanceEvent]:
        for number in range(3):
            yield instances_pb2.InstanceEvent(cursor=f"{self._note(context)} {number}")


class Trusting:
    """Takes everybody for the same one."""

    def __init__(self, who: Principal) -> None:
        self._who = who

    async def authenticate(self, metadata: Any) -> Principal:
        return self._who


async def served(
    stack: AsyncExitStack,
    services: Sequence[Service],
    authenticator: Authenticates,
    certificates: Certificates | None = None,
) -> str:
    server = await build_server(
        services,
        authenticator=authenticator,
        calls=OpenCalls(Records(), RpcLimits(), lambda: 0.0),
        health=Health(()),
        log=Log(),
        mint_correlation_id=lambda: "c1",
        rights=rights.INTERNAL,
    )
    if certificates is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", certificates.server())
    await server.start()
    stack.push_async_callback(server.stop, None)
    return f"127.0.0.1:{port}"


def services_of(backend: Any) -> list[Service]:
    return [
        Service(add_TenantServiceServicer_to_server, backend),
        Service(add_WorkflowServiceServicer_to_server, backend),
        Service(add_InstanceServiceServicer_to_server, backend),
    ]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def address(stack: AsyncExitStack, backend: Backend) -> str:
    return await served(stack, services_of(backend), PeerAuthenticator())


@pytest.fixture
async def peers(stack: AsyncExitStack) -> Peers:
    channels = PeerChannels(None)
    stack.push_async_callback(channels.close)
    return Peers(channels)


# In whose name


async def test_a_call_is_made_in_its_callers_name_and_with_its_rights(
    peers: Peers, address: str, backend: Backend
) -> None:
    operator = Principal("t2", None, frozenset(Right))
    for who in (operator, INSTALLATION):
        await peers.unary(address, TENANT, b"", who, last=False)
    assert backend.callers == [operator, INSTALLATION]


async def test_a_caller_without_the_right_is_refused_there_too(peers: Peers, address: str) -> None:
    with pytest.raises(Exception, match="takes an operator's token"):
        await peers.unary(address, TENANT, b"", ACME, last=False)


async def test_a_call_says_whether_it_may_be_passed_on(peers: Peers, address: str, backend: Backend) -> None:
    for last in (True, False, True):
        await peers.unary(address, TENANT, b"", INSTALLATION, last=last)
    assert backend.last_hops == [True, False, True]


async def test_a_call_goes_on_in_the_trace_that_it_came_in(peers: Peers, address: str, backend: Backend) -> None:
    trace = TraceContext(0xA, 0xB, sampled=True)

    async def within() -> None:
        set_current(trace)
        await peers.unary(address, TENANT, b"", INSTALLATION, last=False)

    await asyncio.create_task(within())
    await peers.unary(address, TENANT, b"", INSTALLATION, last=False)
    assert backend.traces == [trace, None]


@pytest.mark.parametrize("header", [None, b"{", b"[1]", b'["t", null, ["king"]]', b"\xff"])
async def test_whoever_does_not_say_for_whom_is_refused(address: str, header: bytes | None) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        metadata = () if header is None else (("stepwell-principal-bin", header),)
        call: Any = channel.unary_unary(TENANT)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "for Stepwell's own processes" in str(refused.value.details())


# What comes back


async def test_an_error_comes_back_as_it_was_raised(peers: Peers, address: str) -> None:
    request = tenants_pb2.GetTenantRequest(name="tenants/missing").SerializeToString()
    with pytest.raises(NotFoundError, match="no tenant 'missing'") as raised:
        await peers.unary(address, TENANT, request, INSTALLATION, last=False)
    assert raised.value.metadata == {"tenant": "missing"}


async def test_a_process_that_is_not_there_is_unavailable(peers: Peers) -> None:
    with pytest.raises(UnavailableError):
        await peers.unary("127.0.0.1:1", TENANT, b"", INSTALLATION, last=False)
    with pytest.raises(UnavailableError):
        [each async for each in peers.stream("127.0.0.1:1", WATCH, b"", INSTALLATION, last=False)]


# Whole services


@pytest.fixture
async def front(stack: AsyncExitStack, peers: Peers, address: str) -> Any:
    """A process that has none of the services itself, as an operator and a tenant in one see it."""
    services = [
        proxied(tenants_pb2.DESCRIPTOR.services_by_name["TenantService"], peers, lambda: address),
        proxied(workflows_pb2.DESCRIPTOR.services_by_name["WorkflowService"], peers, lambda: address),
        proxied(instances_pb2.DESCRIPTOR.services_by_name["InstanceService"], peers, lambda: address),
    ]
    everything = Principal("t1", TenantId("acme"), frozenset(Right))
    channel = grpc.aio.insecure_channel(await served(stack, services, Trusting(everything)))
    stack.push_async_callback(channel.close)
    return channel


async def test_calls_of_every_kind_are_passed_on(front: Any) -> None:
    answer = tenants_pb2.Tenant.FromString(await front.unary_unary(TENANT)(b""))
    assert answer.name == "acme"
    events = [instances_pb2.InstanceEvent.FromString(each) async for each in front.unary_stream(WATCH)(b"")]
    assert [event.cursor for event in events] == ["acme 0", "acme 1", "acme 2"]
    parts = iter([b"", b"", b""])
    deployed = workflows_pb2.DeployVersionResponse.FromString(await front.stream_unary(DEPLOY)(parts))
    assert list(deployed.warnings) == ["acme", "3"]


async def test_an_error_passes_through_with_its_details(front: Any) -> None:
    request = tenants_pb2.GetTenantRequest(name="tenants/missing").SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.unary_unary(TENANT)(request)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_with_nobody_to_pass_it_on_to_a_call_is_unavailable(stack: AsyncExitStack, peers: Peers) -> None:
    nowhere = proxied(tenants_pb2.DESCRIPTOR.services_by_name["TenantService"], peers, lambda: None)
    channel: Any = grpc.aio.insecure_channel(await served(stack, [nowhere], Trusting(INSTALLATION)))
    stack.push_async_callback(channel.close)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(TENANT)(b"")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


# Certificates


class Issuer:
    """Of files that a process reads."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        folder.mkdir()
        self.files = CertificateFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
        self._authority = authority
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.renew()

    def renew(self) -> None:
        issued = self._authority.issue_cert("127.0.0.1")
        self.files.private_key.write_bytes(issued.private_key_pem.bytes())
        self.files.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))


async def test_processes_with_certificates_of_one_authority_speak_and_no_others(
    stack: AsyncExitStack, backend: Backend, tmp_path: Path
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    ours = Certificates(Issuer(tmp_path / "ours", authority).files)
    address = await served(stack, services_of(backend), PeerAuthenticator(), ours)
    for certificates, welcome in (
        (Certificates(Issuer(tmp_path / "another", authority).files), True),
        (Certificates(Issuer(tmp_path / "stranger", stranger).files), False),
        (None, False),
    ):
        channels = PeerChannels(certificates)
        stack.push_async_callback(channels.close)
        asked = Peers(channels).unary(address, TENANT, b"", INSTALLATION, last=False)
        if welcome:
            await asked
        else:
            with pytest.raises(UnavailableError):
                await asked
    assert len(backend.callers) == 1


async def test_certificates_are_read_again_when_their_files_change_and_bad_ones_change_nothing(
    tmp_path: Path,
) -> None:
    issuer = Issuer(tmp_path / "p", trustme.CA())
    certificates = Certificates(issuer.files)
    before = certificates.client()
    assert certificates.client() is before
    issuer.files.certificate.write_bytes(b"half of")
    assert certificates.client() is before
    issuer.files.certificate.unlink()
    assert certificates.client() is before
    issuer.renew()
    assert certificates.client() is not before


async def test_a_channel_is_made_anew_when_the_certificates_have_changed(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "p", trustme.CA())
    channels = PeerChannels(Certificates(issuer.files))
    first = channels.to("127.0.0.1:1")
    assert channels.to("127.0.0.1:1") is first
    issuer.renew()
    assert channels.to("127.0.0.1:1") is not first
    await channels.close()


def test_files_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "p", trustme.CA())
    issuer.files.private_key.write_bytes(b"nonsense")
    with pytest.raises(CertificateError, match=r"key\.pem"):
        Certificates(issuer.files)
    issuer.files.private_key.unlink()
    with pytest.raises(CertificateError, match=r"key\.pem: No such file"):
        Certificates(issuer.files)


# Who there is


class Known:
    members: ClassVar = {f"node-{n}": Member(f"node-{n}", f"10.0.0.{n}:1") for n in (1, 2)}
    controls: ClassVar = {"control-1": Member("control-1", "10.0.0.9:1")}
    owners: ClassVar = {
        0: OwnedShard(ShardOwner("node-1", 1, ""), 1),
        1: OwnedShard(ShardOwner("node-1", 1, ""), 1),
        2: OwnedShard(ShardOwner("node-0 which is gone", 1, ""), 1),
    }


async def load_of(member: Member) -> internal.Load | None:
    return internal.Load(active_instances=3, overdue_ms=70) if member.node == "node-1" else None


async def test_nodes_are_listed_with_what_they_own_and_do() -> None:
    servicer = NodeServicer(Known(), load_of, 4)
    with acting_as(INSTALLATION):
        answer = await servicer.ListNodes(nodes_pb2.ListNodesRequest(), None)
    shown = [(node.name, node.role, node.owned_shards, node.HasField("load")) for node in answer.nodes]
    assert shown == [
        ("nodes/control-1", nodes_pb2.NODE_ROLE_CONTROL, 0, False),
        ("nodes/node-1", nodes_pb2.NODE_ROLE_DATA, 2, True),
        ("nodes/node-2", nodes_pb2.NODE_ROLE_DATA, 0, False),
    ]
    assert (answer.shard_count, answer.unowned_shards) == (4, 2)
    assert (answer.nodes[1].load.active_instances, answer.nodes[1].load.overdue_ms) == (3, 70)


async def test_nodes_come_in_pages() -> None:
    servicer = NodeServicer(Known(), load_of, 4)
    first = await servicer.ListNodes(nodes_pb2.ListNodesRequest(page_size=2), None)
    second = await servicer.ListNodes(nodes_pb2.ListNodesRequest(page_size=2, page_token=first.next_page_token), None)
    assert [node.name for page in (first, second) for node in page.nodes] == [
        "nodes/control-1",
        "nodes/node-1",
        "nodes/node-2",
    ]
    assert not second.next_page_token
    with pytest.raises(InvalidArgumentError):
        await servicer.ListNodes(nodes_pb2.ListNodesRequest(page_token="x"), None)
