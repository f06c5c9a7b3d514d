"""One epoch's `ShardWakes` in a test's hands: a store that answers when told to, a clock that is set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from data_plane.journal.store import Done, DropBucket, InstanceKey, Mutation, PutMark, Stamp, Wake
from data_plane.shard import Shard
from data_plane.wakes import BUCKET_MS, ShardWakes
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
