"""What becomes of a data node's instances when it is killed, and when it stands still for longer than its lease.

FAILOVER_TIMES says how often each is done; once among all tests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time

import grpc
import pytest

from cluster.lease import TTL_S
from scripts.demo_server import until
from scripts.local_cluster import Part
from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, UNKNOWN, Api
from tests.servers.installation import Installation

pytestmark = pytest.mark.timeout(600)

TIMES = int(os.environ.get("FAILOVER_TIMES", "1"))
INSTANCES = 24
SPREAD = 16
"""Shards that they lie in: each node has some."""

AFTER_TTL_S = 2.0
"""So much later than the lease at the latest, they go on."""

BUSY_S = 4.0
"""More than that, on a machine that may be busy with other tests."""

FROZEN_S = TTL_S + 3.0
WOKEN_S = 3.0


async def test_instances_of_a_killed_node_go_on_once_its_lease_is_over(installation: Installation) -> None:
    waits = list[float]()
    async with Api(installation.addresses, installation.cluster.token, installation.authority) as api:
        await api.create_tenant("survivors", SPREAD)
        await api.deploy("survivors", BUNDLES / "traffic", {"TENANT": "survivors"})
        for turn in range(TIMES):
            waits += await _waits_after_a_kill(installation, api, turn)
    waited = sorted(wait for wait in waits if wait > 2)
    assert waited, "no instance was on a node that was killed"
    print(
        f"failover: of {len(waits)} instances {len(waited)} waited for another node, "
        f"{waited[0]:.1f} to {waited[-1]:.1f} s, median {statistics.median(waited):.1f}; the lease is {TTL_S} s",
        file=sys.stderr,
    )
    assert waited[-1] < TTL_S + AFTER_TTL_S + BUSY_S


async def _waits_after_a_kill(installation: Installation, api: Api, turn: int) -> list[float]:
    """How long after the kill each instance did something again."""
    cluster = installation.cluster
    victim = cluster.nodes[turn % len(cluster.nodes)]
    names = [
        (await api.create("tenants/survivors/workflows/traffic", {"shape": "chain", "sleeps": [200] * 8})).name
        for _ in range(INSTANCES)
    ]
    await asyncio.sleep(1)
    victim.kill()
    killed_ms = time.time_ns() // 1_000_000
    await asyncio.gather(*(api.ended(name) for name in names))
    await asyncio.to_thread(cluster.start_node, victim)
    await asyncio.to_thread(until, "every shard has an owner", cluster.is_whole, 60)
    waits = list[float]()
    for name in names:
        times = [event.event_time.ToMilliseconds() async for event in api.watch(name)]
        waits.append((min(each for each in times if each > killed_ms) - killed_ms) / 1000)
    return waits


async def test_a_node_that_wakes_after_its_lease_tells_nothing_that_is_over(installation: Installation) -> None:
    cluster = installation.cluster
    async with Api(installation.addresses, cluster.token, installation.authority) as api:
        await api.create_tenant("frozen", SPREAD)
        await api.deploy("frozen", BUNDLES / "behaviours")
    told = 0
    for turn in range(TIMES):
        told += await _told_by_the_woken(installation, cluster.nodes[turn % len(cluster.nodes)], turn)
    print(f"woken nodes answered {told} times, and always with what is so", file=sys.stderr)
    assert told


async def _told_by_the_woken(installation: Installation, frozen: Part, turn: int) -> int:
    """How often it answered; whatever it says must be what had happened before it was asked."""
    cluster = installation.cluster
    others = ",".join(cluster.endpoints[part.name] for part in cluster.nodes if part is not frozen)
    of_frozen = f"ipv4:{cluster.endpoints[frozen.name]}"
    async with (
        Api(f"ipv4:{others}", cluster.token, installation.authority) as api,
        Api(of_frozen, cluster.token, installation.authority) as woken,
    ):
        workflow = "tenants/frozen/workflows/behaviours"
        ids = [f"{frozen.name}-{turn}-{number}" for number in range(INSTANCES)]
        names = [(await api.create(workflow, {"do": "events"}, id=id)).name for id in ids]
        waiting = (pb.INSTANCE_STATUS_WAITING, pb.INSTANCE_STATUS_RUNNING)
        for name in names:
            await woken.reached(name, lambda each: each.status in waiting)
        frozen.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            for name in names:
                for number in range(2):
                    await api.send_event(name, "go", number, f"{name[-20:]}-{number}")
            for name in names:
                assert (await api.ended(name)).status == pb.INSTANCE_STATUS_COMPLETE
            await asyncio.sleep(max(0.0, FROZEN_S - (time.monotonic() - began)))
            # They lie in its sockets as it wakes: whoever read one and answered by what it had in memory would lie.
            asked = [asyncio.ensure_future(_status(woken, name)) for name in names]
            await asyncio.sleep(0.5)
        finally:
            frozen.signal(signal.SIGCONT)
        answers = await asyncio.gather(*asked)
        until_s = time.monotonic() + WOKEN_S
        while time.monotonic() < until_s:
            answers += await asyncio.gather(*(_status(woken, name) for name in names))
    await asyncio.to_thread(until, "every shard has an owner", cluster.is_whole, 60)
    told = [answer for answer in answers if answer is not None]
    assert set(told) <= {pb.INSTANCE_STATUS_COMPLETE}, cluster.last_words()
    return len(told)


async def _status(api: Api, name: str) -> pb.InstanceStatus.ValueType | None:
    """None: it could not say."""
    try:
        found: pb.Instance = await api.once(api.instances.GetInstance, pb.GetInstanceRequest(name=name))
    except grpc.aio.AioRpcError as error:
        if error.code() not in UNKNOWN:
            raise
        return None
    return found.status
