"""Finishing deletions: their record is durable, what is left of the instance may go.

A removal is asked for until it is done or the shard is lost; then the next owner, led there by a wake, finishes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from data_plane.journal.store import DeleteInstance, InstanceKey, JournalStore
from data_plane.logs.store import LogKey
from data_plane.resident import Resident
from data_plane.sending import Sending
from data_plane.shard import Shard

REMOVE_AGAIN_DELAY_S: Final = 1.0
"""After a removal whose outcome is unknown, before the identical one is asked for again."""

ForgetLogs = Callable[[LogKey, Callable[[], None]], None]
"""Deletes an instance's lines, then calls."""


def no_logs(key: LogKey, then: Callable[[], None]) -> None:
    """Of a node whose instances' lines nobody keeps."""
    then()


class Removals:
    """`removed` hears that nothing is left of an instance, `lost` that the shard is no longer owned.

    `forget_logs` deletes what an instance printed: before its journal goes, which alone knows of it.
    """

    def __init__(
        self,
        store: JournalStore,
        shard: Shard,
        *,
        later: Callable[[float, Callable[[], None]], object],
        forget_logs: ForgetLogs,
        removed: Callable[[Resident], None],
        lost: Callable[[Resident], None],
    ) -> None:
        self._store = store
        self._shard = shard
        self._later = later
        self._forget_logs = forget_logs
        self._removed = removed
        self._lost = lost
        self._awaited: dict[InstanceKey, asyncio.Future[None]] = {}

    def begin(self, resident: Resident) -> None:
        """Remove what is left of a deleted instance."""
        resident.resting = True
        instance = resident.instance
        mutation = DeleteInstance(resident.key, instance.uid, instance.created_at, self._shard.stamp())

        removed, lost = partial(self._over_for, resident), partial(self._lost, resident)
        sending = Sending(mutation, self._store, self._shard, self._later, removed, lost, REMOVE_AGAIN_DELAY_S)
        self._forget_logs(LogKey(resident.key.tenant, instance.uid), sending.start)

    def _over_for(self, resident: Resident) -> None:
        resident.resting = False
        self._removed(resident)

    async def awaited(self, key: InstanceKey) -> None:
        """Return once `over` is said of the instance."""
        over = self._awaited.setdefault(key, asyncio.get_running_loop().create_future())
        await asyncio.shield(over)

    def over(self, key: InstanceKey) -> None:
        """The instance is resident no more: it was removed, or the shard was lost."""
        over = self._awaited.pop(key, None)
        if over is not None:
            over.set_result(None)
