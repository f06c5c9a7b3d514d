"""Turns of deploys on a real etcd: one server at a time has a tenant's, and one that stood still has it no more."""

from __future__ import annotations

import asyncio
from itertools import count
from uuid import uuid4

import pytest

from cluster import keys
from cluster.etcd.connection import EtcdSettings
from cluster.lease import TTL_S
from cluster.store import LeaseStore, Put
from cluster.store_etcd import open_etcd_store
from control_plane.turns import TurnLostError
from control_plane.turns_leased import LeasedTurns
from stepwell.names import TenantUid
from tests.contract.etcd_server import EtcdServer

ACME = TenantUid("u1")
KEY = keys.deploying(ACME)


def turns(store: LeaseStore, name: str, tasks: asyncio.TaskGroup) -> LeasedTurns:
    attempts = count(1)
    return LeasedTurns(store, name, tasks, mint=lambda: f"{name}-{next(attempts)}")


async def test_one_at_a_time_has_the_turn_and_what_it_compares_holds_meanwhile(etcd: EtcdServer) -> None:
    async with open_etcd_store(EtcdSettings([etcd.endpoint], f"{uuid4().hex}/")) as store, asyncio.TaskGroup() as tasks:
        had: list[str] = []

        async def take(name: str) -> None:
            async with turns(store, name, tasks).of(ACME) as turn:
                had.append(f"{name} begins")
                await turn.confirm()
                assert (await store.txn(turn.compares, (Put(f"by/{name}", b""),))).succeeded
                await asyncio.sleep(0.3)
                had.append(f"{name} ends")
            assert not (await store.txn(turn.compares, (Put("late", b""),))).succeeded

        await asyncio.gather(take("a"), take("b"))
        first, second = (each.split()[0] for each in had[::2])
        assert had == [f"{first} begins", f"{first} ends", f"{second} begins", f"{second} ends"]
        assert {first, second} == {"a", "b"}
        assert await store.get(KEY) is None


async def test_one_whose_lease_ended_finds_its_turn_lost(etcd: EtcdServer) -> None:
    async with (
        open_etcd_store(EtcdSettings([etcd.endpoint], f"{uuid4().hex}/")) as store,
        asyncio.TaskGroup() as tasks,
        turns(store, "a", tasks).of(ACME) as turn,
    ):
        found = await store.get(KEY)
        assert found is not None
        await store.revoke_lease(found.lease)
        async with asyncio.timeout(TTL_S), turns(store, "b", tasks).of(ACME) as taken:
            await taken.confirm()
            with pytest.raises(TurnLostError, match="deploy again"):
                await turn.confirm()
            assert not (await store.txn(turn.compares, (Put("late", b""),))).succeeded
        with pytest.raises(TurnLostError):
            await turn.confirm()
