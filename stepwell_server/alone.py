"""What `stepwell nodes list` shows of an installation that is one process."""

from __future__ import annotations

import os
import socket
from typing import Final

from cluster.ownership_view import OwnedShard
from cluster.records import Member, ShardOwner
from data_plane.node import Node
from data_plane.ownership_solo import SHARD
from data_plane.peer_service import load_of
from rpc.internal.v1 import peers_pb2 as pb
from rpc.node_service import LoadOf

_ADDRESS: Final = "this process"


class Alone:
    """It is the only one, and owns everything. See `rpc.node_service.Known`."""

    def __init__(self, epoch: int) -> None:
        name = f"{socket.gethostname()}.{os.getpid()}"
        self.members = {name: Member(name, _ADDRESS)}
        self.controls: dict[str, Member] = {}
        self.owners = {SHARD: OwnedShard(ShardOwner(name, epoch, ""), 0)}


def alone_load(node: Node) -> LoadOf:
    """How it does."""

    async def load(_: Member) -> pb.Load | None:
        return load_of(node)

    return load
