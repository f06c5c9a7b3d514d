"""How large an instance may grow."""

from __future__ import annotations

import pytest

from stepwell.engine.events import (
    EventSent,
    PauseRequested,
    ResumeRequested,
    RunReturned,
    StepSucceeded,
    TerminateRequested,
)
from stepwell.engine.fold import RECORD_BYTES
from stepwell.engine.limits import EVENTS_LEAVE_RECORDS, EngineLimits
from stepwell.engine.records import BlobRef, Errored
from stepwell.errors import LimitExceededError, WrongStateError
from tests.unit.engine.driven import Driven, appended, key, names


def test_an_instance_that_has_stored_too_much_fails_and_says_so() -> None:
    run = Driven(EngineLimits(instance_bytes_max=2_000)).running()
    run.succeed("one", result=b"x" * 1_000)
    actions = run.succeed("two", result=b"y" * 1_000)
    assert names(actions) == ["StepCompleted", "TellCompletion", "Errored", "TellStop"]
    failed = appended(actions)[-1]
    assert isinstance(failed, Errored)
    assert failed.failure.type == "LimitExceededError"
    assert "over the limit instance_bytes_max of 2,000" in failed.failure.message


def test_blobs_count_although_they_are_kept_elsewhere() -> None:
    run = Driven(EngineLimits(instance_bytes_max=100_000)).running()
    run.handle(StepSucceeded(run.at, key("one"), 1, 7, BlobRef("b-1", 99_999)))
    assert isinstance(run.records[-1], Errored)
    assert run.replayed().stored_bytes == run.instance.stored_bytes
    assert run.instance.inline_bytes < 100


def test_calls_can_not_make_a_journal_without_end() -> None:
    run = Driven(EngineLimits(records_max=6)).running()
    for _ in range(2):
        run.handle(PauseRequested(run.at, ""))
        run.handle(ResumeRequested(run.at, ""))
    assert len(run.records) == 6
    run.handle(PauseRequested(run.at, ""))
    assert isinstance(run.records[-1], Errored)
    run.refused(ResumeRequested(run.at, ""), WrongStateError)


def test_an_event_that_would_end_the_instance_is_not_taken() -> None:
    run = Driven(EngineLimits(instance_bytes_max=2_000)).running()
    with pytest.raises(LimitExceededError) as refused:
        run.send("order", b"x" * 2_000)
    assert (refused.value.metadata["limit"], refused.value.metadata["value"]) == ("instance_bytes_max", "2000")
    assert int(refused.value.metadata["seen"]) > 2_000
    assert names(run.send("order", b"x")) == ["WakeNow", "EventReceived"]


def test_an_event_whose_match_would_end_the_instance_is_not_taken() -> None:
    run = Driven(EngineLimits(instance_bytes_max=1_000)).running()
    run.wait("approval", "order")
    room = 900 - run.instance.stored_bytes - 2 * RECORD_BYTES
    run.refused(EventSent(run.at, "order", b"x" * (room + 1), ""), LimitExceededError)
    assert names(run.send("order", b"x" * room)) == ["WakeNow", "EventReceived", "EventMatched", "TellCompletion"]


def test_an_event_leaves_a_full_journal_room_to_end_in() -> None:
    run = Driven(EngineLimits(records_max=100, buffered_events_max=1_000)).running()
    run.wait("approval", "order")
    run.idle()
    while len(run.records) < 90:
        run.send("noise")
    run.refused(EventSent(run.at, "noise", b"1", ""), LimitExceededError, "would have 91 records")
    run.refused(EventSent(run.at, "order", b"1", ""), LimitExceededError, "may have 100, the last 10 without events")
    run.at += 1
    assert names(run.handle(TerminateRequested(run.at, ""))) == ["WakeNow", "Terminated"]


def test_what_an_event_wakes_in_a_nearly_full_journal_can_still_end_by_itself() -> None:
    run = Driven(EngineLimits(records_max=100, buffered_events_max=1_000)).running()
    run.wait("approval", "order")
    run.idle()
    while len(run.records) < 88:
        run.send("noise")
    run.send("order", b"1")
    assert len(run.records) == 90
    run.activate()
    run.succeed("ship")
    assert names(run.handle(RunReturned(run.at, b"1"))) == ["Completed", "TellStop"]


def test_an_event_leaves_room_for_the_bytes_of_what_it_causes() -> None:
    run = Driven(EngineLimits(instance_bytes_max=1024 * 1024)).running()
    room = 1024 * 1024 - run.instance.stored_bytes - RECORD_BYTES - EVENTS_LEAVE_RECORDS * RECORD_BYTES
    run.refused(EventSent(run.at, "order", BlobRef("b", room + 1), ""), LimitExceededError, "bytes stored")
    run.handle(EventSent(run.at, "order", BlobRef("b", room), ""))
