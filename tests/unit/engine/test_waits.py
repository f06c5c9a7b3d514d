"""Waits for events: early ones are kept, each goes to one wait, first in first out by type."""

from __future__ import annotations

import pytest

from stepwell.engine.actions import TellStart
from stepwell.engine.events import (
    EventSent,
    KeyCancelled,
    WaitAsked,
)
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import EventMatched, EventReceived, StepKey, WaitStarted
from tests.unit.engine.driven import T0, Driven, appended, key, names, told


def wait_key(name: str) -> StepKey:
    return key(name, kind="waitForEvent")


def test_a_wait_for_an_event_that_is_not_there_stays_open() -> None:
    run = Driven().running()
    actions = run.wait("approval", "approve", 60_000)
    assert appended(actions) == [WaitStarted(T0, wait_key("approval"), "approve", T0 + 60_000)]
    assert told(actions) == []


def test_an_event_goes_to_the_wait_that_is_open() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    actions = run.send("approve", b'"yes"')
    assert names(actions) == ["WakeNow", "EventReceived", "EventMatched", "TellCompletion"]
    completion = told(actions)[0].completion
    assert (completion.outcome, completion.payload, completion.event_type) == ("event", b'"yes"', "approve")
    assert not told(actions)[0].held


def test_an_early_event_is_kept_for_the_wait() -> None:
    run = Driven().running()
    assert names(run.send("approve", b'"yes"')) == ["WakeNow", "EventReceived"]
    run.at += 50
    actions = run.wait("approval", "approve")
    assert names(actions) == ["WaitStarted", "EventMatched", "TellCompletion"]
    completion = told(actions)[0].completion
    assert (completion.payload, completion.at, completion.event_at) == (b'"yes"', T0 + 50, T0)
    assert run.instance.buffered_events == 0


def test_an_event_may_come_before_the_first_activation() -> None:
    run = Driven()
    run.create()
    run.send("approve", b"1")
    run.activate()
    assert told(run.wait("approval", "approve"))[0].completion.payload == b"1"


def test_events_of_a_type_are_taken_in_the_order_in_which_they_came() -> None:
    run = Driven().running()
    for number in (b"1", b"2", b"3"):
        run.send("approve", number)
    assert [told(run.wait(name, "approve"))[0].completion.payload for name in "abc"] == [b"1", b"2", b"3"]


def test_waits_of_a_type_are_served_in_the_order_in_which_they_were_asked_for() -> None:
    run = Driven().running()
    for name in "abc":
        run.wait(name, "approve")
    assert [told(run.send("approve"))[0].completion.key.name for _ in "abc"] == ["a", "b", "c"]


def test_an_event_of_another_type_is_not_taken() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    assert told(run.send("reject")) == []
    assert wait_key("approval") in run.instance.open


def test_no_event_in_time_is_a_timeout() -> None:
    run = Driven().running()
    run.wait("approval", "approve", 1_000)
    run.at += 1_000
    actions = run.tick()
    assert names(actions) == ["WaitTimedOut", "TellCompletion"]
    assert told(actions)[0].completion.outcome == "timeout"
    assert run.instance.steps[wait_key("approval")].status == "errored"


def test_a_late_event_is_kept_for_the_next_wait() -> None:
    run = Driven().running()
    run.wait("approval", "approve", 1_000)
    run.at += 1_000
    run.tick()
    assert told(run.send("approve", b"1")) == []
    assert told(run.wait("again", "approve"))[0].completion.payload == b"1"


def test_an_event_whose_match_was_lost_with_its_node_is_matched_by_the_next_one() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.idle()
    run.send("approve", b'"yes"', "call-1")
    assert isinstance(run.records.pop(), EventMatched)
    run.crash()
    run.no_effect(EventSent(run.at, "approve", b'"yes"', "call-1"))
    assert run.instance.next_due() == 0
    actions = run.activate()
    assert names(actions) == ["EventMatched", "Activated", "TellStart"]
    assert actions[-1] == TellStart(1, ())
    assert run.instance.completions[0].payload == b'"yes"'


def test_a_wait_without_a_timeout_is_never_due() -> None:
    run = Driven().running()
    run.wait("approval", "approve", None)
    run.idle()
    assert run.instance.next_due() is None


def test_a_timeout_is_never_longer_than_the_limit() -> None:
    run = Driven(EngineLimits(delay_max_ms=1_000)).running()
    run.wait("approval", "approve", 5_000)
    assert run.instance.open[wait_key("approval")].due == T0 + 1_000


def test_an_event_wakes_a_hibernating_instance_that_waits_for_it() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.idle()
    assert names(run.send("approve")) == ["WakeNow", "EventReceived", "EventMatched", "Activate"]


def test_an_event_that_nothing_waits_for_wakes_nobody() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.idle()
    assert names(run.send("reject")) == ["WakeNow", "EventReceived"]
    assert run.instance.next_due() is None


def test_asking_for_a_wait_twice_is_illegal() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.illegal(WaitAsked(run.at, wait_key("approval"), "approve", None), "asked for before")


def test_a_wait_outside_an_activation_is_illegal() -> None:
    run = Driven()
    run.create()
    run.illegal(WaitAsked(run.at, wait_key("approval"), "approve", None), "outside an activation")


def test_more_waits_than_steps_allowed_are_illegal() -> None:
    run = Driven(EngineLimits(steps_max=1)).running()
    run.wait("a", "approve")
    run.illegal(WaitAsked(run.at, wait_key("b"), "approve", None), "more than 1 steps")


# -------------------------------------------------------------------- a wait that is cancelled
def test_a_cancelled_wait_takes_no_event() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    assert names(run.handle(KeyCancelled(run.at, wait_key("approval")))) == ["StepCancelled"]
    assert told(run.send("approve")) == []
    assert run.instance.buffered_events == 1


def test_an_event_that_crossed_its_waits_cancelling_goes_back_to_the_front() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.send("approve", b"1")
    run.send("approve", b"2")
    assert names(run.handle(KeyCancelled(run.at, wait_key("approval")))) == ["StepCancelled"]
    assert [told(run.wait(name, "approve"))[0].completion.payload for name in "ab"] == [b"1", b"2"]


def test_an_event_that_comes_back_goes_to_the_next_open_wait() -> None:
    run = Driven().running()
    run.wait("a", "approve")
    run.wait("b", "approve")
    run.send("approve", b"1")
    actions = run.handle(KeyCancelled(run.at, wait_key("a")))
    assert appended(actions)[1:] == [EventMatched(run.at, wait_key("b"), 1)]
    assert told(actions)[0].completion.payload == b"1"


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_events_that_come_back_keep_their_order_whichever_wait_is_cancelled_first(order: str) -> None:
    run = Driven().running()
    run.wait("a", "approve")
    run.wait("b", "approve")
    run.send("approve", b"1")
    run.send("approve", b"2")
    run.send("approve", b"3")
    for name in order:
        run.handle(KeyCancelled(run.at, wait_key(name)))
    assert [told(run.wait(name, "approve"))[0].completion.payload for name in "cde"] == [b"1", b"2", b"3"]
    assert [r.number for r in run.records if isinstance(r, EventReceived)] == [1, 2, 3]


def test_an_event_goes_back_only_once() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.send("approve", b"1")
    run.handle(KeyCancelled(run.at, wait_key("approval")))
    run.no_effect(KeyCancelled(run.at, wait_key("approval")))
    assert run.instance.buffered_events == 1
