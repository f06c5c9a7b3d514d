"""What control servers ask data nodes, since they run no tenant's code: checks of bundles, and what guests run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from loader.bundles.runtime import GuestRuntime
from rpc.internal.v1 import peers_pb2 as pb
from rpc.peers import Peers
from stepwell.errors import SandboxUnavailableError, UnavailableError
from stepwell.names import Digest, TenantUid

NODES_ASKED_MAX: Final = 3
"""For one check, before its deploy is told that nobody could look."""

_CHECK: Final = "/stepwell.internal.v1.PeerService/CheckBundle"
_RUNTIME: Final = "/stepwell.internal.v1.PeerService/GetGuestRuntime"

RUNTIME_S: Final = 5.0
"""For one node to tell what its guests run on."""

_Answer = TypeVar("_Answer", bound=Message)


class RemoteCheck:
    """`BundleCheck` and `Guests` by whichever node answers. `addresses` gives those that there are, in the order to try
    them in."""

    def __init__(self, peers: Peers, addresses: Callable[[], Sequence[str]], timeout_s: float) -> None:
        self._peers = peers
        self._addresses = addresses
        self._timeout_s = timeout_s

    async def check(self, tenant: TenantUid, digest: Digest) -> None:
        request = pb.CheckBundleRequest(tenant=tenant, digest=digest)
        if await self._asked(_CHECK, request, Empty.FromString, self._timeout_s) is None:
            raise SandboxUnavailableError(
                "no data node could be reached to check the bundle; deploy it again in a moment"
            )

    async def runtime(self) -> GuestRuntime:
        told = await self._asked(_RUNTIME, pb.GetGuestRuntimeRequest(), pb.GuestRuntime.FromString, RUNTIME_S)
        if told is None:
            raise SandboxUnavailableError(
                "no data node could be reached to tell what workflows run on; try again in a moment"
            )
        return GuestRuntime(told.python_version, told.implementation, told.machine, told.libc, told.libc_version)

    async def _asked(
        self, method: str, request: Message, answer: Callable[[bytes], _Answer], timeout_s: float
    ) -> _Answer | None:
        """What the first node that can be reached says; None: there was none. What is asked changes nothing, so another
        may be asked it again."""
        for address in self._addresses()[:NODES_ASKED_MAX]:
            try:
                told: _Answer = await self._peers.ask(address, method, request, answer, timeout_s=timeout_s)
            except UnavailableError:
                continue
            return told
        return None
