"""The way of a printed line to the store: bounded, shared out, in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from data_plane.logs.limits import LINE_OVERHEAD_BYTES, LogLimits
from data_plane.logs.recorder import MISSING_TOLD_AFTER_WRITES, WRITE_EVERY_S, Recorder
from data_plane.logs.store import Line, LogKey
from loader.logs import LogLine
from stepwell.names import InstanceUid, TenantUid
from tests.contract.oracle_log_store import OracleLogStore
from tests.unit.data_plane.house import on_virtual_time
from tests.unit.data_plane.virtual_loop import VirtualLoop

A, B = LogKey(TenantUid("t-1"), InstanceUid("a")), LogKey(TenantUid("t-2"), InstanceUid("b"))


class Store(OracleLogStore):
    """Counts its batches; fails, or takes its time, when it is told to."""

    def __init__(self) -> None:
        super().__init__(LogLimits(), {})
        self.batches: list[int] = []
        self.fails = 0
        self.takes_s = 0.0
        self.closed = False

    async def append(self, batch: Sequence[tuple[LogKey, Sequence[Line]]]) -> None:
        await asyncio.sleep(self.takes_s)
        if self.fails:
            self.fails -= 1
            raise OSError("the disk is full")
        self.batches.append(sum(len(lines) for _, lines in batch))
        await super().append(batch)

    async def close(self) -> None:
        self.closed = True

    async def told(self, key: LogKey) -> list[tuple[str, int]]:
        """Texts, and how many lines are missing before each; None's text is empty."""
        return [(line.text, line.dropped) for _, line in await self.read(key, after=0, step="", limit=10_000)]


def printed(text: bytes | None, dropped: int = 0) -> LogLine:
    return LogLine(None, "step", 1, 1, 1, text, dropped)


@asynccontextmanager
async def recording(limits: LogLimits | None = None) -> AsyncIterator[tuple[Recorder, Store]]:
    store = Store()
    clock = cast(VirtualLoop, asyncio.get_running_loop()).clock
    recorder = Recorder(store, clock=clock, limits=limits or LogLimits())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recorder.run())
        yield recorder, store
        running.cancel()


@on_virtual_time
async def test_lines_that_are_printed_together_are_written_together() -> None:
    async with recording() as (recorder, store):
        for number in range(100):
            recorder.put(A, printed(b"%d" % number))
            recorder.put(B, printed(b"other"))
        assert store.batches == []
        await asyncio.sleep(WRITE_EVERY_S * 2)
        assert store.batches == [200]
        assert (await store.told(A))[:2] == [("0", 0), ("1", 0)]


@on_virtual_time
async def test_what_is_no_text_is_replaced_and_nothing_else_is_changed() -> None:
    async with recording() as (recorder, store):
        for text in (b"\xff\xfe ok", b"\x00\x1b[31m", b"windows\r", "\u202e".encode(), b"\xed\xa0\x80"):
            recorder.put(A, printed(text))
        await recorder.flushed(A)
        told = [text for text, _ in await store.told(A)]
        assert told == ["\ufffd\ufffd ok", "\x00\x1b[31m", "windows", "\u202e", "\ufffd" * 3]


@on_virtual_time
async def test_a_tenant_that_floods_has_its_own_lines_dropped_and_counted() -> None:
    limits = LogLimits(waiting_bytes_max=10_000, waiting_bytes_per_tenant_max=2 * LINE_OVERHEAD_BYTES + 2)
    async with recording(limits) as (recorder, store):
        for _ in range(1_000):
            recorder.put(A, printed(b"x"))
        recorder.put(B, printed(b"quiet"))
        await recorder.flushed(A)
        assert await store.told(A) == [("x", 0), ("x", 0), ("", 998)]
        assert await store.told(B) == [("quiet", 0)]
        recorder.put(A, printed(b"again"))
        await recorder.flushed(A)
        assert (await store.told(A))[-1] == ("again", 0)


@on_virtual_time
async def test_however_many_tenants_flood_each_has_an_equal_share_and_memory_is_bounded() -> None:
    size = LINE_OVERHEAD_BYTES + 1
    limits = LogLimits(waiting_bytes_max=100 * size, waiting_bytes_per_tenant_max=50 * size)
    async with recording(limits) as (recorder, store):
        floods = [LogKey(TenantUid(f"flood-{number}"), InstanceUid("i")) for number in range(4)]
        for _ in range(60):
            for key in floods:
                recorder.put(key, printed(b"x"))
        for _ in range(10):
            recorder.put(B, printed(b"y"))
        assert recorder._bytes_in_all <= 2 * limits.waiting_bytes_max
        await recorder.flushed(B)
        assert await store.told(B) == [("y", 0)] * 10
        kept = [len(await store.told(key)) - 1 for key in floods]
        assert min(kept) >= 20
        assert max(kept) <= 50


