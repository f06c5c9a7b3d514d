"""Activations: a guest's messages as the engine's events, the engine's words as frames, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from data_plane.activation import STOP_GRACE_S, Activation
from data_plane.journal_frames import error_from, failure_from
from loader import messages as m
from stepwell.engine import events as e
from stepwell.engine.actions import (
    Completion,
    EndGuest,
    TellCompletion,
    TellGo,
    TellHold,
    TellRelease,
    TellStart,
    TellStop,
)
from stepwell.engine.instance import Instance, Live
from stepwell.engine.records import BlobRef, Failure, Payload, StepKey
from stepwell.engine.schedule import Schedule
from stepwell.names import InstanceUid
from tests.unit.data_plane.fakes import KEY, FakeGuest, Later, MemoryStore

NOW = 1_000_000
ERROR = m.GuestError("shop", "Refused", "no", "line 3", m.GuestError("builtins", "OSError", "gone"))
FAILURE = Failure("shop", "Refused", "no", "line 3", Failure("builtins", "OSError", "gone"))
FETCH = StepKey("do", "fetch", 2)


class FakeLane:
    crowded = False


class FakeResident:
    """What an activation needs of a resident."""

    def __init__(self, store: MemoryStore) -> None:
        self.key = KEY
        self.store = store
        self.instance = Instance(uid=InstanceUid("u"), entrypoint="main:Flow", params=b"[1]", created_at=NOW - 5)
        self.heard: list[e.Event] = []
        self.settled = 0
        self.lane = FakeLane()

    def now(self) -> int:
        return NOW

    def stage(self, data: bytes) -> Payload:
        return data if len(data) < 100 else BlobRef("blob", len(data))

    def step(self, event: e.Event) -> None:
        self.heard.append(event)

    def step_guest(self, event: e.Event, activation: Activation) -> None:
        self.heard.append(event)

    def settle(self) -> None:
        self.settled += 1


class Rig:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.resident = FakeResident(self.store)
        self.guest = FakeGuest()
        self.later = Later()
        self.ended = 0
        self.reads: list[Callable[[], Awaitable[None]]] = []
        self.activation = Activation(
            cast(Any, self.resident), self.guest, later=self.later, read=self.reads.append, ended=self._end
        )
        self.activation.act = self.guest.open(self.activation)
        self.activation.live = self.resident.instance.live = Live(NOW, told=0)

    def _end(self) -> None:
        self.ended += 1

    def said(self, message: m.ActivationMessage, payload: bytes = b"") -> list[e.Event]:
        self.activation.on_message(message, payload)
        return self.resident.heard

    def told(self, *actions: Any) -> list[tuple[list[Any], bytes]]:
        for action in actions:
            self.activation.tell(action)
        return self.guest.frames


# -------------------------------------------------------------------- the guest speaks
@pytest.mark.parametrize(
    ("message", "event"),
    [
        (m.Started(1, "fetch", 2, 3, 600), e.StepStarted(NOW, FETCH, 3, 600)),
        (m.Result(1, "fetch", 2, 3, 7_999), e.StepSucceeded(NOW, FETCH, 3, 7, b"[2]")),
        (
            m.Failed(1, "fetch", 2, 3, 7_000, True, 5, 100, "linear", ERROR),
            e.StepAttemptFailed(NOW, FETCH, 3, 7, True, e.RetryPolicy(5, 100, "linear"), FAILURE),
        ),
        (m.Sleep(1, "nap", 1, 500, None), e.SleepAsked(NOW, StepKey("sleep", "nap", 1), 500, None)),
        (m.Sleep(1, "nap", 1, None, 99), e.SleepAsked(NOW, StepKey("sleep", "nap", 1), None, 99)),
        (m.Timer(1, 4, 99), e.SleepAsked(NOW, StepKey("timer", "", 4), None, 99)),
        (
            m.Wait(1, "approval", 1, "approve", None),
            e.WaitAsked(NOW, StepKey("waitForEvent", "approval", 1), "approve", None),
        ),
        (m.Cancel(1, "timer", "", 4), e.KeyCancelled(NOW, StepKey("timer", "", 4))),
        (m.Idle(1, 9), e.GuestIdle(NOW, 9)),
        (m.Quiet(1, 7), e.GuestQuiet(NOW, 7)),
        (m.Returned(1), e.RunReturned(NOW, b"[2]")),
        (m.Raised(1, ERROR), e.RunRaised(NOW, FAILURE)),
        (m.Mismatch(1, 3, "this", "that"), e.ReplayMismatched(NOW, 3, "this", "that")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_message_is_its_event(message: m.ActivationMessage, event: e.Event) -> None:
    assert Rig().said(message, b"[2]") == [event]


def test_a_step_can_not_have_begun_before_time_began() -> None:
    (event,) = Rig().said(m.Result(1, "fetch", 1, 1, 2**53), b"1")
    assert isinstance(event, e.StepSucceeded)
    assert event.at - event.elapsed_ms == 0


def test_a_large_result_is_staged() -> None:
    (event,) = Rig().said(m.Result(1, "fetch", 1, 1, 0), b"x" * 200)
    assert isinstance(event, e.StepSucceeded)
    assert event.result == BlobRef("blob", 200)


def test_a_batch_is_settled_once() -> None:
    rig = Rig()
    rig.guest.say(m.Started(1, "fetch", 1, 1, 0))
    assert rig.resident.settled == 1


def test_frames_of_an_activation_that_ended_are_dropped() -> None:
    rig = Rig()
    rig.resident.instance.live = None
    assert rig.said(m.Result(1, "fetch", 1, 1, 0), b"1") == []
    rig.resident.instance.live = Live(NOW, told=0)
    assert rig.said(m.Result(1, "fetch", 1, 1, 0), b"1") == [], "another activation's state is not this one's"


def test_errors_come_back_as_they_went() -> None:
    assert failure_from(ERROR) == FAILURE
    assert error_from(FAILURE) == ERROR


# -------------------------------------------------------------------- the engine speaks
@pytest.mark.parametrize(
    ("completion", "held", "outcome", "detail", "payload"),
    [
        (Completion(FETCH, 5, "value", b"1"), True, "held", None, b""),
        (Completion(FETCH, 5, "value", b"1"), False, "value", None, b"1"),
        (Completion(FETCH, 5, "error", failure=Failure("a", "B", "c")), False, "error", ["a", "B", "c", "", None], b""),
        (Completion(FETCH, 5, "fired"), False, "fired", None, b""),
        (Completion(FETCH, 5, "timeout"), False, "timeout", None, b""),
        (Completion(FETCH, 5, "event", b"2", event_type="x", event_at=4), False, "event", ["x", 4], b"2"),
    ],
    ids=lambda value: str(value)[:8],
)
def test_each_completion_is_its_frame(
    completion: Completion, held: bool, outcome: str, detail: object, payload: bytes
) -> None:
    assert Rig().told(TellCompletion(completion, held)) == [
        (["completion", 1, "do", "fetch", 2, 5, outcome, detail], payload)
    ]


def test_orders_are_frames_that_name_the_activation() -> None:
    frames = Rig().told(TellGo(FETCH, 3), TellHold(1), TellRelease(), TellStop())
    assert [envelope for envelope, _ in frames] == [
        ["go", 1, "do", "fetch", 2, 3],
        ["hold", 1, 1],
        ["release", 1],
        ["stop", 1],
    ]


def test_a_start_is_followed_by_exactly_what_is_recorded() -> None:
    rig = Rig()
    rig.resident.instance.completions = [Completion(FETCH, 5, "value", b"1"), Completion(FETCH, 6, "fired")]
    rig.resident.instance.clock_at = NOW - 3
    (start, params), *rest = rig.told(TellStart(1, (StepKey("sleep", "nap", 1),)))
    about = {"id": "one", "uid": "u", "workflow": "flow", "created": NOW - 5, "started": NOW - 3, "now": NOW}
    about["stepsMax"] = None
    assert start == ["start", 1, "main:Flow", about, 1, [["sleep", "nap", 1]]]
    assert params == b"[1]"
    assert rest == [(["completion", 1, "do", "fetch", 2, 5, "value", None], b"1")]


def test_a_start_tells_of_the_schedule_that_created_the_instance() -> None:
    rig = Rig()
    rig.resident.instance.schedule = Schedule("0 9 * * *", 7)
    (start, _) = rig.told(TellStart(0, ()))[0]
    assert start[3]["schedule"] == ["0 9 * * *", 7]


async def test_what_waits_for_a_blob_keeps_its_place() -> None:
    rig = Rig()
    ref = BlobRef("b", 3)
    rig.store.blobs[KEY, InstanceUid("u"), "b"] = b'"x"'
    frames = rig.told(TellCompletion(Completion(FETCH, 5, "value", ref), False), TellHold(1))
    assert frames == []
    (read,) = rig.reads
    await read()
    assert [(envelope[0], payload) for envelope, payload in frames] == [("completion", b'"x"'), ("hold", b"")]
    rig.told(TellRelease())
    assert frames[-1][0] == ["release", 1]


class SlowGuest(FakeGuest):
    """Reads on only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()

    async def drain(self) -> None:
        await self.reads.wait()


