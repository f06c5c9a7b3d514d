"""The port to whose turn it is to deploy for a tenant, and its adapter for an installation of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar, Final, Protocol

from cluster.store import Compare
from stepwell.errors import Committed, UnavailableError
from stepwell.names import TenantUid


class TurnLostError(UnavailableError):
    """The turn had passed on before its holder was done: what it was about to decide in it was not decided."""

    committed: ClassVar[Committed] = "no"


class Turn(Protocol):
    """One turn, while it is held. It may be lost at any time, without a word."""

    @property
    def compares(self) -> tuple[Compare, ...]:
        """They hold until the turn is given up or lost, and never again: a transaction that has them happens within
        the turn or not at all."""

    async def confirm(self) -> None:
        """Returns if nobody else had the turn between its beginning and this call.

        Raises TurnLostError, and UnavailableError when nobody can tell.
        """


class DeployTurns(Protocol):
    """The turns of all tenants, over all processes that deploy."""

    def of(self, tenant: TenantUid, /) -> AbstractAsyncContextManager[Turn]:
        """Hold the tenant's turn until the block ends; whoever comes meanwhile waits.

        Raises UnavailableError when it can't be had in reasonable time, or nobody can tell.
        """


class Turns:
    """`DeployTurns` where one process deploys: locks that exist only while somebody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._users: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def of(self, key: Hashable, /) -> AsyncIterator[Turn]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with lock:
                yield _SURE
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


class _SureTurn:
    """Of a process that is alone: nobody can take it."""

    compares: tuple[Compare, ...] = ()

    async def confirm(self) -> None:
        """It is held."""


_SURE: Final = _SureTurn()
