"""What a data node does for the installation's other processes: checks bundles, and tells how it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from data_plane.node import Node
from loader.bundles.runtime import GuestRuntime
from rpc.internal.v1 import peers_pb2 as pb
from rpc.internal.v1 import peers_pb2_grpc
from stepwell.names import Digest, TenantUid

Check = Callable[[TenantUid, Digest], Awaitable[None]]
Runtime = Callable[[], Awaitable[GuestRuntime]]


class PeerServicer(peers_pb2_grpc.PeerServiceServicer):
    """`check` imports a stored bundle in a sandbox, as `control_plane.check` says; `runtime` is what guests run on."""

    def __init__(self, node: Node, check: Check, runtime: Runtime) -> None:
        self._node = node
        self._check = check
        self._runtime = runtime

    async def CheckBundle(self, request: pb.CheckBundleRequest, context: Any) -> Empty:
        await self._check(TenantUid(request.tenant), Digest(request.digest))
        return Empty()

    async def GetGuestRuntime(self, request: pb.GetGuestRuntimeRequest, context: Any) -> pb.GuestRuntime:
        return pb.GuestRuntime(**(await self._runtime())._asdict())

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
