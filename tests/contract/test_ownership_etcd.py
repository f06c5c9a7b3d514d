"""Ownership by leases on a real etcd: shards are shared out, taken over and handed over, and none has two owners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from cluster.etcd.connection import EtcdSettings
from cluster.lease import TTL_S
from cluster.store import LeaseStore
from cluster.store_etcd import open_etcd_store
from data_plane.ownership_leased import LeasedOwnership
from data_plane.shard import Shard
from tests.contract.etcd_server import EtcdServer, etcd_server

SHARDS = 8


class Host:
    """`ShardHost` that serves nothing and knows what it should."""

    def __init__(self) -> None:
        self.shards: dict[int, Shard] = {}

    async def serve(self, shard: Shard) -> None:
        self.shards[shard.number] = shard

    async def release(self, number: int, within_s: float) -> None:
        """There is nothing to end."""

    def drop(self, number: int) -> None:
        self.shards.pop(number, None)


class Node:
    def __init__(self, store: LeaseStore, name: str) -> None:
        attempts = count(1)
        self.host = Host()
        self.ownership = LeasedOwnership(
            store,
            node=name,
            address=f"{name}:1",
            shard_count=SHARDS,
            boottime=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
            mint=lambda: f"{name}-{next(attempts)}",
        )

    def owned(self) -> dict[int, int]:
        """Number → epoch."""
        return {number: shard.epoch for number, shard in self.host.shards.items() if shard.owned()}

    def die(self) -> None:
        """As by SIGKILL: nobody is told."""
        for task in [*self.ownership._running, *self.ownership._busy.values()]:
            task.cancel()


@asynccontextmanager
async def cluster(server: EtcdServer, *names: str) -> AsyncIterator[list[Node]]:
    """Each node has a connection of its own."""
    prefix = f"{uuid4().hex}/"
    async with asyncio.TaskGroup() as tasks:
        stores = [open_etcd_store(EtcdSettings([server.endpoint], prefix)) for _ in names]
        nodes = [Node(await store.__aenter__(), name) for store, name in zip(stores, names, strict=True)]
        for node in nodes:
            await node.ownership.start(node.host, tasks)
        try:
            yield nodes
        finally:
            for node in nodes:
                node.die()
            for store in stores:
                await store.__aexit__(None, None, None)


async def shared_out(nodes: list[Node], within_s: float) -> float:
    """Return once each shard has one owner and each node a part; how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            parts = [node.owned() for node in nodes]
            assert len(set().union(*parts)) == sum(map(len, parts)), f"a shard has two owners: {parts}"
            if sum(map(len, parts)) == SHARDS and all(parts):
                return time.monotonic() - began
            await asyncio.sleep(0.02)


async def test_shards_are_shared_out_and_handed_over(etcd: EtcdServer) -> None:
    async with cluster(etcd, "a", "b", "c") as nodes:
        await shared_out(nodes, 10)
        a, *others = nodes
        before = a.owned()
        await a.ownership.stop(5.0)
        assert a.owned() == {}
        took_s = await shared_out(others, 2)
        after = {**others[0].owned(), **others[1].owned()}
        assert all(after[number] > epoch for number, epoch in before.items())
        print(f"handed over within {took_s:.2f} s of the end")


async def test_a_node_that_dies_is_followed_once_its_lease_has_ended(etcd: EtcdServer) -> None:
    async with cluster(etcd, "a", "b") as nodes:
        await shared_out(nodes, 10)
        a, b = nodes
        a.die()
        until = {number: shard for number, shard in a.host.shards.items()}
        began = time.monotonic()
        await shared_out([b], TTL_S + 2)
        assert not any(shard.owned() for shard in until.values())
        print(f"taken over {time.monotonic() - began:.2f} s after the death")


async def test_an_etcd_that_comes_back_finds_the_shards_with_one_owner_each(tmp_path: Path) -> None:
    with etcd_server(tmp_path) as server:
        async with cluster(server, "a", "b") as nodes:
            await shared_out(nodes, 10)
            before = nodes[0].owned()
            server.kill()
            await asyncio.sleep(TTL_S)
            assert [node.owned() for node in nodes] == [{}, {}], "nobody is sure to own anything any more"
            server.start()
            await shared_out(nodes, 2 * TTL_S)
            after = nodes[0].owned() | nodes[1].owned()
            assert all(after[number] > epoch for number, epoch in before.items())
