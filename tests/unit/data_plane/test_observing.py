"""Whoever watches instances hears what is durable, once, and in order; and nothing of what is read back."""

from __future__ import annotations

from collections.abc import Sequence

from data_plane.journal.store import InstanceKey
from loader import messages as m
from stepwell.engine.instance import Instance
from stepwell.engine.records import Activated, Created, Record, StepCompleted
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


class Watching:
    """`data_plane.observing.InstanceObserver`. Gives the traces `trace-1`, `trace-2`, …"""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.left_keys: list[InstanceKey] = []
        self.seen: list[tuple[bytes, bytes]] = []
        """What the instance had of traces when an activation began."""

    def activating(self, key: InstanceKey, instance: Instance, at: int) -> bytes:
        self.seen.append((instance.trace, instance.activation_trace))
        return b"trace-%d" % len(self.seen)

    def appended(self, key: InstanceKey, records: Sequence[Record]) -> None:
        self.records += records

    def left(self, key: InstanceKey) -> None:
        self.left_keys.append(key)


def step(act: int) -> m.Result:
    return m.Result(act, "work", 1, 1, 5_000)


async def slept_and_ended(house: House) -> InstanceKey:
    """An instance that did a step and slept, and ended in its second activation."""
    key = await house.create(trace=b"create")
    guest = await house.guest(1)
    guest.say(step(1), payload=b"1")
    guest.say(m.Sleep(1, "nap", 1, 90_000, None), m.Idle(1, 1))
    guest.say(m.Closed(1))
    await house.asleep()
    second = await house.guest(2)
    second.say(m.Returned(1), payload=b"2")
    second.say(m.Closed(1))
    await house.asleep()
    return key


@on_virtual_time
async def test_each_record_is_heard_of_once_and_a_replay_is_not() -> None:
    watching = Watching()
    async with serving(observer=watching) as house:
        key = await slept_and_ended(house)
        assert watching.records == house.records(key)
        assert sum(isinstance(record, StepCompleted) for record in watching.records) == 1
        assert watching.left_keys == [key, key]


@on_virtual_time
async def test_a_write_that_is_sent_again_is_heard_of_once() -> None:
    watching, store = Watching(), MemoryStore()
    async with serving(store, observer=watching) as house:
        store.unknown_next = 5
        key = await slept_and_ended(house)
        assert watching.records == house.records(key)


@on_virtual_time
async def test_nothing_is_heard_of_what_is_not_durable_yet() -> None:
    watching, store = Watching(), MemoryStore()
    async with serving(store, observer=watching) as house:
        await house.create()
        guest = await house.guest(1)
        before = len(watching.records)
        store.holds = lambda mutation: True
        guest.say(step(1), payload=b"1")
        await until(lambda: store.held)
        assert len(watching.records) == before
        store.let_go()
        await until(lambda: len(watching.records) > before)


@on_virtual_time
async def test_traces_are_in_the_journal_and_survive_the_node() -> None:
    watching, store = Watching(), MemoryStore()
    async with serving(store, observer=watching) as house:
        key = await house.create(trace=b"create")
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
    async with serving(store, epoch=2, observer=watching) as house:
        await house.guest(1)
        await until(lambda: len(watching.seen) == 2)
        assert watching.seen == [(b"create", b""), (b"create", b"trace-1")]
        traces = [record.trace for record in house.records(key) if isinstance(record, Created | Activated)]
        assert traces == [b"create", b"trace-1", b"trace-2"]


@on_virtual_time
async def test_an_instance_whose_shard_is_lost_has_left() -> None:
    watching = Watching()
    async with serving(observer=watching) as house:
        key = await house.create()
        await house.guest(1)
        house.owned = False
        house.node.drop(0)
        assert watching.left_keys == [key]
