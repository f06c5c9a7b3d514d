"""Replays of journals in sandboxes of their own: what the guest is told, how they end, their bounds."""

from __future__ import annotations

import asyncio

import pytest

from data_plane import replaying
from data_plane.journal.store import InstanceKey
from data_plane.replaying import REPLAY_S_MAX, REPLAYS_PER_TENANT_MAX, Differs, Matches, Recorded, Unchecked, Verdict
from loader import messages as m
from stepwell.errors import BundleRefusedError, NotFoundError, UnavailableError
from stepwell.names import Digest, InstanceId
from tests.unit.data_plane.fakes import FakeGuest
from tests.unit.data_plane.house import House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

NEW = Digest("sha256-2")
BIG = b'"' + b"x" * 20_000 + b'"'


async def waiting(house: House) -> InstanceKey:
    """An instance with a large result, that sleeps."""
    key = await house.create()
    guest = await house.guest(1)
    guest.say(m.Result(1, "reserve", 1, 1, 10), payload=BIG)
    await until(lambda: guest.told("completion"))
    guest.say(m.Sleep(1, "nap", 1, 86_400_000, None), m.Idle(1, 1))
    guest.say(m.Closed(1))
    await house.asleep()
    return key


async def recorded(house: House, key: InstanceKey) -> Recorded:
    return house.node.replays.recorded(key, (await house.calls.get(key)).instance)


async def begun(house: House, key: InstanceKey) -> tuple[asyncio.Task[Verdict], FakeGuest]:
    """A replay whose guest was told."""
    leases = len(house.loader.leases)
    what = await recorded(house, key)
    running = house.tasks.create_task(house.node.replays.replay(key, what, NEW, "other:Flow"))
    await until(lambda: len(house.loader.leases) > leases)
    guest = house.loader.guest
    await until(lambda: guest.told("replay"))
    return running, guest


@on_virtual_time
async def test_the_guest_is_told_all_that_the_journal_holds_and_nothing_is_written() -> None:
    async with serving() as house:
        key = await waiting(house)
        log = len(house.store.log)
        running, guest = await begun(house, key)
        await until(lambda: guest.told("completion"))
        (told,) = guest.told("replay")
        assert [told[2], *told[4:]] == ["other:Flow", 1, [["sleep", "nap", 1]], ""]
        assert [payload for envelope, payload in guest.frames if envelope[0] == "completion"] == [BIG]
        guest.say(m.Replayed(1, "run waits for sleep 'nap' (call 1)"), m.Closed(1))
        assert await running == Matches("run waits for sleep 'nap' (call 1)")
        assert house.loader.asked[-1] == (NEW, True)
        assert [lease.released for lease in house.loader.leases] == [1, 1]
        assert house.store.log[log:] == [], "nothing is appended, and no list changes"
        assert await house.status(key) == "waiting"


@on_virtual_time
async def test_a_cancel_is_a_completion_and_its_grace_is_nothing_that_was_asked_for() -> None:
    async with serving() as house:
        key = await waiting(house)
        await house.calls.cancel(key, "enough", "")
        what = await recorded(house, key)
        assert [each.outcome for each in what.completions] == ["value", "cancelled"]
        assert [each.kind for each in what.opened] == ["sleep"]
        await until(lambda: len(house.loader.leases) == 2)  # it is activated, to hear of it
        running, guest = await begun(house, key)
        await until(lambda: len(guest.told("completion")) == 2)
        assert guest.told("completion")[1][2:] == ["cancel", "", 1, what.completions[1].at, "cancelled", "enough"]
        guest.say(m.Replayed(1, "run raised CancelledError"), m.Closed(1))
        assert await running == Matches("run raised CancelledError")


@on_virtual_time
async def test_a_difference_is_answered_and_the_guest_that_says_no_more_is_told_to_stop() -> None:
    async with serving() as house:
        running, guest = await begun(house, await waiting(house))
        guest.say(m.Mismatch(1, 0, "step 'reserve' (call 1)", "run waits for step 'book' (call 1)"))
        assert await running == Differs(0, "step 'reserve' (call 1)", "run waits for step 'book' (call 1)")
        assert guest.told("stop")
        assert guest.closed == [1]


