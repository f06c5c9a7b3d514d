"""The modelled cluster: what becomes of writes, what reads see of them, and that a seed says it all."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar, copy_context
from dataclasses import replace
from random import Random

import pytest

from data_plane.journal.store import (
    DeleteInstance,
    DropBucket,
    Mutation,
    PutMark,
    PutWake,
    Row,
    Stamp,
    Wake,
    WriteUnknownError,
)
from stepwell.names import InstanceUid
from tests.contract.journal_worlds import key_of, put_row, put_wake, row_of, written
from tests.simulation.cassandra_client import ReadUnavailableError
from tests.simulation.cassandra_faults import (
    CALM,
    CLIENT_TIMEOUT_S,
    COORDINATOR_TIMEOUT_S,
    HOSTILE,
    CassandraFaults,
    Fault,
)
from tests.simulation.cassandra_rig import Rig
from tests.unit.data_plane.house import on_virtual_time
from tests.unit.data_plane.virtual_loop import VirtualLoop, run

A, B = key_of("a"), key_of("b")
OLD, NEW = put_row(A, row_of(1, 0, "old"), 1), put_row(A, row_of(1, 0, "new"), 2)
LATE_MAX_S = CLIENT_TIMEOUT_S + CALM.late_s + 1
"""After it, nothing of an earlier write is still on its way."""

FALLING = CassandraFaults(falls_a_second=1e3, down_s=1e6)
"""Whoever does something a second later finds one more replica down, by chance, and for long."""

UNEVEN = CassandraFaults(slow=0.3, slow_s=0.5)
"""Nothing fails, but some messages take much longer than others."""


# Writes


@on_virtual_time
async def test_a_late_write_loses_to_a_newer_stamp() -> None:
    rig = Rig()
    assert isinstance(await rig.outcome(OLD, CassandraFaults(write_late=1.0)), WriteUnknownError)
    assert await rig.outcome(NEW) is None
    await asyncio.sleep(LATE_MAX_S)
    assert await rig.other.read_journal(A) == [NEW.row]
    assert rig.seen[Fault.WITHOUT_EFFECT] > 0


@on_virtual_time
async def test_a_late_write_is_shadowed_by_a_newer_deletion_and_a_late_deletion_spares_what_is_newer() -> None:
    rig = Rig()
    wakes = [put_wake(A, 1, due, due) for due in (1, 3)]
    assert await rig.outcome(wakes[0], CassandraFaults(write_late=1.0)) is not None
    assert await rig.outcome(DropBucket(0, 1, Stamp(1, 2)), CassandraFaults(write_late=1.0)) is not None
    assert await rig.outcome(wakes[1]) is None
    await asyncio.sleep(LATE_MAX_S)
    assert await rig.other.read_wakes(0, 1, 1) == [wakes[1].wake]


@pytest.mark.parametrize(
    ("faults", "fault", "timeout_s", "at_once", "in_the_end"),
    [
        (CassandraFaults(write_lost=1.0), Fault.WRITE_LOST, CLIENT_TIMEOUT_S, False, False),
        (CassandraFaults(write_late=1.0), Fault.WRITE_LATE, CLIENT_TIMEOUT_S, False, True),
        (CassandraFaults(answer_lost=1.0), Fault.ANSWER_LOST, CLIENT_TIMEOUT_S, True, True),
        (CassandraFaults(copy_lost=1.0), Fault.COPY_LOST, COORDINATOR_TIMEOUT_S, False, False),
        (CassandraFaults(copy_late=1.0), Fault.COPY_LATE, COORDINATOR_TIMEOUT_S, False, True),
        (CassandraFaults(copy_late=1.0), Fault.WRITE_TIMEOUT, COORDINATOR_TIMEOUT_S, False, True),
    ],
)
@on_virtual_time
async def test_a_write_that_is_unknown_is_applied_or_not_or_later(
    faults: CassandraFaults, fault: Fault, timeout_s: float, at_once: bool, in_the_end: bool
) -> None:
    rig = Rig()
    began = rig.loop.time()
    assert isinstance(await rig.outcome(NEW, faults), WriteUnknownError)
    assert rig.loop.time() - began == pytest.approx(timeout_s, abs=0.01)
    assert bool(await rig.other.read_journal(A)) == at_once
    await asyncio.sleep(LATE_MAX_S)
    assert bool(await rig.other.read_journal(A)) == in_the_end
    assert rig.seen[fault] > 0


@on_virtual_time
async def test_a_write_that_comes_twice_is_the_same_write() -> None:
    rig = Rig()
    assert await rig.outcome(OLD, CassandraFaults(copy_twice=1.0)) is None
    assert await rig.outcome(NEW) is None
    await asyncio.sleep(LATE_MAX_S)
    assert await rig.outcome(put_row(B, row_of(1, 0), 3)) is None
    assert await rig.other.read_journal(A) == [NEW.row]
    assert rig.seen[Fault.WRITE_TWICE] == 3


@on_virtual_time
async def test_with_one_replica_down_all_goes_on_and_hints_bring_what_it_missed() -> None:
    rig = Rig(FALLING)
    await asyncio.sleep(1.0)
    await rig.other.read_journal(A)
    assert rig.seen[Fault.REPLICA_DOWN] == 1
    rig.cluster.faults = CALM
    assert await written(rig.store, NEW) == [None]
    assert await rig.other.read_journal(A) == [NEW.row]
    await asyncio.sleep(FALLING.down_s + LATE_MAX_S)
    assert await written(rig.store, put_row(B, row_of(1, 0), 3)) == [None]
    assert rig.seen[Fault.COPY_LATE] == 1


@on_virtual_time
async def test_with_two_replicas_down_nothing_is_written_or_read_until_they_are_up() -> None:
    rig = Rig(FALLING)
    for _ in range(20):
        await asyncio.sleep(1.0)
        await asyncio.gather(rig.other.read_journal(A), return_exceptions=True)
    rig.cluster.faults = CALM
    [answer] = await written(rig.store, OLD)
    assert isinstance(answer, WriteUnknownError)
    with pytest.raises(ReadUnavailableError):
        await rig.other.read_journal(A)
    assert rig.seen[Fault.WRITE_UNAVAILABLE] == 1
    assert rig.seen[Fault.READ_UNAVAILABLE] > 0
    rig.cluster.quiet()
    assert await rig.other.read_journal(A) == []
    assert await rig.outcome(NEW) is None


# Reads


@on_virtual_time
async def test_what_a_read_has_shown_every_later_read_shows() -> None:
    rig = Rig()
    shown_late = 0
    for number in range(60):
        key, faults = key_of(f"i-{number}"), CassandraFaults(copy_lost=0.6)
        await rig.outcome(put_row(key, row_of(1, 0), number), faults)
        shown = [bool(await rig.other.read_journal(key)) for _ in range(12)]
        assert shown == sorted(shown)
        shown_late += len(set(shown)) - 1
    assert shown_late > 5, "one read asked the only replica that had it, an earlier one the two others"
    assert rig.seen[Fault.READ_REPAIR] > 10


@on_virtual_time
async def test_a_read_that_failed_may_have_repaired_a_replica_and_another_may_go_well() -> None:
    rig = Rig()
    rig.cluster.faults = CassandraFaults(read_failed=1.0)
    with pytest.raises(ReadUnavailableError):
        await rig.other.read_journal(A)
    assert rig.seen[Fault.READ_FAILED] == 1
    rig.cluster.quiet()
    assert await rig.other.read_journal(A) == []


@on_virtual_time
async def test_a_read_that_takes_too_long_fails() -> None:
    rig = Rig(CassandraFaults(hop_s=(1.0, 1.1)))
    with pytest.raises(ReadUnavailableError):
        await rig.other.read_journal(A)
    assert rig.seen[Fault.READ_TIMEOUT] == 1


async def in_order(rig: Rig, mutations: list[Mutation]) -> None:
    """Each is written once the one before was acknowledged, as fast as that goes."""
    for mutation in mutations:
        assert await written(rig.store, mutation) == [None]


def wake_of(bucket: int, counter: int) -> PutWake:
    return PutWake(0, Wake(bucket, bucket * 10, A), Stamp(1, counter))


@on_virtual_time
async def test_what_is_read_of_several_partitions_may_be_torn_between_them() -> None:
    found: list[list[int]] = []
    for seed in range(40):
        rig = Rig(UNEVEN, seed)
        writing = asyncio.create_task(in_order(rig, [wake_of(1, 1), wake_of(2, 2)]))
        found.append([wake.bucket for wake in await rig.other.read_wakes(0, 1, 2)])
        await writing
    assert [2] in found


@on_virtual_time
async def test_what_is_read_in_several_pages_may_be_torn_between_them() -> None:
    first, last = row_of(1, 1), row_of(3, 0)
    found: list[list[Row]] = []
    for seed in range(40):
        rig = Rig(UNEVEN, seed)
        await written(rig.store, *(put_row(A, row_of(1, 2 * seq), seq + 1) for seq in range(30)))
        writing = asyncio.create_task(in_order(rig, [put_row(A, first, 50), put_row(A, last, 51)]))
        found.append([row for row in await rig.other.read_journal(A) if row in (first, last)])
        await writing
    assert [last] in found


@on_virtual_time
async def test_a_deletion_between_two_pages_leaves_no_beginning() -> None:
    rows, found, torn = [row_of(1, seq) for seq in range(60)], set[int](), 0
    for seed in range(40):
        rig = Rig(UNEVEN, seed)
        await written(rig.store, *(put_row(A, row, row.position.seq + 1) for row in rows))
        deletion = DeleteInstance(A, InstanceUid("uid"), 0, Stamp(1, 100))
        deleting = asyncio.create_task(written(rig.store, deletion))
        found.add(len(await rig.other.read_journal(A)))
        await deleting
        torn += rig.seen[Fault.READ_TORN]
    assert found == {0, 60}
    assert torn > 0


@on_virtual_time
async def test_a_journal_of_many_pages_is_read_whole_and_no_further_than_asked() -> None:
    rig = Rig()
    rows = [row_of(1, seq) for seq in range(50)]
    await written(rig.store, *(put_row(A, row, row.position.seq + 1) for row in rows))
    assert await rig.other.read_journal(A) == rows
    for rows_max in (0, 1, 15, 16, 17, 32, 33, 50, 51):
        found = await rig.other.read_journal(A, since=rows[5].position, rows_max=rows_max)
        assert found == rows[5 : 5 + rows_max]


# What holds whatever goes wrong


async def acknowledged_is_seen(seed: int) -> Counter[str]:
    """One client writes marks, wakes and drops, without waiting; another reads. Returns which faults there were."""
    rig, random = Rig(HOSTILE, seed), Random(seed)
    marks, wakes, dropped, drops_sent = Counter[int](), set[int](), 0, 0

    def write(counter: int) -> None:
        nonlocal drops_sent
        kind, epoch, stamp = random.random(), random.randrange(3), Stamp(1, counter)
        mutation: Mutation = PutMark(0, epoch, counter, stamp)
        if kind < 0.4:
            mutation = PutWake(0, Wake(0, counter, A), stamp)
        elif kind < 0.5:
            mutation, drops_sent = DropBucket(0, 0, stamp), counter

        def done(error: Exception | None) -> None:
            nonlocal dropped
            if error is None and kind < 0.4:
                wakes.add(counter)
            elif error is None and kind < 0.5:
                dropped = max(dropped, counter)
            elif error is None:
                marks[epoch] = max(marks[epoch], counter)

        rig.store.write(mutation, done)

    for counter in range(1, 41):
        write(counter)
        await asyncio.sleep(random.choice((0.0, 0.01, 0.1, 4.0)) * random.random())
        marks_before, wakes_before, dropped_before = +marks, set(wakes), dropped
        try:
            seen_marks = await rig.other.read_marks(0)
            seen_wakes = {wake.due for wake in await rig.other.read_wakes(0, 0, 0)}
        except ReadUnavailableError:
            continue
        for epoch, mark in marks_before.items():
            assert seen_marks.get(epoch, 0) >= mark, f"seed {seed}"
        assert {due for due in wakes_before if due > drops_sent} <= seen_wakes, f"seed {seed}"
        assert all(due > dropped_before for due in seen_wakes), f"seed {seed}"
        marks, wakes = marks | Counter(seen_marks), wakes | seen_wakes
    rig.alive = False
    await asyncio.sleep(CLIENT_TIMEOUT_S)
    return rig.seen


@on_virtual_time
async def test_reads_see_what_was_acknowledged_or_shown_before_they_began_whatever_goes_wrong() -> None:
    seen: Counter[str] = Counter()
    for seed in range(200):
        seen += await acknowledged_is_seen(seed)
    assert set(seen) == set(Fault) - {Fault.HALF_DONE, Fault.READ_TORN}, "every other kind of fault happened"


# Determinism


def trace_of(seed: int) -> list[object]:
    trace: list[object] = []

    async def go() -> None:
        rig = Rig(HOSTILE, seed)
        for counter in range(1, 60):
            rig.store.write(put_row(A, row_of(1, counter), counter), lambda error: trace.append(rig.loop.time()))
            rig.store.write(put_wake(A, counter % 3, counter, counter), lambda error: trace.append(repr(error)))
            try:
                trace.append([*await rig.other.read_journal(A), *await rig.other.read_wakes(0, 0, 2)])
            except ReadUnavailableError as error:
                trace.append(repr(error))
        trace.append(dict(rig.seen))

    run(go)
    return trace


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    assert trace_of(1) == trace_of(1)
    assert trace_of(1) != trace_of(2)


_AHEAD_S: ContextVar[float] = ContextVar("ahead_s", default=0.0)


class SkewedLoop(VirtualLoop):
    """A process sees the clock that its context says."""

    def time(self) -> float:
        return super().time() + _AHEAD_S.get()


def test_the_cluster_goes_by_its_own_clock_and_answers_a_process_as_that_process() -> None:
    async def go() -> None:
        rig = Rig()
        ahead, whose = copy_context(), list[float]()

        def connected() -> bool:
            whose.append(_AHEAD_S.get())
            return True

        store = rig.cluster.client(lambda: True, connected)
        ahead.run(_AHEAD_S.set, 1000.0)
        ahead.run(store.write, NEW, lambda error: whose.append(_AHEAD_S.get()))
        await asyncio.sleep(0.1)
        assert whose == [1000.0, 0.0, 1000.0], "the process sends, the network brings the answer, the process hears it"
        assert await rig.other.read_journal(A) == [NEW.row]

    with asyncio.Runner(loop_factory=SkewedLoop) as runner:
        runner.run(go())


def test_calm_is_the_default_and_nothing_fails_in_it() -> None:
    assert CassandraFaults() == CALM == replace(HOSTILE, **{name: getattr(CALM, name) for name in CALM.__slots__})
