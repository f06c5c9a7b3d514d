"""Whose turn it is when there is no room."""

from __future__ import annotations

import asyncio

import pytest

from loader.room import Room
from stepwell.errors import UnavailableError
from stepwell.names import TenantUid

A, B, C = TenantUid("a"), TenantUid("b"), TenantUid("c")


def nothing_idle(tenant: TenantUid | None) -> bool:
    return False


def entering(room: Room, tenant: TenantUid, log: list[TenantUid]) -> asyncio.Task[None]:
    async def enter() -> None:
        await room.enter(tenant)
        log.append(tenant)

    return asyncio.ensure_future(enter())


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_tenants_take_turns_and_keep_their_own_order() -> None:
    room, log = Room(1, 10, 100, nothing_idle), list[TenantUid]()
    await room.enter(C)
    tasks = [entering(room, tenant, log) for tenant in (A, A, A, B)]
    await settled()
    assert log == []
    for left in (C, A, B, A):
        room.leave(left)
        await settled()
    assert log == [A, B, A, A]
    await asyncio.gather(*tasks)


async def test_one_tenants_limit_does_not_hold_up_another() -> None:
    room, log = Room(3, 1, 100, nothing_idle), list[TenantUid]()
    await room.enter(A)
    waiting = entering(room, A, log)
    other = entering(room, B, log)
    await settled()
    assert log == [B]
    room.leave(A)
    await asyncio.gather(waiting, other)


async def test_something_idle_makes_room() -> None:
    idle = [A]

    def evict(tenant: TenantUid | None) -> bool:
        if not idle:
            return False
        room.vacate(idle.pop())
        return True

    room = Room(1, 10, 100, evict)
    await room.enter(A)
    await room.enter(B)
    assert idle == []


async def test_too_many_who_wait_are_refused_at_once() -> None:
    room = Room(1, 10, 1, nothing_idle)
    await room.enter(A)
    waiting = entering(room, A, [])
    await settled()
    with pytest.raises(UnavailableError):
        await room.enter(B)
    room.leave(A)
    await waiting


async def test_who_gives_up_waiting_takes_no_place() -> None:
    room, log = Room(1, 10, 100, nothing_idle), list[TenantUid]()
    await room.enter(A)
    early, late = entering(room, B, log), entering(room, C, log)
    await settled()
    room.leave(A)
    early.cancel()
    await settled()
    assert log == [C]
    late.cancel()