def large_start(rig: Rig, steps: int) -> TellStart:
    """Of a journal with so many blobs of 64 KiB."""
    instance = rig.resident.instance
    for number in range(steps):
        blob = BlobRef(f"b-{number}", 65_536)
        rig.store.blobs[KEY, InstanceUid("u"), blob.id] = bytes(65_536)
        instance.completions.append(Completion(StepKey("do", "fetch", number + 1), 5, "value", blob))
        instance.hold(blob)
    return TellStart(steps, ())


async def test_a_large_journal_is_streamed_as_fast_as_the_guest_reads() -> None:
    rig = Rig()
    rig.activation._guest = guest = SlowGuest()
    rig.activation.tell(large_start(rig, 20))
    sending = asyncio.ensure_future(rig.reads.pop()())
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(guest.told("completion")) == 4, "no more than it was ready to read"
    guest.reads.set()
    await sending
    assert [envelope[4] for envelope in guest.told("completion")] == list(range(1, 21))


async def test_a_stop_cuts_the_stream_short() -> None:
    rig = Rig()
    rig.activation._guest = guest = SlowGuest()
    rig.activation.tell(large_start(rig, 20))
    sending = asyncio.ensure_future(rig.reads.pop()())
    for _ in range(100):
        await asyncio.sleep(0)
    rig.activation.tell(TellStop())
    guest.reads.set()
    await sending
    assert len(guest.told("completion")) == 4
    assert guest.told("stop")


