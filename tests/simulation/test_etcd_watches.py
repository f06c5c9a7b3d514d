"""The modelled etcd's watches: what they tell, how late, and when they stall, break or are too late altogether."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import pytest

from cluster.store import WATCH_PROGRESS_SECONDS, CompactedError, Delete, Event, Put, WatchBatch
from stepwell.errors import UnavailableError
from tests.simulation.etcd_client import EtcdStore
from tests.simulation.etcd_faults import CALM, HOSTILE, NO_LEADER_S, EtcdFaults, Fault
from tests.simulation.etcd_rig import Rig, put, recorded_changes, simulated

SLOW_HOP_S = 0.5


class Reader:
    """Reads a watch on everything to its end."""

    def __init__(self, rig: Rig, group: asyncio.TaskGroup, after: int = 0) -> None:
        self.heard: list[tuple[float, WatchBatch]] = []
        self.error: Exception | None = None
        self._rig = rig
        self.task = group.create_task(self._read(rig.store, after))

    @property
    def events(self) -> list[Event]:
        return [event for _, batch in self.heard for event in batch.events]

    async def _read(self, store: EtcdStore, after: int) -> None:
        try:
            async for batch in store.watch("", after=after):
                self.heard.append((self._rig.loop.time(), batch))
        except (UnavailableError, CompactedError) as error:
            self.error = error


@simulated
async def test_a_quiet_watch_gives_signs_of_life() -> None:
    rig = Rig()
    await put(rig.store, "a")
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group, after=1)
        await asyncio.sleep(WATCH_PROGRESS_SECONDS * 4 + 0.5)
        reader.task.cancel()
    assert [batch for _, batch in reader.heard] == [WatchBatch(1, ())] * 5
    times = [at_s for at_s, _ in reader.heard]
    assert all(later - at == pytest.approx(WATCH_PROGRESS_SECONDS, abs=0.01) for at, later in pairwise(times))


@simulated
async def test_a_watch_tells_a_little_late_and_in_order() -> None:
    rig = Rig(EtcdFaults(watch_hop_s=(0.0, SLOW_HOP_S)))
    made: dict[int, float] = {}
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group)
        await asyncio.sleep(1)
        for number in range(100):
            revision = await put(rig.other, f"{number}")
            made[revision] = rig.loop.time()
            await asyncio.sleep(0.05)
        await asyncio.sleep(SLOW_HOP_S)
        reader.task.cancel()
    assert [event.mod_revision for event in reader.events] == list(range(1, 101))
    lateness = [at_s - made[event.mod_revision] for at_s, batch in reader.heard for event in batch.events]
    assert max(lateness) > SLOW_HOP_S / 2
    assert max(lateness) <= SLOW_HOP_S
    assert len(reader.heard) < 100, "several revisions came in one batch"


@simulated
async def test_a_watch_that_breaks_has_told_a_part_and_another_goes_on_from_there() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group)
        for number in range(5):
            await put(rig.other, f"{number}")
        await asyncio.sleep(0.1)
        rig.etcd.faults = EtcdFaults(watch_broken=1.0)
        await put(rig.other, "5")
        await reader.task
        rig.etcd.faults = CALM
        assert isinstance(reader.error, UnavailableError)
        assert [event.key for event in reader.events] == list("01234")
        again = Reader(rig, group, after=reader.events[-1].mod_revision)
        await asyncio.sleep(0.1)
        again.task.cancel()
    assert [event.key for event in again.events] == ["5"]
    assert rig.seen == {Fault.WATCH_BROKEN: 1}


@pytest.mark.parametrize("who", ["member", "process"])
@simulated
async def test_a_watch_that_is_cut_off_says_nothing_and_then_tells_all_at_once(who: str) -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group)
        await asyncio.sleep(1)
        if who == "member":
            rig.etcd.cut_off(rig.store.member, 60)
        else:
            rig.connected = False
        for number in range(2):
            await asyncio.sleep(20)
            await put(rig.other, f"{number}")
        await asyncio.sleep(19)
        assert len(reader.heard) == 1
        rig.connected = True
        await asyncio.sleep(1 + WATCH_PROGRESS_SECONDS)
        reader.task.cancel()
    assert reader.error is None
    assert [event.key for event in reader.heard[1][1].events] == ["0", "1"]
    assert rig.seen[Fault.WATCH_STALLED] == 1


@simulated
async def test_a_watch_gives_no_sign_of_life_while_there_is_no_leader() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group)
        await asyncio.sleep(WATCH_PROGRESS_SECONDS - 0.1)
        rig.etcd.change_leader()
        await asyncio.sleep(NO_LEADER_S[1] + 0.1)
        reader.task.cancel()
    assert len(reader.heard) == 2
    assert reader.heard[1][0] > WATCH_PROGRESS_SECONDS - 0.1 + NO_LEADER_S[0]
    assert rig.seen == {Fault.LEADER_CHANGE: 1, Fault.WATCH_STALLED: 1}


@simulated
async def test_a_watch_that_begins_before_the_compacted_revision_is_refused() -> None:
    rig = Rig()
    for number in range(5):
        await put(rig.other, f"{number}")
    rig.etcd.compact(3)
    async with asyncio.TaskGroup() as group:
        before, at = Reader(rig, group, after=2), Reader(rig, group, after=3)
        await asyncio.sleep(0.1)
        at.task.cancel()
    assert isinstance(before.error, CompactedError)
    assert before.heard == []
    assert [event.mod_revision for event in at.events] == [4, 5]
    assert rig.seen == {Fault.COMPACTION: 1, Fault.WATCH_COMPACTED: 1}


@simulated
async def test_a_watch_that_stalled_for_too_long_meets_a_gap() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group)
        await asyncio.sleep(1)
        rig.etcd.cut_off(rig.store.member, 20)
        await put(rig.other, "a")
        await put(rig.other, "b")
        rig.etcd.compact(1)
        await asyncio.sleep(21)
        assert isinstance(reader.error, CompactedError)
    assert reader.events == []


@simulated
async def test_a_compaction_forgets_no_record() -> None:
    rig = Rig()
    await put(rig.store, "a")
    await put(rig.store, "b")
    rig.etcd.compact(2)
    assert await put(rig.store, "c") == 3
    assert [(found.key, found.mod_revision) for found in await rig.store.range("", limit=9)] == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
    ]


@simulated
async def test_a_dead_process_is_told_nothing_more() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        reader = Reader(rig, group)
        await asyncio.sleep(1)
        rig.alive = False
        await put(rig.other, "a")
        await asyncio.sleep(100)
        assert (len(reader.heard), reader.error, reader.task.done()) == (1, None, False)
        reader.task.cancel()
    assert rig.seen == {Fault.ANSWER_DROPPED: 1}


# What holds whatever goes wrong


async def followed(seed: int, patched: pytest.MonkeyPatch) -> Counter[str]:
    """A process keeps a copy of what is there, by watching, and by listing again when it must. Its copy is as it was at
    the revision that it was told of last. Returns which faults there were."""
    rig, truths, truth = Rig(HOSTILE, seed), {0: dict[str, int]()}, dict[str, int]()

    def heard(now_s: float, events: tuple[Event, ...]) -> None:
        apply(truth, events)
        truths[events[0].mod_revision] = dict(truth)

    recorded_changes(rig.etcd, patched, heard)

    async def follow() -> None:
        while True:
            try:
                after = await rig.store.revision()
                copy = {found.key: found.mod_revision for found in await rig.store.range("", limit=99)}
                async for batch in rig.store.watch("", after=after):
                    assert all(event.mod_revision > after for event in batch.events)
                    apply(copy, tuple(event for event in batch.events if event.mod_revision > copy.get(event.key, 0)))
                    if batch.revision >= max(copy.values(), default=0):
                        newest = max(revision for revision in truths if revision <= batch.revision)
                        assert copy == truths[newest], f"seed {seed}"
                    after = batch.revision
            except (UnavailableError, CompactedError):
                await asyncio.sleep(1)

    async def write() -> None:
        for number in range(60):
            operations = (Put(f"{number % 7}", b""), Delete(f"{number * 3 % 7}x"), Put(f"{number % 5}x", b""))
            with suppress(UnavailableError):
                await rig.other.txn((), operations[: 1 + number % 2] if number % 3 else operations[2:])
            await asyncio.sleep(number % 4)

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        await write()
        rig.etcd.quiet()
        await asyncio.sleep(20)
        following.cancel()
    return rig.seen


def apply(copy: dict[str, int], events: tuple[Event, ...]) -> None:
    for event in events:
        if event.value is None:
            copy.pop(event.key, None)
        else:
            copy[event.key] = event.mod_revision


@simulated
async def test_whoever_follows_a_watch_knows_what_there_was_at_the_revision_that_it_was_told() -> None:
    seen: Counter[str] = Counter()
    for seed in range(40):
        with pytest.MonkeyPatch.context() as patched:
            seen += await followed(seed, patched)
    assert {Fault.WATCH_BROKEN, Fault.WATCH_STALLED, Fault.WATCH_COMPACTED} <= set(seen)
