"""Restarts: what is kept, what runs again, and what is refused."""

from __future__ import annotations

from stepwell.engine.events import (
    DeleteRequested,
    PauseRequested,
    RestartRequested,
    RunRaised,
    RunReturned,
    StepSucceeded,
    TerminateRequested,
)
from stepwell.engine.instance import Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Restarted, StepKey
from stepwell.errors import InvalidArgumentError, LimitExceededError, WrongStateError
from tests.unit.engine.driven import BOOM, T0, Driven, appended, key, names

APPROVAL = key("approval", kind="waitForEvent")


def restart(run: Driven, step: StepKey | None = None, request_id: str = "") -> list[str]:
    return names(run.handle(RestartRequested(run.at, step, request_id)))


def test_an_ended_instance_begins_anew_behind_a_wake() -> None:
    run = Driven().running()
    run.succeed("reserve")
    run.handle(RunReturned(run.at, b"1"))
    assert restart(run) == ["WakeNow", "Restarted", "Activate"]
    state = run.instance
    assert (state.phase, state.steps, state.completions, state.outcome) == (Phase.LIVE, {}, [], None)
    assert (state.started_at, state.ended_at, state.next_due()) == (None, None, 0)
    run.activate()
    run.succeed("reserve", result=b"2")
    assert run.instance.steps[key("reserve")].output == b"2"


def test_one_that_runs_is_stopped_first_and_what_its_bodies_say_is_dropped() -> None:
    run = Driven().running()
    run.start("reserve")
    assert restart(run) == ["WakeNow", "Restarted", "TellStop", "Activate"]
    assert run.instance.live is None
    run.illegal(StepSucceeded(run.at, key("reserve"), 1, 7, b"1"), "outside an activation")


def test_from_the_step_that_failed_what_came_before_it_is_kept() -> None:
    run = Driven().running()
    run.succeed("reserve")
    run.fail("charge", retryable=False)
    run.handle(RunRaised(run.at, BOOM))
    restart(run, key("charge"))
    assert [*run.instance.steps] == [key("reserve")]
    assert [completion.key for completion in run.instance.completions] == [key("reserve")]
    assert names(run.activate()) == ["Activated", "TellStart"]
    run.succeed("charge", attempt=1)


def test_a_step_that_is_tried_again_begins_with_its_first_attempt() -> None:
    run = Driven().running()
    run.fail("charge")
    restart(run, key("charge"))
    assert run.instance.open == {}
    run.activate()
    run.start("charge", attempt=1)


def test_what_was_waited_for_before_the_step_ended_is_waited_for_still() -> None:
    run = Driven().running()
    run.sleep("a day", 86_400_000)
    run.succeed("reserve")
    run.sleep("two days", 172_800_000)
    restart(run, key("reserve"))
    assert [*run.instance.open] == [key("a day", kind="sleep")]
    assert run.instance.next_deadline() == T0 + 86_400_000


def test_events_that_came_before_the_step_ended_can_be_taken_again_and_later_ones_are_forgotten() -> None:
    run = Driven().running()
    run.send("approve", b"1")
    run.succeed("reserve")
    run.send("approve", b"2")
    run.wait("approval", "approve")
    restart(run, key("reserve"))
    run.activate()
    run.wait("approval", "approve")
    assert run.instance.steps[APPROVAL].output == b"1"
    assert run.instance.buffered_events == 0
    run.send("approve", b"3")
    assert [event.number for event in run.instance.events["approve"]] == [3], "numbers are never used again"


def test_a_whole_restart_forgets_all_events() -> None:
    run = Driven().running()
    run.send("approve")
    restart(run)
    assert (run.instance.events, run.instance.buffered_events) == ({}, 0)


def test_a_paused_instance_goes_on_and_what_it_waits_for_is_later_by_the_pause() -> None:
    run = Driven().running()
    run.sleep("a day", 86_400_000)
    run.succeed("reserve")
    run.idle()
    run.handle(PauseRequested(run.at, ""))
    run.at += 5_000
    restart(run, key("reserve"))
    assert run.instance.phase is Phase.LIVE
    assert run.instance.next_deadline() == T0 + 86_400_000 + 5_000


def test_a_call_that_comes_again_restarts_once_and_its_id_names_no_other() -> None:
    run = Driven().running()
    run.succeed("reserve")
    restart(run, request_id="call-1")
    run.no_effect(RestartRequested(run.at, None, "call-1"))
    run.refused(RestartRequested(run.at, key("reserve"), "call-1"), InvalidArgumentError, "from elsewhere")
    run.refused(TerminateRequested(run.at, "call-1"), InvalidArgumentError, "another call")


def test_a_step_that_it_has_not_come_to_is_refused() -> None:
    run = Driven().running()
    run.refused(RestartRequested(run.at, key("reserve"), ""), InvalidArgumentError, "no step 'reserve'")
    run.succeed("reserve")
    run.refused(RestartRequested(run.at, key("reserve", 2), ""), InvalidArgumentError, "count 2")
    run.refused(RestartRequested(run.at, key("reserve", kind="sleep"), ""), InvalidArgumentError, "kind 'sleep'")


def test_what_is_not_there_or_is_being_deleted_is_refused() -> None:
    run = Driven()
    run.refused(RestartRequested(run.at, None, ""), WrongStateError)
    run.running()
    run.handle(TerminateRequested(run.at, ""))
    run.handle(DeleteRequested(run.at, ""))
    run.refused(RestartRequested(run.at, None, ""), WrongStateError)


def test_one_that_ended_for_its_size_is_refused_since_its_journal_keeps_it_all() -> None:
    run = Driven(EngineLimits(records_max=4)).running()
    for number in range(3):
        run.succeed(f"step {number}")
    assert run.instance.phase is Phase.FINISHED
    run.refused(RestartRequested(run.at, None, ""), LimitExceededError, "records_max")


def test_an_instance_that_took_its_sandboxes_down_has_as_many_again() -> None:
    run = Driven().running()
    run.lose()
    assert appended(run.handle(RestartRequested(run.at, None, ""))) == [Restarted(T0, None, 0, 0, 0, "")]
    assert (run.instance.activations, run.instance.sandbox_deaths) == (0, 0)
