"""Faults of deletions, put in on purpose."""

from __future__ import annotations

from collections.abc import Iterator

from data_plane.deleting import Deletions
from data_plane.journal.store import InstanceKey
from data_plane.shard_server import ShardServer
from stepwell.engine.events import ParentHeard, TerminateRequested
from stepwell.engine.instance import Phase
from tests.simulation.planting import instead, planted


@planted("a delete that only ends what goes on", first=8)
def a_delete_that_only_ends_what_goes_on() -> Iterator[None]:
    real = Deletions.delete

    async def delete(deletions: Deletions, key: InstanceKey, request_id: str) -> None:
        server = deletions._node.server_of(key)
        async with server.resident(key) as resident:
            if resident.instance.phase in (Phase.LIVE, Phase.PAUSED):
                resident.step(TerminateRequested(resident.now(), ""))
                await server.flushed(resident)
                return
        await real(deletions, key, request_id)

    with instead(Deletions, "delete", delete):
        yield


@planted("a child that is deleted before its parent has heard of its end", first=34)
def a_child_that_is_deleted_before_its_parent_has_heard() -> Iterator[None]:
    async def parent_heard(_: Deletions, server: ShardServer, key: InstanceKey) -> None:
        async with server.resident(key) as resident:
            if resident.instance.untold:
                resident.step(ParentHeard(resident.now()))

    with instead(Deletions, "_parent_heard", parent_heard):
        yield
