"""The log store in Cassandra: lines in blocks, a block for what an instance printed between two writes.

Numbers go on from the newest block, which is remembered while an instance prints: then an append is two writes, and
nothing is read. What a tenant has in all is looked up when this node begins to write for it, again after each eighth of
its limit that this node writes, and before room is made. That goes on step by step, for a short time with each append:
a tenant of very many small instances holds up nobody's lines. Lines go by their age by themselves.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from cluster.cassandra.session import CassandraSession
from data_plane.logs.cassandra.blocks import BlockCodec
from data_plane.logs.cassandra.quietest import Quietest, Sized
from data_plane.logs.cassandra.tables import SLICES, Statements
from data_plane.logs.limits import LogLimits
from data_plane.logs.store import Line, LogKey, NumberedLine
from stepwell.errors import UnavailableError
from stepwell.names import InstanceUid, TenantUid

log = structlog.get_logger(__name__)

KNOWN_S: Final = 1.0
"""How long an instance's newest block is remembered: others may own it meanwhile."""

KNOWN_INSTANCES_MAX: Final = 10_000
"""Newest blocks that are remembered; others are read."""

KNOWN_TENANTS_MAX: Final = 10_000
"""Tenants of which it is remembered how much they have."""

INSTANCES_AT_ONCE: Final = 64
"""That are written, or make room, at the same time: above that a node of Cassandra gets no faster."""

ROOM_S: Final = 0.5
"""How long an append goes on with making room, for all tenants, before it leaves the rest to the next."""

PAGE_BLOCKS: Final = 16
"""Of lines, in one read: a megabyte."""

PAGE_ROWS: Final = 1_000
"""Of sizes."""

KEPT_PARTS, OF_PARTS = 7, 8
"""What is left where room is made: so that room is made for many lines at a time."""

AGE_DAYS_MAX: Final = 7_300.0
"""Cassandra knows no longer time to live than twenty years."""

_DAY_S: Final = 86_400

T = TypeVar("T")
A = TypeVar("A")


@dataclass(slots=True)
class _Known:
    """Of an instance: the number of its last line, how many bytes it ever printed, and how many of these are gone."""

    number: int
    total: int
    gone: int
    newest_at: int
    at: float
    """When that was known, by the loop's clock."""

    @property
    def bytes(self) -> int:
        return self.total - self.gone


@dataclass(slots=True)
class _Tenant:
    """What it had when that was looked up, with what this node has changed since, and how much of that it wrote."""

    bytes: int
    written: int = 0


