"""The modelled etcd's leases: when they end, what a new leader makes of them, and that no holder is deceived."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from cluster.store import Event, LeaseLostError
from stepwell.errors import UnavailableError
from tests.simulation.etcd_faults import EXPIRY_LAG_S, HOSTILE, NO_LEADER_S, EtcdFaults, Fault
from tests.simulation.etcd_rig import SETTLED_S, Rig, put, recorded_changes, simulated

TTL_S = 10


async def gone_after_s(rig: Rig, key: str) -> float:
    """How long it takes until the key is gone, in truth."""
    began = rig.loop.time()
    for _ in range(10_000):
        if key not in rig.there():
            return rig.loop.time() - began
        await asyncio.sleep(0.01)
    raise AssertionError("the key stays")


@simulated
async def test_an_expired_leases_keys_go_at_one_revision_and_watches_are_told() -> None:
    rig = Rig()
    lease = await rig.store.grant_lease(TTL_S)
    await put(rig.store, "b", lease=lease)
    revision = await put(rig.store, "a", lease=lease)
    watch = rig.other.watch("", after=revision)
    while not (batch := await anext(watch)).events:
        pass
    await watch.aclose()
    assert batch.events == (Event("a", None, revision + 1), Event("b", None, revision + 1))
    assert await rig.store.revision() == revision + 1
    assert rig.seen == {Fault.LEASE_EXPIRED: 1}


@simulated
async def test_a_lease_ends_by_the_leaders_clock_and_soon() -> None:
    lags = list[float]()
    for seed in range(40):
        rig = Rig(seed=seed)
        lease = await rig.store.grant_lease(TTL_S)
        await put(rig.store, "a", lease=lease)
        await asyncio.sleep(TTL_S / 2)
        await rig.store.keep_alive(lease)
        lags.append(await gone_after_s(rig, "a") - TTL_S)
    assert -0.1 < min(lags) < 0.1
    assert EXPIRY_LAG_S - 0.1 < max(lags) < EXPIRY_LAG_S + 0.1


@simulated
async def test_a_short_lease_is_made_longer() -> None:
    rig = Rig()
    await put(rig.store, "a", lease=await rig.store.grant_lease(1))
    assert await gone_after_s(rig, "a") > 1.9


@simulated
async def test_until_an_expired_lease_is_revoked_it_takes_keys_and_a_keep_alive_waits_for_its_end() -> None:
    rig = Rig(seed=2)
    lease = await rig.store.grant_lease(TTL_S)
    await put(rig.store, "a", lease=lease)
    await asyncio.sleep(TTL_S + 0.01)
    assert rig.there() == ["a"]
    keeping = asyncio.create_task(rig.store.keep_alive(lease))
    await put(rig.store, "b", lease=lease)
    assert rig.there() == ["a", "b"]
    with pytest.raises(LeaseLostError):
        await keeping
    assert rig.there() == []
    assert rig.seen == {Fault.LEASE_EXPIRED: 1, Fault.LEASE_LOST: 1}


@simulated
async def test_a_new_leader_extends_every_lease_by_its_whole_time() -> None:
    rig = Rig()
    await put(rig.store, "a", lease=await rig.store.grant_lease(TTL_S))
    await put(rig.store, "b", lease=await rig.store.grant_lease(TTL_S))
    await asyncio.sleep(TTL_S - 1)
    rig.etcd.change_leader()
    low, high = NO_LEADER_S
    assert TTL_S + low < await gone_after_s(rig, "a") < TTL_S + high + EXPIRY_LAG_S + 0.1
    await gone_after_s(rig, "b")
    assert rig.seen == {Fault.LEADER_CHANGE: 1, Fault.LEASE_EXTENDED: 2, Fault.LEASE_EXPIRED: 2}


@simulated
async def test_without_a_leader_no_lease_ends_and_one_that_was_expired_lives_again() -> None:
    rig = Rig(seed=2)
    lease = await rig.store.grant_lease(TTL_S)
    await put(rig.store, "a", lease=lease)
    await asyncio.sleep(TTL_S + 0.01)
    rig.etcd.change_leader()
    await asyncio.sleep(NO_LEADER_S[1])
    assert rig.there() == ["a"]
    await rig.store.keep_alive(lease)
    assert await gone_after_s(rig, "a") > TTL_S - 0.1


@pytest.mark.parametrize(
    ("faults", "fault"),
    [(EtcdFaults(answer_lost=1.0), Fault.ANSWER_LOST), (EtcdFaults(late=1.0), Fault.LEASE_REQUEST_LATE)],
)
@simulated
async def test_a_lease_whose_grant_was_not_answered_ends_by_itself(faults: EtcdFaults, fault: Fault) -> None:
    rig = Rig()
    assert await rig.fails(rig.store.grant_lease(TTL_S), faults)
    await asyncio.sleep(SETTLED_S + TTL_S + EXPIRY_LAG_S)
    assert rig.seen == {fault: 1, Fault.LEASE_EXPIRED: 1}


@simulated
async def test_a_late_revocation_ends_the_lease() -> None:
    rig = Rig()
    lease = await rig.store.grant_lease(TTL_S * 10)
    await put(rig.store, "a", lease=lease)
    assert await rig.fails(rig.store.revoke_lease(lease), EtcdFaults(late=1.0))
    assert rig.there() == ["a"]
    await asyncio.sleep(SETTLED_S)
    assert rig.there() == []


# What holds whatever goes wrong


async def held(seed: int, patched: pytest.MonkeyPatch) -> Counter[str]:
    """Somebody holds a key by a lease, and believes in it for its time from each keep-alive's sending. It never goes
    sooner. Returns which faults there were."""
    rig, random = Rig(HOSTILE, seed), Random(seed)
    lease, believed_until_s = 0, 0.0

    def heard(now_s: float, events: tuple[Event, ...]) -> None:
        gone = [event.key for event in events if event.value is None]
        assert now_s >= believed_until_s or f"{lease}" not in gone, f"seed {seed}"

    async def hold() -> None:
        nonlocal lease, believed_until_s
        while True:
            sent_s = rig.loop.time()
            try:
                if lease:
                    await rig.store.keep_alive(lease)
                else:
                    lease = await rig.store.grant_lease(TTL_S)
                believed_until_s = sent_s + TTL_S
                if f"{lease}" not in rig.there():
                    await put(rig.store, f"{lease}", lease=lease)
            except LeaseLostError:
                assert rig.loop.time() > believed_until_s, f"seed {seed}"
                assert f"{lease}" not in rig.there(), f"seed {seed}"
                lease = 0
            except UnavailableError:
                pass
            await asyncio.sleep(2.5)

    recorded_changes(rig.etcd, patched, heard)
    async with asyncio.TaskGroup() as group:
        holding = group.create_task(hold())
        for _ in range(10):
            await asyncio.sleep(25 * random.random())
            rig.connected = False
            await asyncio.sleep(15 * random.random())
            rig.connected = True
        holding.cancel()
    rig.etcd.quiet()
    return rig.seen


@simulated
async def test_what_is_held_by_a_lease_stays_while_its_holder_may_believe_in_it() -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        with pytest.MonkeyPatch.context() as patched:
            seen += await held(seed, patched)
    assert min(seen[fault] for fault in (Fault.LEASE_EXPIRED, Fault.LEASE_EXTENDED, Fault.LEASE_LOST)) > 50
    assert seen[Fault.LEASE_REQUEST_LATE] > 10
