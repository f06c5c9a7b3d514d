"""What callers ask of an instance: create, pause, resume, terminate, delete."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stepwell.engine import fold
from stepwell.engine.actions import TellHold
from stepwell.engine.events import (
    CreateRequested,
    DeleteRequested,
    Event,
    GuestQuiet,
    PauseRequested,
    ResumeRequested,
    RunReturned,
    StepSucceeded,
    TerminateRequested,
)
from stepwell.engine.instance import Phase
from stepwell.engine.records import Deleting, NothingToDo, Paused, Resumed, Terminated
from stepwell.errors import InvalidArgumentError, WrongStateError
from stepwell.names import Digest, InstanceUid
from tests.unit.engine.driven import T0, Driven, appended, key, names, told

Call = Callable[[int, str], Event]
NAP = key("nap", kind="sleep")


def test_a_create_is_recorded_behind_a_wake_and_then_activated() -> None:
    run = Driven()
    assert names(run.create()) == ["WakeNow", "Created", "Activate"]
    assert run.instance.next_due() == 0


def test_creating_what_exists_is_illegal() -> None:
    run = Driven().running()
    run.illegal(CreateRequested(T0, InstanceUid("u"), Digest("d"), "m:C", b"null", ""), "created twice")


# -------------------------------------------------------------------- pause and resume
def test_a_pause_holds_the_guest_until_no_body_runs() -> None:
    run = Driven().running()
    run.start("fetch")
    actions = run.handle(PauseRequested(run.at, "call-1"))
    assert names(actions) == ["WakeNow", "Paused", "TellHold"]
    assert appended(actions) == [Paused(T0, None, "call-1")]
    assert run.instance.live is not None, "waiting for pause"
    assert names(run.handle(GuestQuiet(run.at, 1))) == ["TellStop"]
    assert run.instance.live is None


def test_a_pause_that_found_nothing_to_do_does_nothing_when_it_comes_again_after_a_resume() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, "call-1"))
    assert appended(run.handle(PauseRequested(run.at, "call-2"))) == [NothingToDo(T0, False, "call-2")]
    run.handle(ResumeRequested(run.at, "call-3"))
    assert names(run.handle(PauseRequested(run.at, "call-2"))) == []
    assert run.instance.phase is Phase.LIVE


def test_a_resume_that_found_nothing_to_do_does_nothing_when_it_comes_again_after_a_pause() -> None:
    run = Driven().running()
    assert appended(run.handle(ResumeRequested(run.at, "call-1"))) == [NothingToDo(T0, True, "call-1")]
    run.handle(PauseRequested(run.at, "call-2"))
    assert names(run.handle(ResumeRequested(run.at, "call-1"))) == []
    assert run.instance.phase is Phase.PAUSED


def test_what_found_nothing_to_do_and_has_no_request_id_is_not_recorded() -> None:
    run = Driven().running()
    assert names(run.handle(ResumeRequested(run.at, ""))) == []
    run.handle(PauseRequested(run.at, ""))
    assert names(run.handle(PauseRequested(run.at, ""))) == []


def test_the_request_id_of_a_pause_that_found_nothing_to_do_names_no_other_call() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, "call-1"))
    run.handle(PauseRequested(run.at, "call-2"))
    run.refused(ResumeRequested(run.at, "call-2"), InvalidArgumentError, "used before")


def test_pausing_a_hibernating_instance_holds_nobody() -> None:
    run = Driven().running()
    run.sleep("nap", 90_000)
    run.idle()
    assert names(run.handle(PauseRequested(run.at, ""))) == ["WakeNow", "Paused"]
    assert run.instance.next_due() is None


def test_a_step_that_ends_under_a_pause_is_recorded_and_told_after_the_resume() -> None:
    run = Driven().running()
    run.start("fetch")
    run.handle(PauseRequested(run.at, ""))
    assert names(run.succeed("fetch")) == ["StepCompleted"]
    actions = run.handle(ResumeRequested(run.at, ""))
    assert names(actions) == ["WakeNow", "Resumed", "TellRelease", "TellCompletion"]
    assert told(actions)[0].completion.key == key("fetch")
    assert told(actions)[0].held


def test_what_was_withheld_is_told_in_the_order_of_the_journal() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.start("fetch")
    run.handle(PauseRequested(run.at, ""))
    run.send("approve")
    run.succeed("fetch")
    actions = run.handle(ResumeRequested(run.at, ""))
    assert [tell.completion.key.name for tell in told(actions)] == ["approval", "fetch"]


def test_what_was_withheld_when_the_guest_went_quiet_is_part_of_the_next_replay() -> None:
    run = Driven().running()
    run.start("fetch")
    run.handle(PauseRequested(run.at, ""))
    run.succeed("fetch")
    run.handle(GuestQuiet(run.at, 1))
    run.handle(ResumeRequested(run.at, ""))
    run.activate()
    assert run.instance.live is not None
    assert run.instance.live.told == 1


def test_nothing_is_due_while_paused() -> None:
    run = Driven().running()
    run.sleep("nap", 500)
    run.handle(PauseRequested(run.at, ""))
    run.at += 10_000
    assert run.instance.next_due() is None
    assert run.instance.next_tick() is None
    assert run.tick() == []


def test_deadlines_move_by_the_length_of_the_pause() -> None:
    run = Driven().running()
    run.sleep("nap", 5_000)
    run.at += 1_000
    run.handle(PauseRequested(run.at, ""))
    run.at += 60_000
    assert appended(run.handle(ResumeRequested(run.at, ""))) == [Resumed(run.at, 60_000, "")]
    assert run.instance.next_deadline() == T0 + 65_000


def test_a_deadline_that_was_set_during_the_pause_moves_by_what_it_saw_of_it() -> None:
    run = Driven().running()
    run.start("fetch")
    run.handle(PauseRequested(run.at, ""))
    run.at += 40_000
    run.fail("fetch")
    run.at += 2_000
    run.handle(ResumeRequested(run.at, ""))
    assert run.instance.next_deadline() == T0 + 40_000 + 10_000 + 2_000


def test_a_resume_by_a_clock_that_is_behind_moves_no_deadline() -> None:
    run = Driven().running()
    run.sleep("nap", 5_000)
    run.handle(PauseRequested(run.at, ""))
    run.at -= 3_000
    run.handle(ResumeRequested(run.at, ""))
    assert run.instance.next_deadline() == T0 + 5_000


def test_pausing_twice_is_pausing_once() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, "call-1"))
    run.no_effect(PauseRequested(run.at, "call-1"))
    run.no_effect(PauseRequested(run.at, ""))


def test_a_pause_that_comes_again_after_the_resume_does_not_pause() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, "call-1"))
    run.handle(ResumeRequested(run.at, "call-2"))
    run.no_effect(PauseRequested(run.at, "call-1"))
    run.no_effect(ResumeRequested(run.at, "call-2"))


def test_resuming_what_runs_means_nothing() -> None:
    Driven().running().no_effect(ResumeRequested(T0, ""))


def test_a_guest_that_is_quiet_after_a_resume_goes_on() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, ""))
    run.handle(ResumeRequested(run.at, ""))
    run.no_effect(GuestQuiet(run.at, 1))


def test_a_guest_that_is_quiet_for_an_earlier_pause_does_not_end_the_present_one() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, ""))
    run.handle(ResumeRequested(run.at, ""))
    run.start("fetch")
    assert run.handle(PauseRequested(run.at, ""))[-1] == TellHold(2)
    run.no_effect(GuestQuiet(run.at, 1))
    assert run.instance.live is not None, "its body runs"
    assert names(run.succeed("fetch")) == ["StepCompleted"]
    assert names(run.handle(GuestQuiet(run.at, 2))) == ["TellStop"]


def test_a_guest_that_is_quiet_for_a_hold_that_it_was_never_told_is_illegal() -> None:
    run = Driven().running()
    run.illegal(GuestQuiet(run.at, 1), "told to hold 0 times")
    run.handle(PauseRequested(run.at, ""))
    run.illegal(GuestQuiet(run.at, 2), "told to hold 1 times")


def test_an_instance_may_be_paused_before_its_first_activation() -> None:
    run = Driven()
    run.create()
    run.handle(PauseRequested(run.at, ""))
    assert names(run.handle(ResumeRequested(run.at, ""))) == ["WakeNow", "Resumed", "Activate"]


# -------------------------------------------------------------------- terminate
def test_a_terminate_ends_the_instance_behind_a_wake_and_stops_the_guest() -> None:
    run = Driven().running()
    run.sleep("nap", 90_000)
    actions = run.handle(TerminateRequested(run.at, "call-1"))
    assert names(actions) == ["WakeNow", "Terminated", "TellStop"]
    assert appended(actions) == [Terminated(T0, "call-1")]
    assert run.instance.steps[NAP].status == "cancelled"
    assert run.instance.next_due() is None
    run.no_effect(TerminateRequested(run.at, "call-1"))


def test_a_result_after_the_terminate_counts_no_more() -> None:
    run = Driven().running()
    run.start("fetch")
    run.handle(TerminateRequested(run.at, ""))
    run.illegal(StepSucceeded(run.at, key("fetch"), 1, 0, b"1"), "outside an activation")


def test_what_is_paused_can_be_terminated() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, ""))
    assert names(run.handle(TerminateRequested(run.at, ""))) == ["WakeNow", "Terminated", "TellStop"]
    assert run.instance.paused is None


# -------------------------------------------------------------------- delete
def test_what_has_ended_can_be_deleted_behind_a_wake() -> None:
    run = Driven().running()
    run.handle(RunReturned(run.at, b"null"))
    actions = run.handle(DeleteRequested(run.at, "call-1"))
    assert names(actions) == ["WakeNow", "Deleting"]
    assert appended(actions) == [Deleting(T0, InstanceUid("uid-1"), T0, "call-1")]
    assert run.instance.next_due() == 0, "somebody has to remove what is left"
    run.no_effect(DeleteRequested(run.at, "call-2"))


@pytest.mark.parametrize("paused", [False, True])
def test_what_has_not_ended_can_not_be_deleted(paused: bool) -> None:
    run = Driven().running()
    if paused:
        run.handle(PauseRequested(run.at, ""))
    run.refused(DeleteRequested(run.at, ""), WrongStateError, "terminate it first")


def test_the_last_row_alone_tells_what_to_remove() -> None:
    run = Driven().running()
    run.handle(TerminateRequested(run.at, ""))
    run.handle(DeleteRequested(run.at, ""))
    left = fold.replay(run.records[-1:])
    assert (left.phase, left.uid, left.created_at) == (Phase.DELETING, "uid-1", T0)


def test_an_id_that_is_taken_again_starts_afresh() -> None:
    run = Driven().running()
    run.succeed("fetch")
    run.handle(TerminateRequested(run.at, "call-1"))
    run.handle(DeleteRequested(run.at, ""))
    again = Driven()
    again.create()
    run.records.extend(again.records)
    assert run.replayed() == again.instance


# -------------------------------------------------------------------- refusals
@pytest.mark.parametrize("call", [PauseRequested, ResumeRequested, TerminateRequested])
@pytest.mark.parametrize("deleting", [False, True])
def test_what_has_ended_takes_no_orders(call: Call, deleting: bool) -> None:
    run = Driven().running()
    run.handle(RunReturned(run.at, b"null"))
    if deleting:
        run.handle(DeleteRequested(run.at, ""))
    run.refused(call(run.at, "call-1"), WrongStateError, "has ended")


@pytest.mark.parametrize("call", [PauseRequested, ResumeRequested, TerminateRequested, DeleteRequested])
def test_what_does_not_exist_takes_no_orders(call: Call) -> None:
    Driven().refused(call(T0, "call-1"), WrongStateError)


@pytest.mark.parametrize("call", [PauseRequested, ResumeRequested, TerminateRequested])
def test_a_request_id_names_one_call(call: Call) -> None:
    run = Driven().running()
    run.send("approve", b"1", "call-1")
    run.refused(call(run.at, "call-1"), InvalidArgumentError, "call-1")


def test_many_pauses_of_many_sleeps_cost_no_more_than_few() -> None:
    run = Driven().running()
    for number in range(50):
        run.sleep(f"nap-{number}", 60_000)
    due = T0 + 60_000
    for _ in range(20):
        run.handle(PauseRequested(run.at, ""))
        run.at += 7
        run.handle(ResumeRequested(run.at, ""))
        due += 7
    replayed = run.replayed()
    assert all(ask.pauses_ms == 0 for ask in replayed.open.values()), "a replay touches none of them"
    assert replayed.next_deadline() == run.instance.next_deadline() == due
    assert [ask.due for ask in replayed.open.values()] == [due] * 50
