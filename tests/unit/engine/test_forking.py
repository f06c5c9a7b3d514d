"""Forks: what is copied, with which numbers and deadlines, and what the copy is to the engine."""

from __future__ import annotations

import pytest

from stepwell.engine.events import (
    CancelInstanceRequested,
    ChildAsked,
    CreateRequested,
    PauseRequested,
    RestartRequested,
    RunRaised,
    TerminateRequested,
)
from stepwell.engine.forking import Prefix
from stepwell.engine.instance import Phase
from stepwell.engine.records import Created, Origin, StepKey, WaitTimedOut
from stepwell.engine.status import status_of
from stepwell.errors import InvalidArgumentError, WrongStateError
from stepwell.names import Digest, InstanceId, InstanceUid
from tests.unit.engine.driven import BOOM, T0, Driven, appended, key, names

APPROVAL, NAP = key("approval", kind="waitForEvent"), key("nap", kind="sleep")


def cut(run: Driven, step: StepKey) -> tuple[Prefix, Origin]:
    prefix = Prefix()
    for record in run.records:
        prefix.add(record)
    return prefix, prefix.cut(InstanceId("one"), step, "", run.at)


def forked(run: Driven, step: StepKey) -> Driven:
    """A fork, not yet activated."""
    fork = Driven(run.limits)
    fork.at = run.at
    of, origin = cut(run, step)
    fork.handle(
        CreateRequested(
            run.at, InstanceUid("uid-2"), Digest("sha256-1"), "main:Flow", of.instance.params, "call-1", origin=origin
        )
    )
    return fork


def test_a_fork_begins_with_all_of_it_in_its_first_record_and_runs_on_from_the_step() -> None:
    run = Driven().running()
    run.succeed("reserve", result=b"7")
    run.succeed("charge", result=b"8")
    run.handle(RunRaised(run.at, BOOM))
    run.at += 60_000
    before = list(run.records)
    fork = forked(run, key("charge"))
    assert run.records == before
    (created,) = fork.records
    assert isinstance(created, Created)
    assert status_of(fork.instance) == "queued"
    assert (fork.instance.uid, fork.instance.created_at) == (InstanceUid("uid-2"), T0 + 60_000)
    assert [*fork.instance.steps] == [key("reserve")]
    assert fork.instance.steps[key("reserve")].output == b"7"
    assert names(fork.activate()) == ["Activated", "TellStart"]
    fork.succeed("charge", result=b"9")
    assert fork.instance.steps[key("charge")].output == b"9"
    assert (run.instance.phase, run.instance.steps[key("charge")].output) == (Phase.FINISHED, b"8")


def test_its_run_is_told_the_times_that_its_origins_was_told() -> None:
    run = Driven()
    run.create()
    run.at += 5
    run.activate()
    run.succeed("reserve")
    run.succeed("charge")
    run.at += 60_000
    fork = forked(run, key("charge"))
    fork.activate()
    assert (fork.instance.event_at, fork.instance.clock_at) == (T0, T0 + 5)
    assert fork.instance.started_at == T0 + 60_005, "it is its own that people see"
    forks_fork = forked(fork, key("reserve"))
    forks_fork.at += 9
    forks_fork.activate()
    assert (forks_fork.instance.event_at, forks_fork.instance.clock_at) == (T0, T0 + 60_014), "nothing is copied"


def test_a_whole_restart_of_a_fork_begins_its_clock_anew() -> None:
    run = Driven().running()
    run.succeed("reserve")
    run.succeed("charge")
    fork = forked(run, key("charge"))
    fork.activate()
    fork.at += 60_000
    fork.handle(RestartRequested(fork.at, None, ""))
    assert fork.instance.steps == {}
    fork.activate()
    assert (fork.instance.event_at, fork.instance.clock_at) == (T0, T0 + 60_000)


