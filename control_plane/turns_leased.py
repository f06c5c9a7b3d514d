"""Turns in a cluster: a key that one control server at a time has, on a lease of the turn's own.

To give a turn up is to revoke its lease. So whatever nobody told of, such as a put that comes late or a revocation that
never came, is over when the lease is, which nobody keeps alive any more. Nothing hangs on a server's knowing how long
its lease still lives: what it decides compares the key.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from cluster import keys
from cluster.codec import encode
from cluster.lease import KEEP_ALIVE_EVERY_S, TRY_AGAIN_S, TTL_S
from cluster.records import Deploying
from cluster.store import Compare, KeyValue, LeaseLostError, LeaseStore, Put
from control_plane.turns import Turn, TurnLostError, Turns
from stepwell.errors import UnavailableError
from stepwell.names import TenantUid

LOOK_EVERY_S: Final = 0.25
"""How often it is looked whether a turn that another server has is free."""

WAIT_S: Final = 150.0
"""For other servers' deploys of the tenant: longer than one of them takes whose check takes all the time it has."""


class LeasedTurns:
    """`DeployTurns` of one control server among several.

    `node` is a name that no other start of any server has; `tasks` outlives all turns; `mint` gives names that nobody
    else gives.
    """

    def __init__(self, store: LeaseStore, node: str, tasks: TaskGroup, *, mint: Callable[[], str]) -> None:
        self._store = store
        self._node = node
        self._tasks = tasks
        self._mint = mint
        self._here = Turns()
        """Among this server's own deploys."""

    @asynccontextmanager
    async def of(self, tenant: TenantUid, /) -> AsyncIterator[Turn]:
        async with self._here.of(tenant):
            lease = await self._store.grant_lease(TTL_S)
            keeping = self._tasks.create_task(self._keep(lease))
            try:
                yield await self._taken(keys.deploying(tenant), lease)
            finally:
                keeping.cancel()
                with suppress(UnavailableError):  # it then ends by itself
                    await self._store.revoke_lease(lease)

    async def _keep(self, lease: int) -> None:
        """Until cancelled, or until the lease has ended: whoever decides something then finds the turn lost."""
        pause_s = KEEP_ALIVE_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._store.keep_alive(lease)
                pause_s = KEEP_ALIVE_EVERY_S
            except UnavailableError:
                pause_s = TRY_AGAIN_S
            except LeaseLostError:
                return

    async def _taken(self, key: str, lease: int) -> LeasedTurn:
        mine = encode(Deploying(self._node, self._mint()))
        deadline = asyncio.timeout(WAIT_S)
        try:
            async with deadline:
                while True:
                    found = await self._tried(key, mine, lease)
                    if found is not None and found.value == mine:
                        return LeasedTurn(self._store, Compare(key, found.mod_revision))
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise UnavailableError(
                f"others have deployed for this tenant for {WAIT_S:g} seconds: deploy again when they have done so"
            ) from None

    async def _tried(self, key: str, mine: bytes, lease: int) -> KeyValue | None:
        """What is there, after it was tried to put ours where nothing was."""
        found = await self._store.get(key)
        if found is not None:
            return found
        try:
            await self._store.txn((Compare(key, 0),), (Put(key, mine, lease),))
        except LeaseLostError:
            raise TurnLostError("the control server stood still while it waited to deploy: deploy again") from None
        except UnavailableError:
            pass  # it may have happened, or happen yet
        return await self._store.get(key)


class LeasedTurn:
    """`Turn` whose record was written by that transaction."""

    def __init__(self, store: LeaseStore, held: Compare) -> None:
        self._store = store
        self._held = held

    @property
    def compares(self) -> tuple[Compare, ...]:
        return (self._held,)

    async def confirm(self) -> None:
        found = await self._store.get(self._held.key)
        if found is None or found.mod_revision != self._held.mod_revision:
            raise TurnLostError("the control server stood still for too long while it deployed: deploy again")
