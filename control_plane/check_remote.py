"""Checks of bundles by data nodes: control servers run no tenant's code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.empty_pb2 import Empty

from rpc.internal.v1 import peers_pb2 as pb
from rpc.peers import Peers
from stepwell.errors import SandboxUnavailableError, UnavailableError
from stepwell.names import Digest, TenantUid

NODES_ASKED_MAX: Final = 3
"""For one check, before its deploy is told that nobody could look."""

_CHECK: Final = "/stepwell.internal.v1.PeerService/CheckBundle"


class RemoteCheck:
    """`BundleCheck` by whichever node answers. `addresses` gives those that there are, in the order to try them in."""

    def __init__(self, peers: Peers, addresses: Callable[[], Sequence[str]], timeout_s: float) -> None:
        self._peers = peers
        self._addresses = addresses
        self._timeout_s = timeout_s

    async def check(self, tenant: TenantUid, digest: Digest) -> None:
        request = pb.CheckBundleRequest(tenant=tenant, digest=digest)
        for address in self._addresses()[:NODES_ASKED_MAX]:
            try:
                await self._peers.ask(address, _CHECK, request, Empty.FromString, timeout_s=self._timeout_s)
            except UnavailableError:
                continue  # the check changes nothing: another one may do it again
            return
        raise SandboxUnavailableError("no data node could be reached to check the bundle; deploy it again in a moment")
