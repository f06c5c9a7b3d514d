"""Activations: how one starts, idles and ends, and what the death of a sandbox or a node costs."""

from __future__ import annotations

import pytest

from stepwell.engine.actions import TellGo, TellStart
from stepwell.engine.events import (
    ActivationStarted,
    DrainRequested,
    Event,
    GuestIdle,
    GuestLost,
    GuestQuiet,
    KeyCancelled,
    PauseRequested,
    ReplayMismatched,
    ResumeRequested,
    RunRaised,
    RunReturned,
    StepSucceeded,
    Suspended,
)
from stepwell.engine.instance import IllegalTransition, Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Activated, ActivationEnded, Completed, Errored, Paused, SandboxDied
from tests.unit.engine.driven import BOOM, T0, Driven, appended, key, names

LIMITS = EngineLimits()


def test_an_activation_is_recorded_before_the_guest_starts() -> None:
    run = Driven()
    run.create()
    actions = run.activate()
    assert actions[-1] == TellStart(0, ())
    assert appended(actions) == [Activated(T0, "cpython-3.11")]


def test_the_guest_is_started_on_what_is_recorded_and_what_is_open() -> None:
    run = Driven().running()
    run.succeed("fetch")
    run.fail("store")
    run.sleep("nap", 90_000)
    run.crash()
    assert run.activate()[-1] == TellStart(1, (key("store"), key("nap", kind="sleep")))


def test_activating_twice_is_illegal() -> None:
    run = Driven().running()
    run.illegal(ActivationStarted(run.at, "cpython-3.11"), "activated twice")


def test_a_guest_for_an_instance_that_was_paused_meanwhile_gets_nothing() -> None:
    run = Driven()
    run.create()
    run.handle(PauseRequested(run.at, ""))
    run.no_effect(ActivationStarted(run.at, "cpython-3.11"))


def test_code_that_does_not_load_pauses_the_instance_with_the_reason() -> None:
    run = Driven()
    run.create()
    assert appended(run.handle(Suspended(run.at, BOOM))) == [Paused(T0, BOOM, "")]
    run.no_effect(Suspended(run.at, BOOM))


@pytest.mark.parametrize(
    "event",
    [
        GuestIdle(T0, 0),
        GuestQuiet(T0, 1),
        KeyCancelled(T0, key("fetch")),
        RunReturned(T0, b"null"),
        RunRaised(T0, BOOM),
        ReplayMismatched(T0, 0, "this", "that"),
    ],
)
def test_a_guests_message_outside_an_activation_is_illegal(event: Event) -> None:
    Driven().illegal(event, "outside an activation")
    hibernating = Driven().running()
    hibernating.sleep("nap", 90_000)
    hibernating.idle()
    hibernating.illegal(event, "outside an activation")


# -------------------------------------------------------------------- hibernation
@pytest.mark.parametrize(("nap_ms", "hibernates"), [(999, False), (1_000, True), (90_000, True)])
def test_an_idle_instance_hibernates_when_what_is_next_is_far(nap_ms: int, hibernates: bool) -> None:
    run = Driven().running()
    run.sleep("nap", nap_ms)
    assert names(run.idle()) == (["ActivationEnded", "TellStop"] if hibernates else [])
    assert (run.instance.live is None) is hibernates


def test_an_idle_instance_that_waits_without_end_hibernates() -> None:
    run = Driven().running()
    run.wait("approval", "approve", None)
    assert appended(run.idle()) == [ActivationEnded(T0, runnable=False)]
    assert run.instance.next_due() is None


def test_a_guest_that_waits_for_nothing_breaks_the_protocol() -> None:
    run = Driven().running()
    with pytest.raises(IllegalTransition, match="waits for nothing"):
        run.idle()
    assert run.instance.live is not None


def test_a_guest_that_has_not_seen_all_completions_is_not_idle() -> None:
    run = Driven().running()
    run.wait("approval", "approve", None)
    run.send("approve")
    run.no_effect(GuestIdle(run.at, 0))


def test_an_instance_whose_body_runs_is_not_idle() -> None:
    run = Driven().running()
    run.start("fetch")
    run.no_effect(GuestIdle(run.at, 0))


def test_an_instance_whose_next_attempt_was_ordered_is_not_idle() -> None:
    run = Driven().running()
    run.fail("fetch")
    run.at += 10_000
    assert run.tick() == [TellGo(key("fetch"), 2)]
    run.no_effect(GuestIdle(run.at, 0))


def test_a_long_retry_delay_hibernates_and_the_attempt_goes_on_after_it() -> None:
    run = Driven().running()
    run.fail("fetch")
    assert names(run.idle()) == ["ActivationEnded", "TellStop"]
    run.at += 10_000
    assert names(run.tick()) == ["Activate"]
    run.activate()
    assert run.tick() == [TellGo(key("fetch"), 2)]


def test_a_retry_that_is_due_asks_for_no_tick_until_its_activation_is_there() -> None:
    run = Driven().running()
    run.fail("fetch")
    run.idle()
    run.at += 10_000
    run.tick()
    assert run.instance.next_tick() is None
    run.activate()
    assert run.instance.next_tick() == T0 + 10_000


# -------------------------------------------------------------------- ends
def test_returning_completes_the_instance() -> None:
    run = Driven().running()
    run.sleep("nap", 90_000)
    actions = run.handle(RunReturned(run.at, b'"done"'))
    assert appended(actions) == [Completed(T0, b'"done"')]
    assert names(actions)[-1] == "TellStop"
    assert run.instance.next_due() is None
    assert run.instance.steps[key("nap", kind="sleep")].status == "cancelled"