class CassandraLogStore:
    """See `LogStore` for what each method promises. The session is somebody else's, and stays open."""

    def __init__(self, session: CassandraSession, statements: Statements, limits: LogLimits) -> None:
        self._session = session
        self._statements = statements
        self._instance_max = min(limits.instance_bytes_max, limits.tenant_bytes_max)
        self._tenant_max = limits.tenant_bytes_max
        self._ttl_s = max(1, math.ceil(limits.age_days_max * _DAY_S))
        self._codec = BlockCodec()
        self._turn = asyncio.Lock()
        """Whoever changes anything has it, so that no two take the same numbers here."""
        self._known: dict[LogKey, _Known] = {}
        self._tenants: dict[TenantUid, _Tenant] = {}
        self._rooms: dict[TenantUid, AsyncGenerator[None]] = {}
        """Tenants that are held to their limit at the moment, in the order in which they are gone on with."""

    @classmethod
    async def open(cls, session: CassandraSession, limits: LogLimits) -> CassandraLogStore:
        """Raises ValueError for limits that can't be kept here, UnavailableError, also where the schema is missing."""
        if limits.age_days_max > AGE_DAYS_MAX:
            raise ValueError(
                f"[logs].age_days_max is {limits.age_days_max:g}; in Cassandra it can be at most {AGE_DAYS_MAX:g}"
            )
        return cls(session, await Statements.prepare(session), limits)

    async def append(self, batch: Sequence[tuple[LogKey, Sequence[Line]]]) -> None:
        async with self._turn:
            await _each(self._add, batch)
            for tenant in dict.fromkeys(key.tenant for key, _ in batch):
                known = self._tenants.get(tenant)
                if tenant not in self._rooms and (known is None or self._may_be_over(known)):
                    self._rooms[tenant] = self._hold_to_limit(tenant)
            await self._make_room()

    async def read(self, key: LogKey, *, after: int, step: str, limit: int) -> Sequence[NumberedLine]:
        found: list[NumberedLine] = []
        before = after
        statement, values = self._statements.blocks, (*key, after)
        async with aclosing(self._session.pages(statement, values, PAGE_BLOCKS)) as pages:
            async for page in pages:
                for (cell,) in page.rows:
                    for number, at, name, count, attempt, stream, text in self._codec.decode(cell):
                        if number <= before:
                            continue  # of an earlier page; or two owners gave it
                        if step in ("", name):
                            line = Line(at, name, count, attempt, stream, text, number - before - 1)
                            found.append(NumberedLine(number, line))
                            if len(found) == limit:
                                return found
                        before = number
        return found

    async def delete(self, keys: Sequence[LogKey]) -> None:
        async with self._turn:
            await _each(self._delete, keys)

    async def expire(self, before: int) -> bool:
        """They went by themselves."""
        return False

    async def close(self) -> None:
        async with self._turn:
            for room in self._rooms.values():
                await room.aclose()
            self._rooms.clear()

    # ---------------------------------------------------------------- one instance
    async def _add(self, added: tuple[LogKey, Sequence[Line]]) -> None:
        key, lines = added
        known = await self._take(key)
        before, written = known.bytes, 0
        for block in self._codec.blocks(known.number, lines):
            known.total += block.size
            written += block.size
            row = (*key, block.number, block.cell, block.size, known.total)
            await self._session.acknowledged(self._statements.put_block, (*row, self._ttl_s))
            known.number = block.number
        known.newest_at = max(known.newest_at, *(line.at for line in lines))
        if known.bytes > self._instance_max:
            await self._make_room_in_instance(key, known)
        size = (*_slice(key), key.instance, known.bytes, known.newest_at)
        await self._session.acknowledged(self._statements.put_size, (*size, self._ttl_s))
        self._keep(key, known)
        tenant = self._tenants.get(key.tenant)
        if tenant is not None:
            tenant.bytes += known.bytes - before
            tenant.written += written

    async def _take(self, key: LogKey) -> _Known:
        """What is known of an instance; not any more, until it is kept again: so that no error leaves what is wrong."""
        now = asyncio.get_running_loop().time()
        known = self._known.pop(key, None)
        if known is not None and now - known.at <= KNOWN_S:
            return known
        newest = await self._session.rows(self._statements.newest, key, 1)
        if not newest:
            return _Known(0, 0, 0, 0, now)
        [(number, size, total)] = newest
        if size == total:
            return _Known(number, total, 0, 0, now)
        oldest = await self._session.rows(self._statements.oldest, key, 1)
        gone = oldest[0][2] - oldest[0][1] if oldest else total
        return _Known(number, total, gone, 0, now)

    def _keep(self, key: LogKey, known: _Known) -> None:
        known.at = asyncio.get_running_loop().time()
        self._known[key] = known
        if len(self._known) > KNOWN_INSTANCES_MAX:
            del self._known[next(iter(self._known))]

    async def _make_room_in_instance(self, key: LogKey, known: _Known) -> None:
        blocks = await self._session.rows(self._statements.sizes_of_blocks, key, PAGE_ROWS)
        keep = self._instance_max * KEPT_PARTS // OF_PARTS
        left = sum(size for _, size in blocks)
        last = 0
        for number, size in blocks:
            if left <= keep:
                break
            left, last = left - size, number
        await self._remove(key, known, last)
        known.gone = known.total - left

    async def _remove(self, key: LogKey, known: _Known, last: int) -> None:
        """Its blocks up to that number. Of the newest, the row stays, without lines: numbers go on from it."""
        if last == known.number:
            row = (*key, last, b"", 0, known.total)
            await self._session.acknowledged(self._statements.put_block, (*row, self._ttl_s))
            last -= 1
        await self._session.acknowledged(self._statements.delete_blocks_before, (*key, last + 1))

    async def _delete(self, key: LogKey) -> None:
        self._known.pop(key, None)
        await self._session.acknowledged(self._statements.delete_blocks, key)
        await self._session.acknowledged(self._statements.delete_size, (*_slice(key), key.instance))

    # ---------------------------------------------------------------- one tenant
    def _may_be_over(self, known: _Tenant) -> bool:
        return known.bytes > self._tenant_max or known.written > self._tenant_max // OF_PARTS

    async def _make_room(self) -> None:
        """A step at least, and more while there is time: tenants take turns."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + ROOM_S
        while self._rooms:
            tenant = next(iter(self._rooms))
            room = self._rooms.pop(tenant)
            try:
                await anext(room)
                self._rooms[tenant] = room
            except StopAsyncIteration:
                pass
            except UnavailableError as error:  # what was added is there: so it is no error of theirs
                self._tenants.pop(tenant, None)
                log.warning("no room could be made among a tenant's log lines", tenant=tenant, reason=str(error))
            if loop.time() >= ends_at:
                return

    async def _hold_to_limit(self, tenant: TenantUid) -> AsyncGenerator[None]:
        """Look up what the tenant has, and where that is too much, empty those that were quiet longest: in steps."""
        known = self._tenants[tenant] = _Tenant(0)
        if len(self._tenants) > KNOWN_TENANTS_MAX:
            del self._tenants[next(iter(self._tenants))]
        for slice in range(SLICES):
            known.bytes += await self._sum(tenant, slice)
            yield
        if known.bytes <= self._tenant_max:
            return
        quietest = Quietest(known.bytes - self._tenant_max * KEPT_PARTS // OF_PARTS)
        for slice in range(SLICES):
            async with aclosing(self._session.pages(self._statements.sizes, (tenant, slice), PAGE_ROWS)) as pages:
                async for page in pages:
                    for instance, size, newest_at in page.rows:
                        quietest.show(Sized(newest_at, instance, size))
                    yield
        gone = quietest.found()
        for first in range(0, len(gone), INSTANCES_AT_ONCE):
            some = gone[first : first + INSTANCES_AT_ONCE]
            await _each(self._empty, [LogKey(tenant, InstanceUid(sized.instance)) for sized in some])
            known.bytes -= sum(sized.bytes for sized in some)
            yield

    async def _empty(self, key: LogKey) -> None:
        known = await self._take(key)
        if known.bytes:
            await self._remove(key, known, known.number)
        await self._session.acknowledged(self._statements.delete_size, (*_slice(key), key.instance))
        known.gone = known.total
        self._keep(key, known)

    async def _sum(self, tenant: TenantUid, slice: int) -> int:
        [(found,)] = await self._session.rows(self._statements.sum_of_sizes, (tenant, slice), PAGE_ROWS)
        return int(found)


def _slice(key: LogKey) -> tuple[TenantUid, int]:
    """The partition of its size."""
    return key.tenant, zlib.crc32(key.instance.encode()) % SLICES


async def _each(of: Callable[[A], Awaitable[None]], these: Sequence[A]) -> None:
    """Do it to each, some at a time, and to all of them whatever becomes of others; then raise the first error."""
    errors: list[BaseException] = []
    for first in range(0, len(these), INSTANCES_AT_ONCE):
        some: Iterable[A] = these[first : first + INSTANCES_AT_ONCE]
        errors += [each for each in await asyncio.gather(*map(of, some), return_exceptions=True) if each is not None]
    if errors:
        raise errors[0]
