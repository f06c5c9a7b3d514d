"""That a control server is there, and where: a record on a lease, so that it goes when the server dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from cluster.codec import encode
from cluster.lease import Lease
from cluster.records import Member
from cluster.store import LeaseLostError, LeaseStore, Put
from stepwell.errors import UnavailableError

TRY_AGAIN_S: Final = 1.0


class Presence:
    """`run` keeps the record under that key; `leave` ends it. `boottime` is as `cluster.lease` has it."""

    def __init__(self, store: LeaseStore, key: str, member: Member, boottime: Callable[[], float]) -> None:
        self._store = store
        self._key = key
        self._record = encode(member)
        self._changed = asyncio.Event()
        self._lease = Lease(store, boottime, begun=self._changed.set, ended=self._changed.set)
        self._told = 0
        """The lease that the record is on."""

    @property
    def told(self) -> bool:
        """Whether others can find it."""
        return self._told != 0 and self._told == self._lease.id and self._lease.lives()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lease.run())
            while True:
                self._changed.clear()
                if self._lease.id != self._told:
                    await self._tell(self._lease.id)
                with suppress(TimeoutError):
                    async with asyncio.timeout(TRY_AGAIN_S):
                        await self._changed.wait()

    async def leave(self) -> None:
        """Nobody finds it any more, from now on or once the lease has ended by itself."""
        with suppress(UnavailableError):
            await self._lease.end()

    async def _tell(self, lease: int) -> None:
        if lease:
            try:
                await self._store.txn((), (Put(self._key, self._record, lease),))
            except (LeaseLostError, UnavailableError):
                return
        self._told = lease