async def test_a_stream_that_was_cut_short_is_followed_by_nothing_but_the_stop() -> None:
    rig = Rig()
    rig.activation._guest = guest = SlowGuest()
    rig.activation.tell(large_start(rig, 20))
    sending = asyncio.ensure_future(rig.reads.pop()())
    for _ in range(100):
        await asyncio.sleep(0)
    rig.activation.tell(TellCompletion(Completion(FETCH, NOW, "value", b"1"), held=False))
    rig.activation.tell(TellGo(FETCH, 2))
    rig.activation.tell(TellStop())
    guest.reads.set()
    await sending
    told = [envelope[0] for envelope, _ in guest.frames]
    assert told == ["start", *["completion"] * 4, "stop"]


async def test_a_stream_goes_on_where_a_read_failed() -> None:
    rig = Rig()
    rig.activation.tell(large_start(rig, 3))
    good = rig.store.read_blob

    async def broken(key: Any, uid: InstanceUid, id: str) -> bytes:
        if id == "b-2":
            raise OSError("the disk is gone")
        return await good(key, uid, id)

    rig.store.read_blob = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk is gone"):
        await rig.reads.pop()()
    rig.store.read_blob = good  # type: ignore[method-assign]
    rig.later.ring()
    await rig.reads.pop()()
    assert len(rig.guest.told("start")) == 1
    assert [envelope[4] for envelope in rig.guest.told("completion")] == [1, 2, 3]


