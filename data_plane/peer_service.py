"""What a data node does for the installation's other processes: checks bundles, and tells how it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from data_plane.assignment import shards_of
from data_plane.bindings import Bindings
from data_plane.bindings_grpc import serve_call, serve_end
from data_plane.node import Node
from data_plane.pinned import in_memory, listed
from loader.bundles.runtime import GuestRuntime
from rpc.internal.v1 import peers_pb2 as pb
from rpc.internal.v1 import peers_pb2_grpc
from stepwell.names import Digest, TenantUid, WorkflowId

Check = Callable[[TenantUid, Digest], Awaitable[None]]
Runtime = Callable[[], Awaitable[GuestRuntime]]


class PeerServicer(peers_pb2_grpc.PeerServiceServicer):
    """`check` imports a stored bundle in a sandbox, as `control_plane.check` says; `runtime` is what guests run on."""

    def __init__(self, node: Node, bindings: Bindings, check: Check, runtime: Runtime, shard_count: int) -> None:
        self._node = node
        self._bindings = bindings
        self._check = check
        self._runtime = runtime
        self._shard_count = shard_count

    async def CheckBundle(self, request: pb.CheckBundleRequest, context: Any) -> Empty:
        await self._check(TenantUid(request.tenant), Digest(request.digest))
        return Empty()

    async def GetGuestRuntime(self, request: pb.GetGuestRuntimeRequest, context: Any) -> pb.GuestRuntime:
        return pb.GuestRuntime(**(await self._runtime())._asdict())

    async def CountInMemory(self, request: pb.CountInMemoryRequest, context: Any) -> pb.CountInMemoryResponse:
        tenant = TenantUid(request.tenant)
        served, count = in_memory(self._node, tenant, Digest(request.digest))
        shards = shards_of(tenant, self._shard_count)
        return pb.CountInMemoryResponse(tenants_shards=shards, served_shards=shards & served, count=count)

    async def CountListed(self, request: pb.CountListedRequest, context: Any) -> pb.CountListedResponse:
        workflows = [WorkflowId(each) for each in request.workflows]
        tenant, digest = TenantUid(request.tenant), Digest(request.digest)
        return pb.CountListedResponse(count=await listed(self._node.store, tenant, digest, workflows))

    async def CallInstance(self, request: pb.CallInstanceRequest, context: Any) -> pb.CallInstanceResponse:
        return await serve_call(self._bindings, request)

    async def TellParent(self, request: pb.TellParentRequest, context: Any) -> Empty:
        return await serve_end(self._bindings, request)

    async def GetLoad(self, request: pb.GetLoadRequest, context: Any) -> pb.Load:
        return load_of(self._node)


def load_of(node: Node) -> pb.Load:
    """How the node does, now."""
    return pb.Load(
        shards=node.shard_count,
        active_instances=node.activations,
        queued_instances=node.queued,
        resident_instances=node.resident_count,
        overdue_ms=max(node.unstarted_ms().values(), default=0),
    )