@on_virtual_time
async def test_a_replay_that_takes_too_long_or_dies_is_unchecked_and_says_why() -> None:
    async with serving() as house:
        key = await waiting(house)
        running, guest = await begun(house, key)
        began = asyncio.get_running_loop().time()
        verdict = await running
        assert isinstance(verdict, Unchecked)
        assert "longer than 30 seconds" in verdict.reason
        assert asyncio.get_running_loop().time() - began == pytest.approx(REPLAY_S_MAX, abs=1)
        running, guest = await begun(house, key)
        guest.kill("its event loop stood still")
        assert await running == Unchecked("its sandbox ended: its event loop stood still")
        running, guest = await begun(house, key)
        guest.say(m.Closed(1))
        assert await running == Unchecked("its sandbox gave it up")


@on_virtual_time
async def test_a_guest_that_does_more_than_replay_ends_and_nothing_of_it_counts() -> None:
    async with serving() as house:
        key = await waiting(house)
        running, guest = await begun(house, key)
        guest.say(m.Result(1, "charge", 1, 1, 10), payload=b"1")
        verdict = await running
        assert isinstance(verdict, Unchecked)
        assert "broke the protocol" in verdict.reason
        assert len((await house.calls.get(key)).instance.steps) == 2


@on_virtual_time
async def test_an_activation_that_says_how_a_replay_went_breaks_the_protocol() -> None:
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        guest.say(m.Replayed(1, "nothing"))
        assert "this is none" in guest.killed[0]


@on_virtual_time
async def test_code_that_can_not_be_had_is_an_error_and_no_verdict() -> None:
    async with serving() as house:
        key = await waiting(house)
        what = await recorded(house, key)
        house.loader.refusals = [BundleRefusedError("it can't be imported")]
        with pytest.raises(BundleRefusedError):
            await house.node.replays.replay(key, what, NEW, "other:Flow")


@on_virtual_time
async def test_so_many_run_at_once_and_so_many_wait() -> None:
    async with serving() as house:
        key = await waiting(house)
        what = await recorded(house, key)
        replays = house.node.replays
        running = [
            house.tasks.create_task(replays.replay(key, what, NEW, "other:Flow"))
            for _ in range(REPLAYS_PER_TENANT_MAX + 1)
        ]
        await until(lambda: len(house.loader.leases) == 1 + REPLAYS_PER_TENANT_MAX)
        replays._room._waiting_max = 1
        with pytest.raises(UnavailableError):
            await replays.replay(key, what, NEW, "other:Flow")
        for number in range(len(running)):
            await until(lambda number=number: len(house.loader.leases) > 1 + number)  # type: ignore[misc]
            guest = house.loader.leases[1 + number].guest
            await until(lambda guest=guest: guest.told("replay"))  # type: ignore[misc]
            guest.say(m.Replayed(1, "run returned"), m.Closed(1))
        assert [type(each) for each in await asyncio.gather(*running)] == [Matches] * len(running)


def test_what_an_instance_ended_with_is_to_be_expected_unless_the_engine_ended_it() -> None:
    from stepwell.engine import fold
    from stepwell.engine.records import Completed, Created, Errored, Failure, Terminated
    from stepwell.names import InstanceUid

    created = Created(1, InstanceUid("u"), Digest("d"), "m:C", b"null", "")
    for end, ended in (
        (Completed(2, b"1"), "returned"),
        (Errored(2, Failure("builtins", "ValueError", "boom")), "raised"),
        (Errored(2, Failure("stepwell.errors", "SandboxDiedError", "it died")), ""),
        (Errored(2, Failure("stepwell.errors", "LimitExceededError", "too large")), ""),
        (Terminated(2, ""), ""),
    ):
        assert replaying._ended(fold.replay([created, end])) == ended


@on_virtual_time
async def test_a_call_replays_the_instance_as_it_is_durable_on_the_workflow_of_the_version() -> None:
    async with serving() as house:
        key = await waiting(house)
        calling = house.tasks.create_task(house.calls.replay(key, NEW))
        await until(lambda: house.loader.asked[-1] == (NEW, True))
        guest = house.loader.guest
        await until(lambda: guest.told("replay"))
        guest.say(m.Replayed(1, "run returned"), m.Closed(1))
        assert await calling == Matches("run returned")
        assert guest.told("replay")[0][2] == "other:Flow"


@on_virtual_time
async def test_what_is_not_there_or_is_about_to_go_is_not_replayed_on() -> None:
    async with serving() as house:
        key = await waiting(house)
        with pytest.raises(NotFoundError):
            await house.calls.replay(key._replace(instance=InstanceId("nobody")), NEW)
        house.routes.retired = frozenset({NEW})
        with pytest.raises(NotFoundError, match="retired"):
            await house.calls.replay(key, NEW)
        assert not any(replays for _, replays in house.loader.asked)