def test_a_guest_that_causes_more_than_is_appended_is_held_up() -> None:
    rig = Rig()
    rig.resident.lane.crowded = True
    rig.guest.say(m.Started(1, "fetch", 1, 1, 0))
    assert rig.guest.holders == {rig.activation}
    rig.activation.on_append()
    assert rig.guest.holders == {rig.activation}
    rig.resident.lane.crowded = False
    rig.activation.on_append()
    assert rig.guest.holders == set()


def test_a_guest_that_is_held_up_is_heard_again_once_it_is_to_stop() -> None:
    rig = Rig()
    rig.resident.lane.crowded = True
    rig.guest.say(m.Started(1, "fetch", 1, 1, 0))
    rig.activation.tell(TellStop())
    assert rig.guest.holders == set()


async def test_a_blob_that_is_missing_ends_the_guest() -> None:
    rig = Rig()
    rig.told(TellCompletion(Completion(FETCH, 5, "value", BlobRef("b", 3)), False))
    await rig.reads[0]()
    assert "a stored payload is missing" in rig.guest.killed[0]


async def test_a_store_that_can_not_be_read_is_asked_again() -> None:
    rig = Rig()
    rig.store.blobs[KEY, InstanceUid("u"), "b"] = b'"x"'
    good = rig.store.read_blob

    async def broken(*args: object) -> bytes:
        raise OSError("the disk is gone")

    rig.store.read_blob = broken  # type: ignore[assignment,method-assign]
    frames = rig.told(TellCompletion(Completion(FETCH, 5, "value", BlobRef("b", 3)), False), TellHold(1))
    with pytest.raises(OSError, match="the disk is gone"):
        await rig.reads.pop()()
    assert (frames, rig.guest.killed) == ([], [])
    rig.store.read_blob = good  # type: ignore[method-assign]
    rig.later.ring()
    await rig.reads.pop()()
    assert [envelope[0] for envelope, _ in frames] == ["completion", "hold"]


async def test_an_end_kills_the_sandbox() -> None:
    rig = Rig()
    rig.told(EndGuest("too long"))
    assert rig.guest.killed == ["too long"]


# -------------------------------------------------------------------- ends
def test_a_guest_that_stopped_is_let_go_once() -> None:
    rig = Rig()
    rig.told(TellStop())
    rig.resident.instance.live = None
    rig.said(m.Closed(1))
    rig.said(m.Closed(1))
    assert (rig.ended, rig.guest.closed) == (1, [1])
    rig.later.ring()
    assert rig.guest.killed == []


async def test_a_guest_that_does_not_stop_is_killed() -> None:
    rig = Rig()
    rig.told(TellStop())
    ((delay_s, _, _),) = rig.later.calls
    assert delay_s == STOP_GRACE_S
    rig.later.ring()
    assert rig.guest.killed == ["an activation did not stop in time"]


async def test_a_guest_that_closes_what_goes_on_is_killed() -> None:
    rig = Rig()
    assert rig.said(m.Closed(1)) == []
    assert "it closed an activation that goes on" in rig.guest.killed[0]


async def test_a_death_is_told_to_the_engine_and_ends_the_activation() -> None:
    rig = Rig()
    rig.activation.on_death("exit 137")
    assert rig.resident.heard == [e.GuestLost(NOW, "exit 137")]
    assert (rig.ended, rig.resident.settled, rig.guest.closed) == (1, 1, [])
    assert rig.told(TellHold(1)) == [], "the dead are told nothing"
    await asyncio.sleep(0)


def test_a_death_after_the_end_is_no_news_to_the_engine() -> None:
    rig = Rig()
    rig.resident.instance.live = None
    rig.activation.on_death("exit 137")
    assert rig.resident.heard == []
    assert rig.ended == 1
