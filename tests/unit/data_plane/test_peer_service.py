"""What a data node tells the installation's other processes of its guests."""

from __future__ import annotations

from typing import Any, cast

from data_plane.peer_service import PeerServicer
from loader.bundles.runtime import GuestRuntime
from rpc.internal.v1 import peers_pb2 as pb
from stepwell.names import Digest, TenantUid


async def test_it_tells_what_its_guests_run_on() -> None:
    async def check(tenant: TenantUid, digest: Digest) -> None:
        raise AssertionError("nobody asked for it")

    async def runtime() -> GuestRuntime:
        return GuestRuntime("3.11.2", "cpython", "aarch64", "glibc", "2.36")

    servicer = PeerServicer(cast(Any, None), cast(Any, None), check, runtime, 1)
    assert await servicer.GetGuestRuntime(pb.GetGuestRuntimeRequest(), None) == pb.GuestRuntime(
        python_version="3.11.2", implementation="cpython", machine="aarch64", libc="glibc", libc_version="2.36"
    )
