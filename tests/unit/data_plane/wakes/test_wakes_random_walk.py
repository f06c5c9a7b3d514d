"""No wake is lost over random crashes and late writes; and the walk is sharp enough to notice when a rule is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from data_plane.journal.store import Wake
from data_plane.wakes import ShardWakes
from tests.unit.data_plane.wakes.shard_world import Violation, World

SEEDS, SEEDS_A_TEST = 200, 50
BROKEN_SEEDS_MAX = 300


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
async def test_no_wake_is_lost_and_takeovers_read_little(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        try:
            await World(seed).run()
        except Violation as violation:
            raise AssertionError(f"seed {seed}: {violation}") from violation


class KeepsNothingInMemoryOfBucketsThatWereRead(ShardWakes):
    def _put(self, number: int, wake: Wake, done: Callable[[Wake], None], *, due_now: bool) -> None:
        reading_to, self._reading_to = self._reading_to, -1
        super()._put(number, wake, done, due_now=due_now)
        self._reading_to = reading_to


class PassesWhenANewerWakeIsDurable(ShardWakes):
    def _put(self, number: int, wake: Wake, done: Callable[[Wake], None], *, due_now: bool) -> None:
        super()._put(number, wake, done, due_now=due_now)
        self.passed(wake.key, wake)


class StartsAtNow(ShardWakes):
    async def take_over(self) -> None:
        await super().take_over()
        self._read_to = self._reading_to = self._clock() // 30_000 - 1


async def noticed(**broken: Any) -> str:
    """What the first seed that notices says."""
    for seed in range(BROKEN_SEEDS_MAX):
        try:
            await World(seed, **broken).run()
        except Violation as violation:
            return str(violation)
    raise AssertionError(f"{BROKEN_SEEDS_MAX} seeds noticed nothing")


@pytest.mark.parametrize(
    "broken",
    [
        KeepsNothingInMemoryOfBucketsThatWereRead,
        PassesWhenANewerWakeIsDurable,
        StartsAtNow,
    ],
)
async def test_the_walk_notices_a_missing_rule(broken: type[ShardWakes]) -> None:
    assert await noticed(build=broken)


async def test_the_walk_notices_when_what_stays_active_is_not_moved() -> None:
    assert "a takeover reads" in await noticed(moves=False)
