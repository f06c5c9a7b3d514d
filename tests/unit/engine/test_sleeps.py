"""Sleeps and the timers of `run`: due at a time that was fixed once."""

from __future__ import annotations

import pytest

from stepwell.engine.events import SleepAsked
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Kind, SleepStarted, StepKey
from tests.unit.engine.driven import T0, Driven, appended, key, names, told

NAP = key("nap", kind="sleep")


def test_a_sleep_is_due_its_duration_after_it_was_asked_for() -> None:
    run = Driven().running()
    assert appended(run.sleep("nap", 5_000)) == [SleepStarted(T0, NAP, T0 + 5_000)]


def test_a_sleep_until_is_due_then() -> None:
    run = Driven().running()
    assert appended(run.handle(SleepAsked(T0, NAP, None, T0 + 99))) == [SleepStarted(T0, NAP, T0 + 99)]


def test_a_sleep_until_a_time_that_has_passed_fires_at_the_next_tick() -> None:
    run = Driven().running()
    run.handle(SleepAsked(T0, NAP, None, 5))
    assert run.instance.next_tick() == 5
    assert names(run.tick()) == ["SleepFired", "TellCompletion"]


def test_a_sleep_is_never_longer_than_the_limit() -> None:
    run = Driven(EngineLimits(delay_max_ms=1_000)).running()
    assert appended(run.sleep("nap", 5_000)) == [SleepStarted(T0, NAP, T0 + 1_000)]


def test_a_sleep_fires_when_it_is_due_and_not_before() -> None:
    run = Driven().running()
    run.sleep("nap", 500)
    run.at += 499
    assert run.tick() == []
    run.at += 1
    actions = run.tick()
    assert names(actions) == ["SleepFired", "TellCompletion"]
    assert told(actions)[0].completion.outcome == "fired"


def test_what_is_due_happens_in_the_order_in_which_it_was_due() -> None:
    run = Driven().running()
    for name, duration_ms in (("third", 30), ("first", 10), ("second", 20)):
        run.sleep(name, duration_ms)
    run.at += 1_000
    assert [tell.completion.key.name for tell in told(run.tick())] == ["first", "second", "third"]


def test_a_sleep_that_fired_does_not_fire_again() -> None:
    run = Driven().running()
    run.sleep("nap", 10)
    run.at += 10
    run.tick()
    assert run.tick() == []
    assert run.instance.next_due() == 0, "the activation itself is what is left to do"


def test_a_takeover_keeps_the_due_time() -> None:
    run = Driven().running()
    run.sleep("nap", 5_000)
    run.idle()
    run.at += 1_000
    run.crash()
    assert run.instance.next_due() == T0 + 5_000


def test_a_sleep_that_is_over_makes_a_hibernating_instance_runnable() -> None:
    run = Driven().running()
    run.sleep("nap", 5_000)
    run.idle()
    run.at += 5_000
    assert names(run.tick()) == ["SleepFired", "Activate"]


@pytest.mark.parametrize("kind", ["sleep", "timer"])
def test_asking_twice_is_illegal(kind: Kind) -> None:
    run = Driven().running()
    asked = SleepAsked(T0, StepKey(kind, "nap", 1), 5, None)
    run.handle(asked)
    run.illegal(asked, "asked for before")
    run.at += 5
    run.tick()
    run.illegal(asked, "asked for before")


def test_a_sleep_outside_an_activation_is_illegal() -> None:
    run = Driven()
    run.create()
    run.illegal(SleepAsked(T0, NAP, 5, None), "outside an activation")


def test_timers_have_a_limit_of_their_own() -> None:
    run = Driven(EngineLimits(steps_max=1)).running()
    run.sleep("nap", 5)
    assert names(run.handle(SleepAsked(T0, StepKey("timer", "", 1), None, T0 + 9))) == ["SleepStarted"]
    run.illegal(SleepAsked(T0, StepKey("timer", "", 2), None, T0 + 9), "more than 1 steps")
    run.illegal(SleepAsked(T0, key("other", kind="sleep"), 5, None), "more than 1 steps")


def test_a_sleep_of_nothing_is_over_at_once() -> None:
    run = Driven().running()
    run.sleep("nap", 0)
    assert names(run.tick()) == ["SleepFired", "TellCompletion"]
