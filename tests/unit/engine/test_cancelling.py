"""A cancel: `run` hears of it as of any completion, has a grace to clean up in, and ends how it ends."""

from __future__ import annotations

import pytest

from stepwell.engine import events as e
from stepwell.engine import records as r
from stepwell.engine.actions import Activate, TellCompletion, WakeNow
from stepwell.engine.instance import Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.status import status_of
from stepwell.errors import InvalidArgumentError, WrongStateError
from tests.unit.engine.driven import BOOM, LET_OUT, Driven, appended, key, names, told

GRACE_MS = 60_000


@pytest.fixture
def run() -> Driven:
    return Driven(EngineLimits(cancel_grace_ms=GRACE_MS))


def cancel(run: Driven, reason: str = "enough", request_id: str = "") -> list[str]:
    return names(run.handle(e.CancelInstanceRequested(run.at, reason, request_id)))


def raises(run: Driven, failure: r.Failure) -> list[str]:
    return names(run.handle(e.RunRaised(run.at, failure)))


def test_run_is_told_behind_the_record_and_a_wake(run: Driven) -> None:
    run.running()
    run.start("work")
    actions = run.handle(e.CancelInstanceRequested(run.at, "enough", "c"))
    assert actions[0] == WakeNow()
    assert appended(actions) == [r.CancelRequested(run.at, run.at + GRACE_MS, "enough", "c")]
    (said,) = told(actions)
    assert (said.completion.key, said.completion.outcome, said.completion.reason) == (r.CANCEL, "cancelled", "enough")


def test_one_that_waits_is_woken_and_finds_the_cancel_among_its_completions(run: Driven) -> None:
    run.running()
    run.sleep("night", 9_000_000)
    run.idle()
    assert Activate() in run.handle(e.CancelInstanceRequested(run.at, "", ""))
    run.crash()
    assert run.instance.next_due() == 0
    run.activate()
    assert [each.outcome for each in run.instance.completions] == ["cancelled"]


def test_letting_it_out_terminates_and_another_error_fails(run: Driven) -> None:
    run.running()
    run.sleep("night", 9_000_000)
    cancel(run)
    assert raises(run, LET_OUT) == ["Terminated", "TellStop"]
    assert status_of(run.instance) == "terminated"
    assert run.instance.cancelling is not None
    other = Driven().running()
    cancel(other)
    assert raises(other, BOOM) == ["Errored", "TellStop"]


def test_what_nobody_cancelled_fails_of_a_cancelled_error(run: Driven) -> None:
    run.running()
    assert raises(run, LET_OUT) == ["Errored", "TellStop"]


def test_clean_up_is_recorded_and_a_return_completes(run: Driven) -> None:
    run.running()
    run.sleep("night", 9_000_000)
    cancel(run)
    run.handle(e.KeyCancelled(run.at, key("night", kind="sleep")))
    run.start("undo")
    run.succeed("undo")
    run.handle(e.RunReturned(run.at, b'"undone"'))
    assert status_of(run.instance) == "complete"


def test_after_its_grace_it_is_terminated_whatever_it_does(run: Driven) -> None:
    run.running()
    cancel(run)
    run.start("undo")
    run.at += GRACE_MS - 1
    assert run.tick() == []
    run.at += 1
    assert names(run.tick()) == ["WakeNow", "Terminated", "TellStop"]


def test_the_grace_is_kept_over_a_crash_and_moved_by_a_pause(run: Driven) -> None:
    run.running()
    cancel(run)
    due = run.at + GRACE_MS
    run.crash()
    assert run.instance.next_deadline() == due
    run.handle(e.PauseRequested(run.at, ""))
    run.at += 7_000
    run.handle(e.ResumeRequested(run.at, ""))
    assert run.instance.next_deadline() == due + 7_000


def test_one_that_is_paused_hears_of_it_when_it_goes_on_with_all_its_grace(run: Driven) -> None:
    run.running()
    run.start("work")
    run.handle(e.PauseRequested(run.at, ""))
    assert cancel(run) == ["WakeNow", "CancelRequested"]
    run.at += 9 * GRACE_MS
    resumed = run.handle(e.ResumeRequested(run.at, ""))
    assert [said.completion.outcome for said in told(resumed)] == ["cancelled"]
    assert run.instance.next_deadline() == run.at + GRACE_MS


def test_one_that_never_ran_ends_at_once(run: Driven) -> None:
    run.create()
    assert cancel(run) == ["WakeNow", "CancelRequested", "Terminated"]
    assert run.instance.phase is Phase.FINISHED