@on_virtual_time
async def test_missing_lines_are_told_with_the_next_line_or_after_a_while_alone() -> None:
    async with recording() as (recorder, store):
        recorder.put(A, printed(None, 5))
        recorder.put(A, printed(b"next"))
        recorder.put(A, printed(None, 2))
        await asyncio.sleep(WRITE_EVERY_S * 2)
        assert await store.told(A) == [("next", 5)]
        recorder.put(A, printed(None, 1))
        recorder.put(A, printed(b"later"))
        recorder.put(A, printed(None, 7))
        await asyncio.sleep(WRITE_EVERY_S * (MISSING_TOLD_AFTER_WRITES + 2))
        assert await store.told(A) == [("next", 5), ("later", 3), ("", 7)]
        assert recorder._waiting == {}


@on_virtual_time
async def test_whoever_waits_for_its_own_lines_makes_no_others_be_told_sooner() -> None:
    async with recording() as (recorder, store):
        for number in range(MISSING_TOLD_AFTER_WRITES - 1):
            recorder.put(B, printed(None, 1))
            recorder.put(A, printed(b"%d" % number))
            await recorder.flushed(A)
        assert await store.told(B) == []
        await recorder.flushed(B)
        assert await store.told(B) == [("", MISSING_TOLD_AFTER_WRITES - 1)]


@on_virtual_time
async def test_a_slow_store_holds_nobody_up_and_bounds_what_waits() -> None:
    async with recording(LogLimits(waiting_bytes_per_tenant_max=10_000)) as (recorder, store):
        store.takes_s = 60
        recorder.put(A, printed(b"first"))
        await asyncio.sleep(1)
        for _ in range(10_000):
            recorder.put(A, printed(b"x" * (1_000 - LINE_OVERHEAD_BYTES)))
        assert recorder._bytes_in_all <= 10_000
        store.takes_s = 0
        await asyncio.sleep(120)
        told = await store.told(A)
        assert told[0] == ("first", 0)
        assert sum(dropped for _, dropped in told) == 9_990


@on_virtual_time
async def test_a_store_that_fails_is_tried_again_and_what_it_lost_is_told() -> None:
    async with recording() as (recorder, store):
        store.fails = 2
        recorder.put(A, printed(b"lost"))
        await asyncio.sleep(0.5)
        recorder.put(A, printed(b"lost too"))
        await asyncio.sleep(3)
        recorder.put(A, printed(b"kept"))
        await asyncio.sleep(30)
        assert await store.told(A) == [("kept", 2)]


@on_virtual_time
async def test_while_the_store_fails_nobody_waits_for_it() -> None:
    async with recording() as (recorder, store):
        store.fails = 1_000
        recorder.put(A, printed(b"lost"))
        await recorder.flushed(A)
        began = asyncio.get_running_loop().time()
        await recorder.flushed(A)
        gone = asyncio.Event()
        recorder.forget(A, gone.set)
        await gone.wait()
        assert asyncio.get_running_loop().time() == began


@on_virtual_time
async def test_what_is_forgotten_is_gone_with_what_was_on_its_way() -> None:
    async with recording() as (recorder, store):
        recorder.put(A, printed(b"written"))
        recorder.put(B, printed(b"another's"))
        await recorder.flushed(A)
        recorder.put(A, printed(b"waiting"))
        gone = asyncio.Event()
        recorder.forget(A, gone.set)
        await gone.wait()
        assert await store.told(A) == []
        assert await store.told(B) == [("another's", 0)]
        await asyncio.sleep(5)
        assert await store.told(A) == []


@on_virtual_time
async def test_followers_hear_of_their_own_instance_and_leave_nothing_behind() -> None:
    async with recording() as (recorder, _):
        with recorder.following(A) as mine, recorder.following(A) as too, recorder.following(B) as other:
            recorder.put(A, printed(b"x"))
            await recorder.flushed(A)
            assert (mine.is_set(), too.is_set(), other.is_set()) == (True, True, False)
        assert recorder._followers == {}


@on_virtual_time
async def test_closing_writes_what_waits() -> None:
    async with recording() as (recorder, store):
        recorder.put(A, printed(b"last words"))
        recorder.put(A, printed(None, 3))
    await recorder.close()
    assert await store.told(A) == [("last words", 0), ("", 3)]
    assert store.closed


@on_virtual_time
async def test_old_lines_are_removed_every_few_minutes() -> None:
    async with recording(LogLimits(age_days_max=0.01)) as (recorder, store):
        recorder.put(A, printed(b"old"))
        await recorder.flushed(A)
        async with asyncio.TaskGroup() as tasks:
            expiring = tasks.create_task(recorder.expire())
            await asyncio.sleep(800)
            assert await store.told(A) == [("old", 0)]
            await asyncio.sleep(800)
            assert await store.told(A) == []
            expiring.cancel()
