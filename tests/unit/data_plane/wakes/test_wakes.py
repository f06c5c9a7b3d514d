"""The low-mark protocol, rule by rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import pytest

from data_plane.journal.store import (
    Done,
    DropBucket,
    InstanceKey,
    Mutation,
    PutMark,
    PutWake,
    Stamp,
    Wake,
    WriteUnknownError,
)
from data_plane.known_wakes import KnownWakes
from data_plane.shard import Shard
from data_plane.wakes import (
    BUCKET_MS,
    MOVE_BUCKETS,
    READ_AHEAD_MS,
    EpochSupersededError,
    OwnershipLostError,
    ShardWakes,
)
from tests.contract.journal_worlds import key_of
from tests.contract.oracle_store import Cells, OracleJournalStore

NOW_BUCKET = 1000
NOW = NOW_BUCKET * BUCKET_MS + 10_000
A, B = key_of("a"), key_of("b")


class HeldStore(OracleJournalStore):
    """Answers writes when told to; `log` is what was sent."""

    def __init__(self, cells: Cells | None = None) -> None:
        super().__init__(cells)
        self.log: list[Mutation] = []
        self.hold = False
        self.held: list[tuple[Mutation, Done]] = []
        self.reading: asyncio.Event | None = None

    def write(self, mutation: Mutation, done: Done) -> None:
        self.log.append(mutation)
        if self.hold:
            self.held.append((mutation, done))
        else:
            super().write(mutation, done)

    def answer(self, error: Exception | None = None) -> None:
        held, self.held = self.held, []
        for mutation, done in held:
            if error is None:
                self.apply(mutation)
            done(error)

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        wakes = await super().read_wakes(shard, first, last)
        if self.reading is not None:
            await self.reading.wait()
        return wakes


class Owner:
    """Wakes of one epoch on a store, a clock that is set, and delays that are counted."""

    def __init__(self, cells: Cells | None = None, epoch: int = 1, now: int = NOW) -> None:
        self.now, self.owns, self.sooner = now, True, 0
        self.delayed: list[Callable[[], None]] = []
        self.store = HeldStore(cells)
        self.shard = Shard(0, epoch, lambda: self.owns)
        self.wakes = ShardWakes(
            self.shard,
            self.store,
            lambda: self.now,
            later=lambda delay_s, call: self.delayed.append(call),
            sooner=self._sooner,
        )

    def _sooner(self) -> None:
        self.sooner += 1

    async def put(self, key: InstanceKey, due: int = 0) -> Wake:
        durable: asyncio.Future[Wake] = asyncio.get_running_loop().create_future()
        self.wakes.put(key, due, durable.set_result)
        return await durable

    async def work(self) -> list[InstanceKey]:
        await self.wakes.read_ahead()
        return self.wakes.take_due(self.now)

    @property
    def sent_marks(self) -> list[int]:
        return [mutation.bucket for mutation in self.store.log if isinstance(mutation, PutMark)]

    @property
    def dropped(self) -> list[int]:
        return [mutation.bucket for mutation in self.store.log if isinstance(mutation, DropBucket)]


async def serving(cells: Cells | None = None, epoch: int = 1, now: int = NOW) -> Owner:
    owner = Owner(cells, epoch, now)
    await owner.wakes.take_over()
    await owner.wakes.read_ahead()
    return owner


def marks(**by_epoch: int) -> Cells:
    cells = Cells()
    store = OracleJournalStore(cells)
    for epoch, bucket in by_epoch.items():
        store.apply(PutMark(0, int(epoch[1:]), bucket, Stamp(int(epoch[1:]), 1)))
    return cells


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


# The mark


async def test_the_mark_follows_now_when_nothing_is_left() -> None:
    owner = await serving()
    await owner.put(A)
    owner.wakes.passed(A)
    owner.now += 4 * BUCKET_MS
    await owner.wakes.read_ahead()
    owner.wakes.advance()
    assert owner.sent_marks == [NOW_BUCKET, NOW_BUCKET + 4]
    owner.wakes.advance()
    assert len(owner.sent_marks) == 2


async def test_the_mark_does_not_pass_a_known_wake() -> None:
    owner = await serving()
    await owner.put(A)
    owner.now += 4 * BUCKET_MS
    await owner.work()
    owner.wakes.advance()
    assert owner.wakes.mark == NOW_BUCKET


async def test_the_mark_does_not_pass_a_wake_in_flight() -> None:
    owner = await serving()
    owner.store.hold = True
    owner.wakes.put(A, 0, lambda wake: None)
    owner.now += 4 * BUCKET_MS
    await owner.wakes.read_ahead()
    owner.wakes.advance()
    assert owner.wakes.mark == NOW_BUCKET
    owner.store.answer()
    owner.wakes.passed(A)
    owner.wakes.advance()
    assert owner.wakes.mark == NOW_BUCKET + 4


async def test_the_mark_does_not_pass_a_bucket_that_was_not_read() -> None:
    owner = await serving()
    owner.now += 4 * BUCKET_MS
    owner.wakes.advance()
    assert owner.wakes.mark == NOW_BUCKET + 1


async def test_the_mark_never_goes_back_though_the_clock_does() -> None:
    owner = await serving()
    owner.now += 4 * BUCKET_MS
    await owner.wakes.read_ahead()
    owner.wakes.advance()
    owner.now = NOW
    owner.wakes.advance()
    assert (await owner.put(A)).bucket == NOW_BUCKET + 4
    assert owner.wakes.take_due(NOW) == [A]


async def test_buckets_well_behind_the_mark_are_dropped_if_there_was_anything_in_them() -> None:
    owner = await serving()
    for step in range(5):
        await owner.put(A)
        owner.wakes.passed(A)
        owner.now += BUCKET_MS * (1 + step % 2)
        await owner.wakes.read_ahead()
        owner.wakes.advance()
    filled = {mutation.wake.bucket for mutation in owner.store.log if isinstance(mutation, PutWake)}
    assert set(owner.dropped) == {NOW_BUCKET - 1} | {bucket for bucket in filled if bucket < owner.wakes.mark - 1}
    left = await owner.store.read_wakes(0, 0, owner.wakes.mark + 9)
    assert {wake.bucket for wake in left} == filled - set(owner.dropped)


# What stays active


async def test_what_stays_active_is_moved_and_the_mark_follows() -> None:
    owner = await serving()
    await owner.put(A)
    owner.now += MOVE_BUCKETS * BUCKET_MS
    assert owner.wakes.move(owner.now) == []
    owner.now += BUCKET_MS
    await owner.work()
    assert owner.wakes.move(owner.now) == [A]
    await owner.put(A)
    assert owner.wakes.move(owner.now) == []
    owner.wakes.advance()
    assert owner.wakes.mark == NOW_BUCKET + MOVE_BUCKETS + 1
    assert owner.wakes.take_due(owner.now) == [A]


async def test_what_is_being_moved_is_not_moved_again_and_only_so_many_are() -> None:
    owner = await serving()
    await owner.put(A)
    await owner.put(B)
    owner.now += (MOVE_BUCKETS + 1) * BUCKET_MS
    await owner.work()
    assert len(owner.wakes.move(owner.now, 1)) == 1
    owner.store.hold = True
    owner.wakes.put(A, 0, lambda wake: None)
    assert owner.wakes.move(owner.now) == [B]


async def test_a_newer_wake_of_this_epoch_that_became_due_lets_the_mark_pass_the_older_one() -> None:
    owner = await serving()
    await owner.put(A)
    owner.now += (MOVE_BUCKETS + 1) * BUCKET_MS
    await owner.work()
    later = await owner.put(A, owner.now + 5_000)
    assert owner.wakes.move(owner.now) == [A]
    owner.now += 5_000
    assert owner.wakes.move(owner.now) == []
    owner.wakes.advance()
    assert owner.wakes.mark == later.bucket


# What is in memory


def test_known_wakes_agree_with_a_plain_set_of_them() -> None:
    random, known, plain = Random(1), KnownWakes(), set[Wake]()
    keys = [key_of(f"i-{number}") for number in range(5)]
    taken: set[Wake] = set()
    for now in range(3000):
        key = random.choice(keys)
        if random.random() < 0.6:
            wake = Wake(now // 10 + random.randrange(3), now + random.randrange(-5, 20), key)
            if wake not in plain:
                taken.discard(wake)
            known.add(wake)
            plain.add(wake)
        else:
            kept = {wake for wake in plain if wake.key == key and random.random() < 0.3}
            known.keep(key, kept)
            plain = {wake for wake in plain if wake.key != key or wake in kept}
        due = {wake for wake in plain - taken if wake.due <= now}
        if random.random() < 0.5:
            assert set(known.take_due(now)) == {wake.key for wake in due}
            taken |= due
        assert known.next_due() == min((wake.due for wake in plain - taken), default=None)
        assert known.lowest_bucket() == min((wake.bucket for wake in plain), default=None)
        assert len(known) == len({wake.key for wake in plain})
        low = now // 10
        assert set(known.below(low)) == {wake.key for wake in plain if wake.bucket < low}
