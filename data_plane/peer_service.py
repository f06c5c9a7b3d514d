"""What a data node does for the installation's other processes: checks bundles, and tells how it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from data_plane.node import Node
from rpc.internal.v1 import peers_pb2 as pb
from rpc.internal.v1 import peers_pb2_grpc
from stepwell.names import Digest, TenantUid

Check = Callable[[TenantUid, Digest], Awaitable[None]]


class PeerServicer(peers_pb2_grpc.PeerServiceServicer):
    """`check` imports a stored bundle in a sandbox, as `control_plane.check` says."""

    def __init__(self, node: Node, check: Check) -> None:
        self._node = node
        self._check = check

    async def CheckBundle(self, request: pb.CheckBundleRequest, context: Any) -> Empty:
        await self._check(TenantUid(request.tenant), Digest(request.digest))
        return Empty()

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
