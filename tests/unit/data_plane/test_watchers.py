"""Watchers: durable rows reach those who watch that instance, in order, bounded."""

from __future__ import annotations

import asyncio

from data_plane.journal.store import InstanceKey, Position, Row
from data_plane.watchers import ROWS_MAX, Watchers
from stepwell.names import InstanceId, TenantUid, WorkflowId


def key(name: str) -> InstanceKey:
    return InstanceKey(TenantUid("t"), WorkflowId("w"), InstanceId(name))


def row(seq: int) -> Row:
    return Row(Position(1, seq), [])


async def test_rows_come_in_order_and_once() -> None:
    watchers = Watchers()
    watcher = watchers.add(key("a"))
    watchers.publish(key("a"), row(0))
    watchers.publish(key("a"), row(1))
    assert await watcher.next_rows() == [row(0), row(1)]
    watchers.publish(key("a"), row(2))
    assert await watcher.next_rows() == [row(2)]


async def test_a_watcher_waits_until_something_comes() -> None:
    watchers = Watchers()
    watcher = watchers.add(key("a"))
    waiting = asyncio.ensure_future(watcher.next_rows())
    await asyncio.sleep(0)
    assert not waiting.done()
    watchers.publish(key("a"), row(0))
    assert await waiting == [row(0)]


async def test_another_instances_rows_do_not_come() -> None:
    watchers = Watchers()
    one, other = watchers.add(key("a")), watchers.add(key("b"))
    watchers.publish(key("b"), row(0))
    watchers.publish(key("a"), row(1))
    assert await one.next_rows() == [row(1)]
    assert await other.next_rows() == [row(0)]


async def test_all_watchers_of_an_instance_get_its_rows() -> None:
    watchers = Watchers()
    both = [watchers.add(key("a")), watchers.add(key("a"))]
    watchers.publish(key("a"), row(0))
    assert [await watcher.next_rows() for watcher in both] == [[row(0)], [row(0)]]


async def test_one_that_left_gets_nothing_and_leaves_nothing() -> None:
    watchers = Watchers()
    gone, stays = watchers.add(key("a")), watchers.add(key("a"))
    watchers.remove(key("a"), gone)
    watchers.publish(key("a"), row(0))
    assert await stays.next_rows() == [row(0)]
    watchers.remove(key("a"), stays)
    assert watchers._by_key == {}


async def test_a_slow_watcher_is_told_that_it_missed_rows_and_holds_only_so_many() -> None:
    watchers = Watchers()
    watcher = watchers.add(key("a"))
    for seq in range(ROWS_MAX):
        watchers.publish(key("a"), row(seq))
    assert not watcher.missed
    watchers.publish(key("a"), row(ROWS_MAX))
    assert watcher.missed
    assert await watcher.next_rows() == [row(ROWS_MAX)]
