"""The end of an instance and of all that is kept of it, by a call.

One that has not ended is terminated first; whatever interrupts this leaves one that has ended. A child is deleted once
its parent has heard of its end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from data_plane.calling import durably, refuse_if_absent
from data_plane.journal.store import InstanceKey
from data_plane.node import Node
from data_plane.shard_server import ShardServer
from stepwell.engine import events
from stepwell.engine.instance import Phase

REMOVAL_AWAITED_S: Final = 2.0
"""How long a delete waits for its rows to go: longer only when the instance still stands in line for a sandbox. And,
before, for the instance's parent to hear of its end.
"""


class Deletions:
    """One per node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def delete(self, key: InstanceKey, request_id: str) -> None:
        """Durable when this returns; what is left of it is gone as a rule, so that no list shows it any more.

        Raises NotFoundError, and WrongStateError where its parent has yet to hear of its end, or it was restarted
        meanwhile.
        """
        server = self._node.server_of(key)
        async with server.resident(key) as resident, durably(server, resident):
            refuse_if_absent(key, resident.instance)
            if resident.instance.phase is not Phase.FINISHED:
                resident.step(events.TerminateRequested(self._node.clock(), ""))
        await self._parent_heard(server, key)
        async with server.resident(key) as resident, durably(server, resident):
            refuse_if_absent(key, resident.instance)
            resident.step(events.DeleteRequested(self._node.clock(), request_id))
        with suppress(TimeoutError):
            async with asyncio.timeout(REMOVAL_AWAITED_S):
                await server.removed(key)

    async def _parent_heard(self, server: ShardServer, key: InstanceKey) -> None:
        """Of its end, if it has one; or that takes too long. It is told once nobody uses the instance."""
        watcher = self._node.watchers.add(key, status_only=True)
        try:
            async with asyncio.timeout(REMOVAL_AWAITED_S):
                while (resident := server.peek(key)) is not None and resident.instance.untold:
                    await watcher.next_rows()
        except TimeoutError:
            return
        finally:
            self._node.watchers.remove(key, watcher)
