"""NodeService: the processes of an installation, for its operator."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from cluster.ownership_view import OwnedShard
from cluster.records import Member
from rpc.internal.v1 import peers_pb2 as internal
from rpc.paging import page_size, page_token, position
from rpc.peers import Peers
from stepwell.errors import ApiError
from stepwell.v1 import nodes_pb2 as pb
from stepwell.v1 import nodes_pb2_grpc

LOAD_S: Final = 2.0
"""For a node to tell how it does."""

_GET_LOAD: Final = "/stepwell.internal.v1.PeerService/GetLoad"
_SCOPE: Final = "ListNodes"

LoadOf = Callable[[Member], Awaitable[internal.Load | None]]
"""How a data node does; None: it did not tell."""


class Known(Protocol):
    """Who there is, by name, and who owns which shard; `cluster.ownership_view.OwnershipView` is one."""

    @property
    def members(self) -> Mapping[str, Member]: ...
    @property
    def controls(self) -> Mapping[str, Member]: ...
    @property
    def owners(self) -> Mapping[int, OwnedShard]: ...


class NodeServicer(nodes_pb2_grpc.NodeServiceServicer):
    """Whom the cluster's store says that there are; each is asked how it does."""

    def __init__(self, view: Known, load_of: LoadOf, shard_count: int) -> None:
        self._view = view
        self._load_of = load_of
        self._shard_count = shard_count

    async def ListNodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        size, after = page_size(request.page_size), position(_SCOPE, request.page_token)
        view = self._view
        names = [name for name in sorted({*view.controls, *view.members}) if name > after]
        shown = names[:size]
        owned = Counter(each.owner.node for each in view.owners.values() if each.owner.node in view.members)
        loads = await self._loads([view.members[name] for name in shown if name in view.members])
        nodes = [
            pb.Node(
                name=f"nodes/{name}",
                role=pb.NODE_ROLE_DATA if name in view.members else pb.NODE_ROLE_CONTROL,
                address=(view.members.get(name) or view.controls[name]).address,
                owned_shards=owned[name],
                load=loads.get(name),
            )
            for name in shown
        ]
        return pb.ListNodesResponse(
            nodes=nodes,
            next_page_token=page_token(_SCOPE, shown[-1]) if len(names) > size else "",
            shard_count=self._shard_count,
            unowned_shards=self._shard_count - owned.total(),
        )

    async def _loads(self, members: Sequence[Member]) -> dict[str, pb.NodeLoad]:
        """Of those that answer."""
        found = await asyncio.gather(*map(self._load_of, members))
        return {
            member.node: pb.NodeLoad(
                active_instances=load.active_instances,
                queued_instances=load.queued_instances,
                overdue_ms=load.overdue_ms,
            )
            for member, load in zip(members, found, strict=True)
            if load is not None
        }


def asked_of(peers: Peers) -> LoadOf:
    """Each node is asked itself, and has a moment to answer."""

    async def load_of(member: Member) -> internal.Load | None:
        try:
            load: internal.Load = await peers.ask(
                member.address, _GET_LOAD, internal.GetLoadRequest(), internal.Load.FromString, timeout_s=LOAD_S
            )
        except ApiError:
            return None
        return load

    return load_of