def test_what_is_waited_for_since_before_the_step_keeps_its_deadline_moved_by_pauses() -> None:
    run = Driven().running()
    run.sleep("nap", 86_400_000)
    run.wait("approval", "approve", 90_000_000)
    run.fail("tried")
    run.succeed("reserve")
    run.sleep("later", 1_000)
    run.handle(PauseRequested(run.at, ""))
    run.at += 5_000
    fork = forked(run, key("reserve"))
    assert [*fork.instance.open] == [NAP, APPROVAL, key("tried")]
    assert {ask.due for ask in fork.instance.open.values()} == {T0 + 86_405_000, T0 + 90_005_000, T0 + 15_000}
    assert fork.instance.phase is Phase.LIVE, "a pause is the origin's"
    assert run.instance.phase is Phase.PAUSED


def test_a_sleep_whose_time_has_passed_is_over_as_soon_as_the_fork_runs() -> None:
    run = Driven().running()
    run.sleep("nap", 5_000)
    run.succeed("reserve")
    run.at += 60_000
    fork = forked(run, key("reserve"))
    fork.activate()
    assert "SleepFired" in names(fork.tick())


def test_an_event_that_a_copied_wait_took_is_the_forks_first_and_no_other_is_copied() -> None:
    run = Driven().running()
    run.send("other", b"0", "call-9")
    run.send("approve", b"1", "call-1", "delivery-1")
    run.send("approve", b"2")
    run.wait("approval", "approve")
    run.succeed("charge")
    fork = forked(run, key("charge"))
    (event,) = fork.instance.received
    assert (event.number, event.payload, event.request_id, event.event_id) == (1, b"1", "", "delivery-1")
    assert fork.instance.buffered_events == fork.instance.dead_events == 0
    fork.activate()
    fork.send("approve", b"3", "call-9")
    assert [each.number for each in fork.instance.received] == [1, 2]
    assert fork.send("approve", b"1", "", "delivery-1") == [], "the fork has had it"


def test_a_wait_that_the_fork_begins_from_takes_nothing_of_the_origins() -> None:
    run = Driven().running()
    run.send("approve", b"1")
    run.wait("approval", "approve")
    fork = forked(run, APPROVAL)
    assert (fork.instance.received, fork.instance.steps) == ([], {})
    fork.activate()
    fork.wait("approval", "approve", 1_000)
    fork.at += 1_000
    assert any(isinstance(record, WaitTimedOut) for record in appended(fork.tick()))


def test_what_a_restart_of_the_origin_forgot_is_not_copied() -> None:
    run = Driven().running()
    run.succeed("reserve", result=b"old")
    run.succeed("charge")
    run.handle(RestartRequested(run.at, key("reserve"), ""))
    run.activate()
    run.succeed("reserve", result=b"new")
    run.start("charge")
    run.refused(RestartRequested(run.at, key("charge"), ""), InvalidArgumentError, "no step 'charge'")
    run.succeed("charge")
    fork = forked(run, key("charge"))
    assert [step.output for step in fork.instance.steps.values()] == [b"new"]
    assert len(cut(run, key("charge"))[1].records) == 1


def test_a_step_that_the_origin_has_not_come_to_is_refused() -> None:
    run = Driven().running()
    run.start("charge")
    with pytest.raises(InvalidArgumentError, match="no step 'charge'") as caught:
        cut(run, key("charge"))
    assert caught.value.metadata["field"] == "step_name"


def test_a_fork_that_has_not_run_is_rolled_back_too_where_something_is_copied() -> None:
    run = Driven().running()
    run.succeed("reserve")
    run.succeed("charge")
    fork = forked(run, key("charge"))
    assert names(fork.handle(TerminateRequested(fork.at, "", rollback=True))) == [
        "WakeNow",
        "RollbackBegun",
        "Activate",
    ]
    empty = forked(run, key("reserve"))
    assert names(empty.handle(TerminateRequested(empty.at, "", rollback=True))) == ["WakeNow", "Terminated"]


def test_children_and_a_cancel_are_the_origins_alone() -> None:
    run = Driven().running()
    run.succeed("reserve")
    run.handle(ChildAsked(run.at, "flow/child"))
    run.succeed("charge")
    with pytest.raises(WrongStateError, match="created others"):
        cut(run, key("charge"))
    run = Driven().running()
    run.succeed("reserve")
    run.handle(CancelInstanceRequested(run.at, "", "cancel-1"))
    run.succeed("release")
    with pytest.raises(WrongStateError, match="was cancelled before"):
        cut(run, key("release"))
    assert cut(run, key("reserve"))[1].records == ()
