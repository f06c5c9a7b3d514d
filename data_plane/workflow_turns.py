"""Turns to run by workflow: so many of its instances at once as its versions say; more wait, in the order in which they
came.

Pure but for the futures of those who wait. Each instance is held to what its own version says, and counts for all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, NamedTuple

from data_plane.journal.store import InstanceKey
from stepwell.names import TenantUid, WorkflowId

LINE_MAX: Final = 32
"""A workflow's instances that wait, in memory, before further ones that are due are left on the disk. A new one's
create is not held up by this."""


class Workflow(NamedTuple):
    """Whose turn it may be."""

    tenant: TenantUid
    workflow: WorkflowId


class _Waiting(NamedTuple):
    most: int
    turn: asyncio.Future[bool]


class WorkflowTurns:
    """Of one node. `leave` after each `enter` that was answered with true."""

    def __init__(self) -> None:
        self._taken: Counter[Workflow] = Counter()
        self._lines: dict[Workflow, dict[InstanceKey, _Waiting]] = {}
        self._by_tenant: Counter[TenantUid] = Counter()

    @property
    def waiting_in_all(self) -> int:
        return self._by_tenant.total()

    def waiting_of(self, tenant: TenantUid) -> int:
        """How many of the tenant's instances wait."""
        return self._by_tenant[tenant]

    def waiting(self, workflow: Workflow) -> int:
        """How many of the workflow's."""
        return len(self._lines.get(workflow, ()))

    def is_long(self, workflow: Workflow) -> bool:
        """Whether as many wait as run, or LINE_MAX."""
        waiting = self.waiting(workflow)
        return waiting > 0 and waiting >= min(self._taken[workflow], LINE_MAX)

    async def enter(self, key: InstanceKey, most: int | None) -> bool:
        """Wait until less than `most` run, and take a place; None does not wait. False once it was withdrawn."""
        workflow = Workflow(key.tenant, key.workflow)
        if most is None or (workflow not in self._lines and self._taken[workflow] < most):
            self._taken[workflow] += 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(workflow, {})[key] = _Waiting(most, turn)
        self._by_tenant[key.tenant] += 1
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave(key)
            else:
                self._forget(workflow, key)
            raise

    def leave(self, key: InstanceKey) -> None:
        """Give a place back, and let the next in."""
        workflow = Workflow(key.tenant, key.workflow)
        self._taken[workflow] -= 1
        if not self._taken[workflow]:
            del self._taken[workflow]
        self._serve(workflow)

    def withdraw(self, key: InstanceKey) -> None:
        """It need not wait any more. Nothing happens where it does not."""
        workflow = Workflow(key.tenant, key.workflow)
        waiting = self._forget(workflow, key)
        if waiting is not None:
            waiting.turn.set_result(False)
            self._serve(workflow)

    def _serve(self, workflow: Workflow) -> None:
        while (line := self._lines.get(workflow)) is not None:
            key, waiting = next(iter(line.items()))
            if self._taken[workflow] >= waiting.most:
                return
            self._forget(workflow, key)
            self._taken[workflow] += 1
            waiting.turn.set_result(True)

    def _forget(self, workflow: Workflow, key: InstanceKey) -> _Waiting | None:
        line = self._lines.get(workflow)
        waiting = line.pop(key, None) if line is not None else None
        if waiting is None:
            return None
        if not line:
            del self._lines[workflow]
        self._by_tenant[key.tenant] -= 1
        if not self._by_tenant[key.tenant]:
            del self._by_tenant[key.tenant]
        return waiting