def test_a_cancel_that_comes_again_does_nothing_even_after_a_restart(run: Driven) -> None:
    run.running()
    cancel(run, request_id="c")
    assert cancel(run, request_id="c") == []
    assert cancel(run) == []
    assert cancel(run, request_id="d") == ["NothingToDo"]
    run.handle(e.RestartRequested(run.at, None, ""))
    assert run.instance.cancelling is None
    assert cancel(run, request_id="d") == []
    assert cancel(run, request_id="c") == []
    run.refused(e.CancelInstanceRequested(run.at, "another", "c"), InvalidArgumentError)
    run.refused(e.PauseRequested(run.at, "c"), InvalidArgumentError)
    run.refused(e.PauseRequested(run.at, "d"), InvalidArgumentError)


def test_one_that_has_ended_can_not_be_cancelled(run: Driven) -> None:
    run.running()
    run.handle(e.RunReturned(run.at, b"null"))
    run.refused(e.CancelInstanceRequested(run.at, "", ""), WrongStateError)


def test_a_restart_from_what_was_cancelled_forgets_the_cancel(run: Driven) -> None:
    run.running()
    run.sleep("night", 9_000_000)
    cancel(run)
    run.handle(e.KeyCancelled(run.at, key("night", kind="sleep")))
    raises(run, LET_OUT)
    run.handle(e.RestartRequested(run.at, key("night", kind="sleep"), ""))
    assert (run.instance.cancelling, run.instance.completions) == (None, [])
    assert run.instance.next_deadline() is None


def test_a_restart_from_the_clean_up_is_still_cancelled_with_a_new_grace(run: Driven) -> None:
    run.running()
    cancel(run)
    run.start("undo")
    run.handle(e.StepAttemptFailed(run.at, key("undo"), 1, 5, False, e.RetryPolicy(0, 1, "constant"), BOOM))
    raises(run, BOOM)
    run.at += 9 * GRACE_MS
    run.handle(e.RestartRequested(run.at, key("undo"), ""))
    assert [each.outcome for each in run.instance.completions] == ["cancelled"]
    assert run.instance.next_deadline() == run.at + GRACE_MS
    run.crash()
    assert run.instance.next_deadline() == run.at + GRACE_MS


def test_a_step_that_ended_as_it_was_cancelled_stays_recorded(run: Driven) -> None:
    run.running()
    run.start("work")
    cancel(run)
    said = [each for each in run.succeed("work") if isinstance(each, TellCompletion)]
    assert [each.completion.outcome for each in said] == ["value"]
    assert run.handle(e.KeyCancelled(run.at, key("work"))) == []


def test_its_grace_is_for_run_and_not_for_what_undoes_its_steps(run: Driven) -> None:
    run.running()
    run.start("work")
    run.succeed("work")
    cancel(run)
    run.handle(e.StepSucceeded(run.at, key("work", kind="rollback"), 1, 5, b"null"))
    assert run.instance.next_deadline() is None
    run.crash()
    assert run.instance.next_deadline() is None
    run.activate()
    run.handle(e.RunRaised(run.at, BOOM, r.RolledBack()))
    assert run.instance.outcome == r.Errored(run.at, BOOM, r.RolledBack())


def test_what_was_cancelled_is_rolled_back_by_a_call_without_a_grace(run: Driven) -> None:
    run.running()
    run.sleep("night", 9_000_000)
    cancel(run)
    run.handle(e.KeyCancelled(run.at, key("night", kind="sleep")))
    assert names(run.handle(e.TerminateRequested(run.at, "t", rollback=True)))[:2] == ["WakeNow", "RollbackBegun"]
    assert run.instance.next_deadline() is None
    run.crash()
    run.activate()
    assert [each.outcome for each in run.instance.completions] == ["cancelled", "terminate"]
    run.handle(e.RunRaised(run.at, BOOM, r.RolledBack()))
    assert run.instance.outcome == r.Terminated(run.at, "", r.RolledBack())


def test_a_cancel_of_what_is_rolled_back_changes_nothing(run: Driven) -> None:
    run.running()
    run.handle(e.TerminateRequested(run.at, "", rollback=True))
    assert cancel(run) == []
    assert cancel(run, request_id="c") == ["NothingToDo"]
    assert run.instance.cancelling is None
    failed = Driven().running()
    failed.handle(e.StepSucceeded(failed.at, key("work", kind="rollback"), 1, 5, b"null"))
    assert cancel(failed, request_id="c") == ["NothingToDo"]


def test_the_grace_is_nothing_that_run_asked_for(run: Driven) -> None:
    run.running()
    run.sleep("night", 9_000_000)
    cancel(run)
    assert run.instance.asked == (key("night", kind="sleep"),)
