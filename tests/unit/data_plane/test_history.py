"""A journal as its watchers see it."""

from __future__ import annotations

import pytest

from data_plane.history import Happening, History
from stepwell.engine import records as r
from stepwell.names import Digest, InstanceUid

FAILURE = r.Failure("builtins", "ValueError", "boom")
CREATED = r.Created(1, InstanceUid("u"), Digest("d"), "m:C", b"null", "")
ACTIVATED = r.Activated(2, "cpython-3.11")
FETCH = r.StepKey("do", "fetch", 1)
NAP = r.StepKey("sleep", "nap", 1)
WAIT = r.StepKey("waitForEvent", "approval", 1)


def seen(*records: r.Record) -> list[Happening]:
    history = History()
    return [happening for record in records if (happening := history.add(record)) is not None]


def last(*records: r.Record) -> Happening:
    return seen(CREATED, ACTIVATED, *records)[-1]


def test_a_life_reads_as_it_went() -> None:
    happenings = seen(
        CREATED,
        ACTIVATED,
        r.StepCompleted(3, FETCH, 1, 2, b"1"),
        r.SleepStarted(4, NAP, 90_000),
        r.ActivationEnded(5, runnable=False),
        r.SleepFired(90_000, NAP),
        r.Activated(90_001, "cpython-3.11"),
        r.Completed(90_002, b"null"),
    )
    assert [(each.type, each.status) for each in happenings] == [
        ("created", "queued"),
        ("started", "running"),
        ("stepCompleted", "running"),
        ("stepStarted", "running"),
        ("hibernated", "waiting"),
        ("stepCompleted", "running"),
        ("activated", "running"),
        ("completed", "complete"),
    ]
    assert [each.number for each in happenings] == list(range(1, 9))
    assert [each.at for each in happenings] == [1, 2, 3, 4, 5, 90_000, 90_001, 90_002]


@pytest.mark.parametrize(
    ("records", "type_", "step_status"),
    [
        ([r.AttemptFailed(3, FETCH, 1, 2, FAILURE, 9)], "stepRetrying", "retrying"),
        ([r.StepFailed(3, FETCH, 1, 2, FAILURE)], "stepFailed", "errored"),
        ([r.StepCancelled(3, FETCH)], "stepCancelled", "cancelled"),
        ([r.SleepStarted(3, NAP, 9)], "stepStarted", "waiting"),
        ([r.WaitStarted(3, WAIT, "x", None)], "stepStarted", "waiting"),
        ([r.WaitStarted(3, WAIT, "x", 4), r.WaitTimedOut(4, WAIT)], "stepFailed", "errored"),
        (
            [r.WaitStarted(3, WAIT, "x", None), r.EventReceived(4, 1, "x", b"1", ""), r.EventMatched(4, WAIT, 1)],
            "stepCompleted",
            "complete",
        ),
    ],
)
def test_what_happens_to_a_step_comes_with_the_step(records: list[r.Record], type_: str, step_status: str) -> None:
    happening = last(*records)
    assert happening.type == type_
    assert happening.step is not None
    assert happening.step.status == step_status


@pytest.mark.parametrize(
    ("records", "type_", "status"),
    [
        ([r.EventReceived(3, 1, "x", b"1", "")], "eventReceived", "running"),
        ([r.Paused(3, None, "")], "paused", "paused"),
        ([r.Paused(3, FAILURE, ""), r.Resumed(5, 2, "")], "resumed", "running"),
        ([r.SandboxDied(3, "gone")], "sandboxDied", "running"),
        ([r.Errored(3, FAILURE)], "errored", "errored"),
        ([r.Terminated(3, "")], "terminated", "terminated"),
        ([r.Terminated(3, ""), r.Deleting(4, InstanceUid("u"), 1, "")], "deleted", "terminated"),
    ],
)
def test_what_happens_to_the_instance_comes_without_a_step(records: list[r.Record], type_: str, status: str) -> None:
    happening = last(*records)
    assert (happening.type, happening.status, happening.step) == (type_, status, None)


def test_timers_of_run_and_drained_activations_are_the_engines_own() -> None:
    timer = r.StepKey("timer", "", 1)
    hidden: list[r.Record] = [
        r.SleepStarted(3, timer, 9),
        r.SleepFired(9, timer),
        r.ActivationEnded(10, runnable=True),
    ]
    assert [each.type for each in seen(CREATED, ACTIVATED, *hidden)] == ["created", "started"]


def test_what_is_hidden_is_counted_so_that_cursors_hold() -> None:
    happenings = seen(CREATED, r.ActivationEnded(2, runnable=True), r.Terminated(3, ""))
    assert [each.number for each in happenings] == [1, 3]


def test_a_history_ends_with_its_instance() -> None:
    history = History()
    for record in (CREATED, ACTIVATED, r.Paused(3, FAILURE, "")):
        history.add(record)
        assert not history.ended
    history.add(r.Terminated(4, ""))
    assert history.ended


def test_an_id_that_is_taken_again_begins_a_history_of_its_own() -> None:
    (*_, deleted, created) = seen(CREATED, r.Terminated(3, ""), r.Deleting(4, InstanceUid("u"), 1, ""), CREATED)
    assert deleted.number == 3
    assert (created.number, created.status) == (1, "queued")


def test_a_happenings_step_is_the_step_as_it_was_then() -> None:
    happenings = seen(CREATED, r.SleepStarted(3, NAP, 9), r.SleepFired(9, NAP))
    assert [each.step.status for each in happenings if each.step is not None] == ["waiting", "complete"]


def test_what_has_ended_is_forgotten_once_it_was_told() -> None:
    history = History()
    history.add(CREATED)
    history.add(ACTIVATED)
    for number in range(1, 1_001):
        nap, fetch = NAP._replace(count=number), FETCH._replace(count=number)
        timer, late = r.StepKey("timer", "", number), WAIT._replace(count=number)
        for record in (
            r.AttemptFailed(number, fetch, 1, 2, FAILURE, 9),
            r.StepCompleted(number, fetch, 2, 2, b"1"),
            r.SleepStarted(number, nap, 9),
            r.SleepFired(number, nap),
            r.SleepStarted(number, timer, 9),
            r.SleepFired(number, timer),
            r.WaitStarted(number, late, "x", 9),
            r.WaitTimedOut(number, late),
        ):
            history.add(record)
    assert (len(history.instance.steps), len(history.instance.completions), len(history.instance.open)) == (0, 0, 0)


def test_a_wait_that_gave_its_event_back_is_told_as_it_was() -> None:
    event = r.EventReceived(4, 1, "x", b"payload", "")
    happenings = seen(
        CREATED,
        ACTIVATED,
        r.WaitStarted(3, WAIT, "x", None),
        event,
        r.EventMatched(5, WAIT, 1),
        r.StepCancelled(6, WAIT),
    )
    assert happenings[-1].type == "stepCancelled"
    assert happenings[-1].step is not None
    assert happenings[-1].step.started_at == 3
