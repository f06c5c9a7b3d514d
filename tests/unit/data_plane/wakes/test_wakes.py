"""Wakes by the rules of the low-mark protocol: taking over, putting, and taking what is due."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.journal.store import PutMark, Stamp, Wake, WriteUnknownError
from data_plane.wakes import BUCKET_MS, READ_AHEAD_MS, EpochSupersededError, OwnershipLostError
from tests.contract.journal_worlds import key_of
from tests.unit.data_plane.wakes.shard_owner import NOW, NOW_BUCKET, A, B, Owner, marks, serving

# Taking over


async def test_a_shard_that_nobody_ever_served_starts_at_now() -> None:
    owner = await serving()
    assert owner.wakes.mark == NOW_BUCKET
    assert owner.store.log == [PutMark(0, 1, NOW_BUCKET, Stamp(1, 1))]


async def test_a_takeover_continues_the_highest_epochs_mark_not_the_largest() -> None:
    owner = await serving(marks(e1=NOW_BUCKET, e2=NOW_BUCKET - 5), epoch=3)
    assert owner.sent_marks == [NOW_BUCKET - 5]


@pytest.mark.parametrize("epoch", [1, 2])
async def test_an_epoch_that_has_been_is_refused(epoch: int) -> None:
    with pytest.raises(EpochSupersededError):
        await serving(marks(e2=NOW_BUCKET), epoch=epoch)


async def test_an_owner_does_not_serve_before_its_own_mark_is_durable() -> None:
    owner = Owner()
    owner.store.hold = True
    taking = asyncio.ensure_future(owner.wakes.take_over())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    owner.store.answer(WriteUnknownError())
    await asyncio.sleep(0)
    assert not taking.done()
    owner.delayed.pop()()
    owner.store.answer()
    await taking
    assert owner.store.log == [owner.store.log[0]] * 2


async def test_a_shard_lost_while_it_is_taken_over_is_an_error() -> None:
    owner = Owner()
    owner.store.hold = True
    taking = asyncio.ensure_future(owner.wakes.take_over())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    owner.owns = False
    owner.store.answer()
    with pytest.raises(OwnershipLostError):
        await taking


@pytest.mark.parametrize("owns", [True, False])
async def test_a_takeover_that_was_given_up_hears_nothing_any_more(owns: bool) -> None:
    owner = Owner()
    owner.store.hold = True
    taking = asyncio.ensure_future(owner.wakes.take_over())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    owner.owns = owns
    owner.store.answer()


async def test_a_takeover_finds_what_is_due_and_what_is_not_due_yet_in_its_bucket() -> None:
    before = await serving()
    await before.put(A)
    await before.put(B, NOW + 15_000)
    owner = await serving(before.store.cells, epoch=2, now=NOW + 1_000)
    assert await owner.work() == [A]
    assert owner.wakes.next_due() == NOW + 15_000
    owner.now = NOW + 15_000
    assert await owner.work() == [B]


async def test_a_takeover_after_a_month_reads_everything_since() -> None:
    before = await serving()
    await before.put(A, NOW + 20 * 86_400_000)
    owner = await serving(before.store.cells, epoch=2, now=NOW + 30 * 86_400_000)
    assert await owner.work() == [A]


# Putting


async def test_a_wake_is_acknowledged_only_when_it_is_durable() -> None:
    owner = await serving()
    owner.store.hold = True
    done: list[Wake] = []
    owner.wakes.put(A, 0, done.append)
    assert done == []
    assert owner.wakes.held(A) is None
    owner.store.answer()
    assert done == [Wake(NOW_BUCKET, NOW, A)]
    assert owner.wakes.held(A) == done[0]


@pytest.mark.parametrize("due", [0, NOW - 86_400_000, NOW])
async def test_a_past_time_is_now(due: int) -> None:
    owner = await serving()
    assert await owner.put(A, due) == Wake(NOW_BUCKET, NOW, A)


async def test_a_wake_goes_into_the_bucket_of_its_due_time_or_of_the_mark_whichever_is_later() -> None:
    owner = await serving(marks(e1=NOW_BUCKET + 3), epoch=2)
    assert (await owner.put(A)).bucket == NOW_BUCKET + 3
    assert (await owner.put(A, NOW + 10 * BUCKET_MS)).bucket == NOW_BUCKET + 10
    assert await owner.work() == [A]


async def test_a_sleeper_of_a_later_bucket_is_not_in_memory_until_its_bucket_is_read() -> None:
    owner = await serving()
    due = NOW + 10 * BUCKET_MS
    await owner.put(A, due)
    owner.wakes.passed(A)
    assert owner.wakes.known_count == 0
    assert owner.wakes.next_due() is None
    owner.now = due // BUCKET_MS * BUCKET_MS - READ_AHEAD_MS - 1
    await owner.wakes.read_ahead()
    assert owner.wakes.known_count == 0
    assert owner.wakes.next_read() <= owner.now + 1
    owner.now += 1
    assert await owner.work() == []
    assert owner.wakes.next_due() == due
    owner.now = due
    assert await owner.work() == [A]


async def test_a_wake_acknowledged_into_a_bucket_that_is_being_read_is_known() -> None:
    owner = await serving()
    owner.now = NOW + BUCKET_MS
    owner.store.reading = asyncio.Event()
    reading = asyncio.ensure_future(owner.wakes.read_ahead())
    await asyncio.sleep(0)
    await owner.put(A)
    owner.store.reading.set()
    await reading
    assert owner.wakes.take_due(owner.now) == [A]


async def test_a_write_of_unknown_outcome_is_sent_again_as_it_was() -> None:
    owner = await serving()
    owner.store.hold = True
    done: list[Wake] = []
    owner.wakes.put(A, 0, done.append)
    owner.store.answer(WriteUnknownError())
    owner.now += 60_000
    owner.delayed.pop()()
    owner.store.answer()
    assert owner.store.log[-1] == owner.store.log[-2]
    assert len(done) == 1


async def test_nothing_is_told_or_written_once_the_shard_is_lost() -> None:
    owner = await serving()
    owner.store.hold = True
    done: list[Wake] = []
    owner.wakes.put(A, 0, done.append)
    owner.owns = False
    owner.store.answer()
    sent = len(owner.store.log)
    owner.now += 10 * BUCKET_MS
    owner.wakes.advance()
    owner.wakes.put(B, 0, done.append)
    assert done == []
    assert len(owner.store.log) == sent


async def test_the_node_hears_when_something_is_due_sooner() -> None:
    owner = await serving()
    await owner.put(A, NOW + 8_000)
    await owner.put(A, NOW + 9_000)
    assert owner.sooner == 1
    await owner.put(A, NOW + 7_000)
    assert owner.sooner == 2


# Taking what is due


async def test_each_due_wake_is_taken_once_and_stays_known_until_passed() -> None:
    owner = await serving()
    await owner.put(A)
    assert owner.wakes.take_due(NOW) == [A]
    assert owner.wakes.take_due(NOW) == []
    assert owner.wakes.held(A) is not None
    owner.wakes.passed(A)
    assert owner.wakes.held(A) is None


async def test_what_was_passed_is_not_taken() -> None:
    owner = await serving()
    keep = await owner.put(A, NOW + 15_000)
    await owner.put(A, NOW + 10_000)
    owner.wakes.passed(A, keep)
    assert owner.wakes.next_due() == NOW + 15_000
    owner.now = NOW + 10_000
    assert await owner.work() == []


async def test_no_more_are_taken_than_asked_for_and_none_is_lost_by_it() -> None:
    owner = await serving()
    keys = [key_of(f"i-{number}") for number in range(10)]
    for key in keys:
        await owner.put(key)
    taken = [owner.wakes.take_due(NOW, 4) for _ in range(4)]
    assert [len(some) for some in taken] == [4, 4, 2, 0]
    assert sorted(key for some in taken for key in some) == sorted(keys)


async def test_a_wake_of_an_earlier_epoch_is_not_held_for_records_to_rely_on() -> None:
    before = await serving()
    await before.put(A)
    owner = await serving(before.store.cells, epoch=2)
    assert await owner.work() == [A]
    assert owner.wakes.held(A) is None
    await owner.put(A)
    assert owner.wakes.held(A) is not None
