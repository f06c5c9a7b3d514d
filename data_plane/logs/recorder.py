"""Takes lines as they are printed, and writes them to the log store a few times a second.

Nobody who prints waits for it, and nothing else does: what it has no room for is dropped and counted, and a store that
fails is tried again while lines are dropped. Its memory is bounded, and shared out: a tenant that floods takes its own
part of it and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from data_plane.logs.limits import LINE_OVERHEAD_BYTES, LogLimits
from data_plane.logs.store import Line, LogKey, LogStore
from loader.logs import LogLine
from stepwell.names import TenantUid

log = structlog.get_logger(__name__)

WRITE_EVERY_S: Final = 0.25
"""How long a line waits for others to be written with."""

MISSING_TOLD_AFTER_WRITES: Final = 6
"""How many writes a number of missing lines waits for a line to be told with: over a second, after which a sandbox that
printed too fast may print again."""

FAILED_DELAY_S: Final = (1.0, 5.0, 15.0, 60.0)
"""After a write that failed, before the next; the last one repeats."""

EXPIRE_EVERY_S: Final = 600.0

_DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class _Waiting:
    """One instance's lines that are not written yet, and how many are missing after them."""

    lines: list[Line] = field(default_factory=list)
    dropped: int = 0
    writes: int = 0
    """That went by since the first of the missing ones."""


class Recorder:
    """`run` and `expire` are to be tasks; `close` when they have ended."""

    def __init__(self, store: LogStore, *, clock: Callable[[], int], limits: LogLimits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._waiting: dict[LogKey, _Waiting] = {}
        self._bytes: dict[TenantUid, int] = {}
        """Of what waits, by tenant."""
        self._bytes_in_all = 0
        self._forgotten: list[tuple[LogKey, Callable[[], None]]] = []
        self._wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._awaited: set[LogKey] = set()
        """Instances whose missing lines are to be told with the next write."""
        self._written: asyncio.Future[None] | None = None
        """Of those who wait for the next write."""
        self._in_flight: set[LogKey] = set()
        self._followers: dict[LogKey, set[asyncio.Event]] = {}
        self._failures = 0

    # ---------------------------------------------------------------- what others ask for
    def put(self, key: LogKey, line: LogLine) -> None:
        """Take a line of the instance, or what is told of missing ones. Never waits, never raises."""
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting()
        self._wanted.set()
        if line.text is None or not self._takes(key.tenant, len(line.text) + LINE_OVERHEAD_BYTES):
            waiting.dropped += line.dropped + (line.text is not None)
            return
        text = line.text.decode("utf-8", "replace").removesuffix("\r")
        stream = line.stream or 1
        waiting.lines.append(
            Line(self._clock(), line.name, line.count, line.attempt, stream, text, waiting.dropped + line.dropped)
        )
        waiting.dropped = waiting.writes = 0

    def forget(self, key: LogKey, then: Callable[[], None]) -> None:
        """Delete the instance's lines; call `then` once they are gone, or can't be deleted now: they age."""
        self._waiting.pop(key, None)
        if self._failures:
            then()
            then = _nobody_waits
        self._forgotten.append((key, then))
        self._wanted.set()
        self._hurry.set()

    async def flushed(self, key: LogKey) -> None:
        """Return once all that the instance printed before can be read, or the store has failed."""
        if self._failures or (key not in self._waiting and key not in self._in_flight):
            return
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        self._awaited.add(key)
        self._wanted.set()
        self._hurry.set()
        await asyncio.shield(self._written)

    @contextmanager
    def following(self, key: LogKey) -> Iterator[asyncio.Event]:
        """An event that is set whenever lines of the instance were written, as long as the block lasts."""
        more = asyncio.Event()
        self._followers.setdefault(key, set()).add(more)
        try:
            yield more
        finally:
            followers = self._followers[key]
            followers.discard(more)
            if not followers:
                del self._followers[key]

    # ---------------------------------------------------------------- tasks
    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            await self._wanted.wait()
            await self._pause()
            await self._write()

    async def expire(self) -> None:
        """Remove lines that are too old, until cancelled."""
        while True:
            before = self._clock() - round(self._limits.age_days_max * _DAY_MS)
            try:
                while await self._store.expire(before):
                    pass
            except Exception:
                log.exception("old log lines could not be removed; it is tried again")
            await asyncio.sleep(EXPIRE_EVERY_S)

    async def close(self) -> None:
        """Write what waits, then close the store."""
        self._awaited.update(self._waiting)
        await self._write()
        await self._store.close()

    # ---------------------------------------------------------------- the way to the store
    def _takes(self, tenant: TenantUid, size: int) -> bool:
        """Whether there is room, and if so, take it: up to an equal share there always is."""
        limits, mine = self._limits, self._bytes.get(tenant, 0) + size
        if mine > limits.waiting_bytes_per_tenant_max:
            return False
        share = limits.waiting_bytes_max // max(1, len(self._bytes))
        if mine > share and self._bytes_in_all + size > limits.waiting_bytes_max:
            return False
        self._bytes[tenant] = mine
        self._bytes_in_all += size
        return True

    async def _pause(self) -> None:
        """Let lines gather, but for those who wait; after a failure, let the store rest."""
        if self._failures:
            await asyncio.sleep(FAILED_DELAY_S[min(self._failures, len(FAILED_DELAY_S)) - 1])
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITE_EVERY_S):
                await self._hurry.wait()

    async def _write(self) -> None:
        self._wanted.clear()
        self._hurry.clear()
        written, self._written = self._written, None
        forgotten, self._forgotten = self._forgotten, []
        batch = self._take()
        self._in_flight = {key for key, _ in batch}
        try:
            if batch:
                await self._store.append(batch)
            if forgotten:
                await self._store.delete([key for key, _ in forgotten])
            self._failures = 0
        except Exception:
            self._failures += 1
            log.exception("what workflows printed could not be written", lines=sum(len(lines) for _, lines in batch))
            self._count_as_dropped(batch)
        finally:
            self._in_flight = set()
            for _, then in forgotten:
                then()
            if written is not None and not written.done():
                written.set_result(None)
        for key, _ in batch:
            for more in self._followers.get(key, ()):
                more.set()

    def _take(self) -> list[tuple[LogKey, list[Line]]]:
        batch: list[tuple[LogKey, list[Line]]] = []
        taken, self._waiting = self._waiting, {}
        awaited, self._awaited = self._awaited, set()
        self._bytes, self._bytes_in_all = {}, 0
        for key, waiting in taken.items():
            if waiting.dropped:
                waiting.writes += 1
                if key in awaited or waiting.writes >= MISSING_TOLD_AFTER_WRITES:
                    waiting.lines.append(Line(self._clock(), "", 0, 0, 0, "", waiting.dropped))
                else:
                    self._waiting[key] = _Waiting(dropped=waiting.dropped, writes=waiting.writes)
                    self._wanted.set()
            if waiting.lines:
                batch.append((key, waiting.lines))
        return batch

    def _count_as_dropped(self, batch: list[tuple[LogKey, list[Line]]]) -> None:
        for key, lines in batch:
            waiting = self._waiting.setdefault(key, _Waiting())
            missing = sum(line.dropped + (line.stream != 0) for line in lines)
            if waiting.lines:
                first = waiting.lines[0]
                waiting.lines[0] = replace(first, dropped=first.dropped + missing)
            else:
                waiting.dropped += missing
        self._wanted.set()


def _nobody_waits() -> None:
    """The store rests after a failure."""