def test_raising_ends_the_instance_with_the_error() -> None:
    run = Driven().running()
    assert appended(run.handle(RunRaised(run.at, BOOM))) == [Errored(T0, BOOM)]
    assert run.instance.phase is Phase.FINISHED


def test_nothing_comes_after_the_end() -> None:
    run = Driven().running()
    run.handle(RunReturned(run.at, b"null"))
    run.illegal(RunReturned(run.at, b"null"))
    run.illegal(StepSucceeded(run.at, key("fetch"), 1, 0, b"1"))
    run.no_effect(DrainRequested(run.at))
    run.no_effect(ActivationStarted(run.at, "cpython-3.11"))


def test_an_instance_that_returns_while_it_is_being_paused_is_complete() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, ""))
    run.handle(RunReturned(run.at, b"null"))
    assert run.instance.phase is Phase.FINISHED
    assert run.instance.paused is None


def test_a_replay_that_differs_pauses_with_the_difference() -> None:
    run = Driven().running()
    actions = run.handle(ReplayMismatched(run.at, 3, "step 'a' (1)", "run returned"))
    (paused,) = appended(actions)
    assert isinstance(paused, Paused)
    assert paused.failure is not None
    assert paused.failure.type == "DeterminismError"
    assert "at completion 3 the journal has step 'a' (1), but run returned" in paused.failure.message
    assert names(actions)[-1] == "TellStop"


def test_resuming_after_a_difference_tries_again() -> None:
    run = Driven().running()
    run.handle(ReplayMismatched(run.at, 0, "this", "that"))
    assert names(run.handle(ResumeRequested(run.at, ""))) == ["WakeNow", "Resumed", "Activate"]


# -------------------------------------------------------------------- cancelling
def test_cancelling_a_sleep_is_a_record() -> None:
    run = Driven().running()
    run.sleep("nap", 500)
    assert names(run.handle(KeyCancelled(run.at, key("nap", kind="sleep")))) == ["StepCancelled"]
    run.at += 500
    assert run.tick() == []


def test_cancelling_a_running_step_is_a_record() -> None:
    run = Driven().running()
    run.start("fetch", timeout_ms=1_000)
    assert names(run.handle(KeyCancelled(run.at, key("fetch")))) == ["StepCancelled"]
    assert run.instance.next_tick() is None
    run.illegal(StepSucceeded(run.at, key("fetch"), 1, 0, b"1"), "cancelled already")


def test_cancelling_a_step_between_attempts_ends_its_retries() -> None:
    run = Driven().running()
    run.fail("fetch")
    assert names(run.handle(KeyCancelled(run.at, key("fetch")))) == ["StepCancelled"]
    run.at += 10_000
    assert run.tick() == []


def test_cancelling_what_is_over_means_nothing() -> None:
    run = Driven().running()
    run.succeed("fetch")
    run.no_effect(KeyCancelled(run.at, key("fetch")))
    run.no_effect(KeyCancelled(run.at, key("never asked for", kind="sleep")))


def test_cancelling_may_not_go_over_the_limit_of_steps() -> None:
    run = Driven(EngineLimits(steps_max=1)).running()
    run.start("other")
    run.succeed("fetch")
    run.illegal(KeyCancelled(run.at, key("other")), "more than 1 steps")


# -------------------------------------------------------------------- deaths
def test_a_sandbox_that_dies_is_recorded_and_the_instance_activated_again() -> None:
    run = Driven().running()
    actions = run.lose("exit 137")
    assert appended(actions) == [SandboxDied(T0, "exit 137")]
    assert names(actions)[-1] == "Activate"


def test_losing_no_guest_means_nothing() -> None:
    run = Driven()
    run.create()
    run.no_effect(GuestLost(run.at, "exit 137"))


def test_two_deaths_put_it_alone_and_the_third_ends_it() -> None:
    run = Driven().running()
    run.lose()
    assert run.instance.sandbox_deaths < LIMITS.sandbox_deaths_alone
    run.activate()
    run.lose()
    assert run.instance.sandbox_deaths >= LIMITS.sandbox_deaths_alone
    run.activate()
    actions = run.lose("exit 137")
    assert names(actions) == ["SandboxDied", "Errored"]
    outcome = run.instance.outcome
    assert isinstance(outcome, Errored)
    assert outcome.failure.type == "SandboxDiedError"
    assert "exit 137" in outcome.failure.message


def test_draining_what_is_being_paused_only_stops_it() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, ""))
    assert names(run.handle(DrainRequested(run.at))) == ["TellStop"]


def test_a_sandbox_that_dies_under_a_pause_leaves_the_instance_paused() -> None:
    run = Driven().running()
    run.start("fetch")
    run.handle(PauseRequested(run.at, ""))
    assert run.lose() == []
    assert run.instance.phase is Phase.PAUSED
    assert run.instance.live is None


def test_traces_are_recorded_as_they_came_and_the_newest_activations_is_known_from_the_journal() -> None:
    run = Driven()
    run.create()
    run.handle(ActivationStarted(run.at, "r", b"first"))
    run.handle(DrainRequested(run.at))
    assert appended(run.handle(ActivationStarted(run.at, "r"))) == [Activated(T0, "r")]
    assert run.instance.activation_trace == b"first", "one without leaves the one before it known"
    run.handle(DrainRequested(run.at))
    run.handle(ActivationStarted(run.at, "r", b"third"))
    assert run.instance.activation_trace == b"third"
