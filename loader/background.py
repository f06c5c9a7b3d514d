"""Which sandboxes run in the background: those of tenants that keep a CPU busy, while others have some that don't.

Most steps compute for a moment and then wait for somebody else. Beside code that computes without end, each such moment
would begin with a wait for the CPU of up to a tick of the kernel's, whatever the weights are; so that code runs behind
everybody else's, and some CPUs are not for it (`loader.sandbox.cpus`).

Whoever is not known to be busy is in the foreground. A new sandbox is judged by itself for a while, since to import its
code alone keeps a CPU busy: that is no reason to hold its neighbours back, but one to have the next new one of its
tenant begin in the background.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from loader.sandbox.sandbox import Sandbox
from stepwell.names import TenantUid

BUSY_SHARE: Final = 0.35
"""Of one CPU. Sandboxes of one tenant that take more of it together are busy."""

BURST_US: Final = 30_000
"""How much CPU time above that share they may take at once: code that mostly waits takes it in bursts; code that never
waits has taken so much within a look."""

LOOK_S: Final = 0.05
"""Between two looks: for so long one that becomes busy harms others."""

CALM_S_MIN: Final = 1.0
"""How long a busy tenant has to be calm before it is in the foreground again; and how long a sandbox is new."""

CALM_S_MAX: Final = 64.0
"""That time doubles for a tenant that is soon busy again, up to this."""

SOON: Final = 4
"""Soon is within so many times the time that it had to be calm."""

SUSPECT_S: Final = 10.0
"""For how long a tenant's further sandboxes begin in the background after a new one was busy."""

AT_WORK_SHARE: Final = 0.01
"""Of one CPU: one in the background that takes more of it wants its part. One that waits takes a fifth of that."""

SMOOTHING: Final = 0.2
"""The weight of the last look in what a sandbox takes: a quarter of a second counts, more than a period of the kernel's
limit."""


@dataclass(slots=True)
class _Member:
    """One sandbox of a tenant."""

    used_us: int
    new_until: float
    is_suspect: bool
    """Whether it is in the background while it is new."""
    is_background: bool
    use: float = 0.0
    """Of one CPU, of late."""
    scheduled: tuple[int, bool] | None = None


class _Tenant:
    def __init__(self) -> None:
        self.members: dict[Sandbox, _Member] = {}
        self.is_busy = False
        self.above_us = 0.0
        """What its sandboxes took above their share of late."""
        self.calm_s = CALM_S_MIN
        self.calm_at = -math.inf
        """When a busy one is in the foreground again; when it last came to it."""
        self.suspect_until = -math.inf

    def is_suspect(self, now: float) -> bool:
        return self.is_busy or now < self.suspect_until

    def is_forgotten(self, now: float) -> bool:
        """Whether it is as if it had never been."""
        return not (self.members or self.is_suspect(now) or self._is_soon(now))

    def look(self, now: float, elapsed_us: float) -> None:
        """Judge by what was used since the last look."""
        together_us, busy_us = 0, BUSY_SHARE * elapsed_us
        for sandbox, member in self.members.items():
            before, member.used_us = member.used_us, sandbox.cpu_usage_us()
            used_us = member.used_us - before
            member.use += (used_us / elapsed_us - member.use) * SMOOTHING
            if now >= member.new_until:
                together_us += used_us
            elif used_us > busy_us:
                member.is_suspect, member.new_until = True, now + CALM_S_MIN
                self.suspect_until = now + SUSPECT_S
        self.above_us = min(BURST_US, max(0.0, self.above_us + together_us - busy_us))
        if not self.is_busy and self.above_us >= BURST_US:
            self.calm_s = min(2 * self.calm_s, CALM_S_MAX) if self._is_soon(now) else CALM_S_MIN
            self.is_busy = True
        if self.is_busy and together_us > busy_us:
            self.calm_at = now + self.calm_s
        elif now >= self.calm_at:
            self.is_busy = False
        for member in self.members.values():
            member.is_background = self.is_busy or (member.is_suspect and now < member.new_until)

    def at_work(self) -> int:
        """How many of its sandboxes in the background want the CPU."""
        return sum(member.is_background and member.use > AT_WORK_SHARE for member in self.members.values())

    def schedule(self, background_parts: int) -> None:
        """Have each take its part, where that is not what it takes already; with no parts of the background, all are in
        the foreground.
        """
        for sandbox, member in self.members.items():
            is_background = member.is_background and background_parts > 0
            parts = background_parts if is_background else len(self.members)
            if member.scheduled != (parts, is_background):
                member.scheduled = (parts, is_background)
                sandbox.schedule(parts, is_background=is_background)

    def _is_soon(self, now: float) -> bool:
        return now - self.calm_at < SOON * self.calm_s


class Background:
    """Looks at the sandboxes of one loader, as long as there is one, or a tenant whose last ones were busy."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tenants: dict[TenantUid, _Tenant] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0

    def is_suspect(self, tenant: TenantUid) -> bool:
        """Whether a new sandbox of the tenant's would begin in the background."""
        known = self._tenants.get(tenant)
        return known is not None and known.is_suspect(self._loop.time())

    def add(self, tenant: TenantUid, sandbox: Sandbox) -> None:
        """It gets this tenant's code now."""
        now = self._loop.time()
        known = self._tenants.setdefault(tenant, _Tenant())
        is_suspect = known.is_suspect(now)
        known.members[sandbox] = _Member(sandbox.cpu_usage_us(), now + CALM_S_MIN, is_suspect, is_suspect)
        self._schedule()
        if self._timer is None:
            self._looked_at = now
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def remove(self, tenant: TenantUid, sandbox: Sandbox) -> None:
        """It is gone."""
        known = self._tenants[tenant]
        del known.members[sandbox]
        self._schedule()

    def close(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        elapsed_us = max(1.0, (now - self._looked_at) * 1e6)
        self._looked_at = now
        for tenant, known in list(self._tenants.items()):
            known.look(now, elapsed_us)
            if known.is_forgotten(now):
                del self._tenants[tenant]
        self._schedule()
        self._timer = self._loop.call_later(LOOK_S, self._look) if self._tenants else None

    def _schedule(self) -> None:
        at_work = {known: known.at_work() for known in self._tenants.values()}
        crowd = sum(map(bool, at_work.values()))
        is_wanted = any(not member.is_background for known in at_work for member in known.members.values())
        for known, mine in at_work.items():
            known.schedule(_background_parts(mine, crowd) if is_wanted else 0)


def _background_parts(mine: int, crowd: int) -> int:
    """One in how many of those in the background each of a tenant's is, of which so many want the CPU, when so many
    tenants have some that do: so they get it alike. One tenant alone may have it all.
    """
    others = crowd - (mine > 0)
    return (1 + others) * max(1, mine) if others else 1
