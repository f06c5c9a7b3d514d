"""The low mark: what it may pass, what it leaves behind, and how it follows what stays active."""

from __future__ import annotations

from data_plane.journal.store import PutWake
from data_plane.wakes import BUCKET_MS, MOVE_BUCKETS
from tests.unit.data_plane.wakes.shard_owner import NOW, NOW_BUCKET, A, B, serving


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
