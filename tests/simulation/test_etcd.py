"""The modelled cluster: what becomes of requests, of those of a dead process too, and that a seed says it all."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import fields, replace
from random import Random

import pytest

from cluster.store import CompactedError, Compare, Delete, LeaseLostError, Put
from stepwell.errors import UnavailableError
from tests.simulation.etcd import MEMBERS
from tests.simulation.etcd_client import EtcdStore
from tests.simulation.etcd_faults import CALM, HOSTILE, LATE_S, NO_LEADER_S, REQUEST_TIMEOUT_S, EtcdFaults, Fault
from tests.simulation.etcd_rig import SETTLED_S, Rig, put, simulated
from tests.simulation.loop import Process, SimulatedLoop

# Requests


@pytest.mark.parametrize(
    ("faults", "fault", "at_once", "in_the_end"),
    [
        (EtcdFaults(refused=1.0), Fault.REFUSED, False, False),
        (EtcdFaults(lost=1.0), Fault.REQUEST_LOST, False, False),
        (EtcdFaults(answer_lost=1.0), Fault.ANSWER_LOST, True, True),
        (EtcdFaults(late=1.0), Fault.TXN_LATE, False, True),
    ],
)
@simulated
async def test_a_transaction_whose_outcome_is_unknown_happened_or_not_or_happens_later(
    faults: EtcdFaults, fault: Fault, at_once: bool, in_the_end: bool
) -> None:
    rig = Rig()
    began = rig.loop.time()
    assert await rig.fails(put(rig.store, "a"), faults)
    assert rig.loop.time() - began < REQUEST_TIMEOUT_S + 0.001
    assert (await rig.store.get("a") is not None) == at_once
    await asyncio.sleep(SETTLED_S)
    assert (await rig.store.get("a") is not None) == in_the_end
    assert rig.seen == {fault: 1}


@simulated
async def test_a_late_transaction_whose_compares_hold_no_more_changes_nothing() -> None:
    rig = Rig()
    assert await rig.fails(rig.store.txn((Compare("a", 0),), (Put("a", b"late"),)), EtcdFaults(late=1.0))
    revision = await put(rig.other, "a", b"soon")
    await asyncio.sleep(SETTLED_S)
    assert await rig.store.revision() == revision
    assert rig.seen == {Fault.TXN_LATE_WITHOUT_EFFECT: 1}


@simulated
async def test_a_request_that_takes_too_long_is_done_and_its_client_does_not_know() -> None:
    rig = Rig(EtcdFaults(hop_s=(1.1, 1.2)))
    with pytest.raises(UnavailableError):
        await put(rig.store, "a")
    assert rig.there() == ["a"]
    assert rig.seen == {Fault.ANSWER_LOST: 1}


# Leaders and members


@simulated
async def test_without_a_leader_nothing_is_done_until_there_is_a_new_one() -> None:
    rig = Rig()
    rig.etcd.change_leader()
    began, ends = rig.loop.time(), list[tuple[float, bool]]()

    async def ask(number: int) -> None:
        try:
            await put(rig.store, f"a/{number}")
        except UnavailableError:
            ends.append((rig.loop.time() - began, False))
        else:
            ends.append((rig.loop.time() - began, True))

    await asyncio.gather(*(ask(number) for number in range(40)))
    assert all(after_s > NO_LEADER_S[0] for after_s, done in ends if done)
    assert any(after_s < 0.1 for after_s, done in ends if not done)
    await asyncio.sleep(SETTLED_S)
    assert await put(rig.store, "b") > 1
    assert rig.seen[Fault.LEADER_CHANGE] == 1
    assert rig.seen[Fault.REQUEST_WAITED] > 5
    assert rig.seen[Fault.REFUSED] > 5


@simulated
async def test_what_waits_for_a_leader_may_be_done_after_its_client_gave_up() -> None:
    seen: Counter[str] = Counter()
    for seed in range(20):
        rig = Rig(seed=seed)
        rig.etcd.change_leader()
        failed = await rig.fails(put(rig.store, "a"))
        at_once = rig.there() == ["a"]
        assert failed or at_once
        await asyncio.sleep(SETTLED_S)
        assert bool(rig.seen[Fault.TXN_LATE]) == (rig.there() == ["a"] and not at_once)
        seen += rig.seen
    assert seen[Fault.TXN_LATE] > 0


@simulated
async def test_who_is_connected_to_a_member_that_is_cut_off_is_served_once_another_is_tried() -> None:
    rig = Rig()
    assert rig.store.member != rig.other.member
    rig.etcd.cut_off(rig.store.member, 1e6)
    failures = 0
    while await rig.fails(put(rig.store, "a")):
        failures += 1
        assert await put(rig.other, "b")
    assert 0 < failures < 40
    assert rig.seen[Fault.MEMBER_CUT_OFF] == 1


@simulated
async def test_what_waited_long_at_a_member_that_was_cut_off_is_not_done() -> None:
    rig = Rig()
    rig.etcd.cut_off(rig.store.member, REQUEST_TIMEOUT_S + LATE_S + 1)
    clients = [rig.etcd.client(lambda: True) for _ in range(MEMBERS * 20)]
    writes = [put(store, "a") for store in clients if store.member == rig.store.member]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(answer) for answer in answers} == {UnavailableError}
    await asyncio.sleep(SETTLED_S)
    assert rig.there() == []
    assert rig.seen[Fault.REQUEST_LOST] == rig.seen[Fault.REQUEST_WAITED] > 0


@simulated
async def test_when_it_is_quiet_every_member_hears_of_a_leader_at_once() -> None:
    rig = Rig(HOSTILE)
    rig.etcd.change_leader()
    rig.etcd.cut_off(rig.store.member, 1e6)
    rig.etcd.quiet()
    began = rig.loop.time()
    for number in range(20):
        await put(rig.store, f"{number}")
    assert rig.loop.time() - began < 20 * 2 * CALM.hop_s[1]
    await asyncio.sleep(1_000)
    assert rig.seen == {Fault.LEADER_CHANGE: 1, Fault.MEMBER_CUT_OFF: 1}


# Processes


@simulated
async def test_what_a_dead_process_has_sent_happens_and_its_calls_do_not_return() -> None:
    rig = Rig()
    sent = [asyncio.create_task(call) for call in (put(rig.store, "a"), put(rig.store, "b"))]
    await asyncio.sleep(0)
    rig.alive = False
    unsent = asyncio.create_task(put(rig.store, "c"))
    _, pending = await asyncio.wait([*sent, unsent], timeout=SETTLED_S)
    assert len(pending) == 3
    assert rig.there() == ["a", "b"]
    assert rig.seen == {Fault.ANSWER_DROPPED: 2}
    for task in pending:
        task.cancel()


@simulated
async def test_a_dead_process_is_not_told_that_its_request_failed() -> None:
    rig = Rig(EtcdFaults(lost=0.5, refused=0.5))
    calls = [asyncio.create_task(put(rig.store, f"{number}")) for number in range(10)]
    await asyncio.sleep(0)
    rig.alive = False
    _, pending = await asyncio.wait(calls, timeout=SETTLED_S)
    assert len(pending) == 10
    for task in pending:
        task.cancel()


@simulated
async def test_a_process_that_is_cut_off_sends_nothing_and_hears_nothing() -> None:
    rig = Rig()
    sent = asyncio.create_task(put(rig.store, "a"))
    await asyncio.sleep(0)
    rig.connected = False
    began = rig.loop.time()
    with pytest.raises(UnavailableError):
        await put(rig.store, "b")
    assert rig.loop.time() - began == pytest.approx(REQUEST_TIMEOUT_S, abs=0.001)
    with pytest.raises(UnavailableError):
        await sent
    assert rig.there() == ["a"]
    assert rig.seen == {Fault.ANSWER_LOST: 1, Fault.REQUEST_LOST: 1}
    rig.connected = True
    assert await put(rig.store, "c") == 2


@simulated
async def test_the_clusters_time_is_no_processs_and_goes_on_when_one_is_killed() -> None:
    rig = Rig(EtcdFaults(hop_s=(0.5, 0.5)))
    assert isinstance(rig.loop, SimulatedLoop)
    await asyncio.sleep(60)
    process = Process(rig.loop, "slow", rate=0.1)

    async def live() -> None:
        await put(rig.store, "a", lease=await rig.store.grant_lease(10))

    process.spawn(live())
    await asyncio.sleep(1.4)
    assert rig.there() == []
    process.kill()
    await asyncio.sleep(0.2)
    assert rig.there() == ["a"]
    await asyncio.sleep(8.8)
    assert rig.there() == ["a"]
    await asyncio.sleep(1)
    assert rig.there() == []


# What holds whatever goes wrong


async def counted(seed: int) -> Counter[str]:
    """Several processes count one number up, each time from what they have read. Returns which faults there were."""
    rig, acked, unknown = Rig(replace(HOSTILE, leader_changes_a_second=0.2, cut_offs_a_second=0.2), seed), 0, 0

    async def count(store: EtcdStore) -> None:
        nonlocal acked, unknown
        for _ in range(8):
            acked_before = acked
            try:
                found = await store.get("n")
            except UnavailableError:
                continue
            number, revision = (int(found.value), found.mod_revision) if found is not None else (0, 0)
            assert number >= acked_before, f"seed {seed}: a read is stale"
            try:
                result = await store.txn((Compare("n", revision),), (Put("n", b"%d" % (number + 1)),))
            except UnavailableError:
                unknown += 1
            else:
                acked += result.succeeded

    await asyncio.gather(*(count(rig.etcd.client(lambda: True)) for _ in range(3)))
    rig.etcd.quiet()
    await asyncio.sleep(SETTLED_S)
    found = await rig.other.get("n")
    number = int(found.value) if found is not None else 0
    assert acked <= number <= acked + unknown, f"seed {seed}"
    return rig.seen + Counter(unknown_happened=number - acked, unknown_did_not=acked + unknown - number)


@simulated
async def test_increments_happen_once_if_acknowledged_and_once_at_most_if_unknown_whatever_goes_wrong() -> None:
    seen: Counter[str] = Counter()
    for seed in range(200):
        seen += await counted(seed)
    assert set(seen) == {
        Fault.REFUSED,
        Fault.REQUEST_LOST,
        Fault.ANSWER_LOST,
        Fault.TXN_LATE,
        Fault.TXN_LATE_WITHOUT_EFFECT,
        Fault.LEADER_CHANGE,
        Fault.REQUEST_WAITED,
        Fault.MEMBER_CUT_OFF,
        Fault.COMPACTION,
        "unknown_happened",
        "unknown_did_not",
    }


# Determinism


@simulated
async def trace_of(seed: int) -> list[object]:
    rig, random, trace = Rig(HOSTILE, seed), Random(seed), list[object]()

    async def live(store: EtcdStore) -> None:
        lease, revision = 0, 0
        for _ in range(40):
            key = random.choice("abc")
            try:
                lease = lease or await store.grant_lease(2)
                result = await store.txn((Compare(key, revision),), (Put(key, b"", lease), Delete("d")))
                found = await store.get(random.choice("abc"))
            except (UnavailableError, LeaseLostError) as error:
                trace.append((rig.loop.time(), repr(error)))
                lease = 0
            else:
                revision = found.mod_revision if found is not None else 0
                trace.append((rig.loop.time(), result, found))

    async def watch(store: EtcdStore) -> None:
        while True:
            try:
                async for batch in store.watch("", after=rig.etcd.state.revision):
                    trace.append((rig.loop.time(), batch))
            except (UnavailableError, CompactedError) as error:
                trace.append((rig.loop.time(), repr(error)))

    watching = [asyncio.create_task(watch(store)) for store in (rig.store, rig.other)]
    await asyncio.gather(*(live(rig.etcd.client(lambda: True)) for _ in range(3)))
    for task in watching:
        task.cancel()
    return [*trace, dict(rig.seen)]


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    assert trace_of(1) == trace_of(1)
    assert trace_of(1) != trace_of(2)


def test_calm_is_the_default_and_everything_is_hostile_in_hostile() -> None:
    assert EtcdFaults() == CALM
    same = [field.name for field in fields(EtcdFaults) if getattr(CALM, field.name) == getattr(HOSTILE, field.name)]
    assert same == ["cut_off_s"]
