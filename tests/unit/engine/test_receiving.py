"""Which events an instance takes: each call's once, each event's once by its own id, and no more than there is room."""

from __future__ import annotations

import pytest

from stepwell.engine import fold
from stepwell.engine.events import (
    DeleteRequested,
    EventSent,
    PauseRequested,
    RestartRequested,
    RunReturned,
    TerminateRequested,
)
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import BlobRef, EventMatched
from stepwell.errors import InvalidArgumentError, LimitExceededError, NotWaitingError, WrongStateError
from tests.unit.engine.driven import T0, Driven, key, names


def test_the_same_call_twice_is_one_event() -> None:
    run = Driven().running()
    run.send("approve", b"1", "call-1")
    run.no_effect(EventSent(run.at, "approve", b"1", "call-1"))
    assert run.instance.events_received == 1


def test_two_calls_without_a_request_id_are_two_events() -> None:
    run = Driven().running()
    run.send("approve", b"1")
    run.send("approve", b"1")
    assert run.instance.buffered_events == 2


@pytest.mark.parametrize(("event_type", "payload"), [("reject", b"1"), ("approve", b"2"), ("approve", BlobRef("b", 1))])
def test_a_request_id_of_another_event_is_refused(event_type: str, payload: bytes | BlobRef) -> None:
    run = Driven().running()
    run.send("approve", b"1", "call-1")
    run.refused(EventSent(run.at, event_type, payload, "call-1"), InvalidArgumentError, "call-1")


def test_a_request_id_of_another_call_is_refused() -> None:
    run = Driven().running()
    run.handle(PauseRequested(run.at, "call-1"))
    run.refused(EventSent(run.at, "approve", b"1", "call-1"), InvalidArgumentError)


def test_a_repeated_call_with_a_blob_names_the_blob_that_is_there() -> None:
    run = Driven().running()
    run.handle(EventSent(run.at, "approve", BlobRef("one", 99), "call-1"))
    run.no_effect(EventSent(run.at, "approve", BlobRef("one", 99), "call-1"))
    run.refused(EventSent(run.at, "approve", BlobRef("two", 99), "call-1"), InvalidArgumentError)


def test_an_instance_that_has_ended_takes_no_events_but_knows_those_it_took() -> None:
    run = Driven().running()
    run.send("approve", b"1", "call-1")
    run.handle(RunReturned(run.at, b"null"))
    run.refused(EventSent(run.at, "approve", b"1", "call-2"), WrongStateError)
    run.no_effect(EventSent(run.at, "approve", b"1", "call-1"))


def test_an_instance_that_is_being_deleted_takes_no_events() -> None:
    run = Driven().running()
    run.handle(TerminateRequested(run.at, ""))
    run.handle(DeleteRequested(run.at, ""))
    run.refused(EventSent(run.at, "approve", b"1", ""), WrongStateError)


def test_no_instance_takes_no_events() -> None:
    Driven().refused(EventSent(T0, "approve", b"1", ""), WrongStateError)


def test_only_so_many_events_are_kept() -> None:
    run = Driven(EngineLimits(buffered_events_max=2)).running()
    run.send("approve")
    run.send("reject")
    run.refused(EventSent(run.at, "approve", b"1", ""), LimitExceededError, "keeps 2 events")


def test_only_so_many_bytes_of_events_are_kept() -> None:
    run = Driven(EngineLimits(buffered_event_bytes_max=10)).running()
    run.send("approve", b"12345678")
    run.refused(EventSent(run.at, "approve", b"123", ""), LimitExceededError, "would keep 11 bytes")
    run.refused(EventSent(run.at, "approve", BlobRef("b", 3), ""), LimitExceededError, "would keep 11 bytes")
    run.wait("approval", "approve")
    run.wait("another", "approve")
    assert names(run.send("approve", b"12345678901")) == ["WakeNow", "EventReceived", "EventMatched", "TellCompletion"]
    run.handle(EventSent(run.at, "approve", BlobRef("b", 10), ""))
    assert run.instance.buffered_bytes == run.replayed().buffered_bytes == 10


def test_a_restart_counts_the_bytes_of_the_events_that_it_gives_back() -> None:
    run = Driven().running()
    run.send("approve", b"12345")
    run.succeed("pay")
    run.wait("approval", "approve")
    run.send("approve", b"later")
    assert run.instance.buffered_bytes == 5
    run.handle(RestartRequested(run.at, key("pay"), ""))
    assert (run.instance.buffered_events, run.instance.buffered_bytes) == (1, 5)


def test_kept_events_do_not_keep_out_the_one_that_is_waited_for() -> None:
    run = Driven(EngineLimits(buffered_events_max=1)).running()
    run.send("noise")
    run.wait("approval", "approve")
    assert names(run.send("approve")) == ["WakeNow", "EventReceived", "EventMatched", "TellCompletion"]


# -------------------------------------------------------------------- for who waits, and nobody else
def test_an_event_that_only_a_wait_may_have_is_not_kept_for_one_that_may_come() -> None:
    run = Driven().running()
    only = EventSent(run.at, "approve", b"1", "", "broadcast-1", only_if_waiting=True)
    run.refused(only, NotWaitingError, "does not wait")
    run.wait("another", "reject")
    run.refused(only, NotWaitingError, "approve")
    run.wait("approval", "approve")
    assert names(run.handle(only)) == ["WakeNow", "EventReceived", "EventMatched", "TellCompletion"]
    run.no_effect(only)


def test_a_paused_instance_that_waits_takes_it_and_one_that_has_ended_does_not() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.handle(PauseRequested(run.at, ""))
    run.handle(EventSent(run.at, "approve", b"1", "", "broadcast-1", only_if_waiting=True))
    assert run.instance.buffered_events == 0
    run.handle(TerminateRequested(run.at, ""))
    run.refused(EventSent(run.at, "approve", b"1", "", "broadcast-2", only_if_waiting=True), WrongStateError, "ended")


def test_a_wait_whose_event_is_there_and_only_not_matched_yet_is_none() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.idle()
    run.send("approve", b"1")
    assert isinstance(run.records.pop(), EventMatched)
    run.crash()
    run.refused(EventSent(run.at, "approve", b"2", "", "", only_if_waiting=True), NotWaitingError)


# -------------------------------------------------------------------- an event's own id
def test_an_event_comes_once_by_its_own_id_whoever_sends_it() -> None:
    run = Driven().running()
    run.send("approve", b"1", "call-1", "delivery-1")
    run.no_effect(EventSent(run.at, "approve", b"1", "call-2", "delivery-1"))
    run.no_effect(EventSent(run.at, "approve", b"1", "", "delivery-1"))
    assert names(run.send("approve", b"1", "", "delivery-2")) == ["WakeNow", "EventReceived"]


def test_an_event_is_known_by_its_id_after_a_crash_when_it_was_taken_and_after_the_end() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.send("approve", b"1", "", "delivery-1")
    run.crash()
    run.activate()
    run.no_effect(EventSent(run.at, "approve", b"1", "", "delivery-1"))
    run.handle(RunReturned(run.at, b"null"))
    run.no_effect(EventSent(run.at, "approve", b"1", "", "delivery-1"))
    run.refused(EventSent(run.at, "approve", b"1", "", "delivery-2"), WrongStateError)


@pytest.mark.parametrize(("event_type", "payload"), [("reject", b"1"), ("approve", b"2"), ("approve", BlobRef("b", 1))])
def test_an_id_of_another_event_is_refused(event_type: str, payload: bytes | BlobRef) -> None:
    run = Driven().running()
    run.send("approve", b"1", "", "delivery-1")
    run.refused(EventSent(run.at, event_type, payload, "", "delivery-1"), InvalidArgumentError, "event_id 'delivery-1'")


def test_a_request_id_that_brought_an_event_of_another_id_is_refused() -> None:
    run = Driven().running()
    run.send("approve", b"1", "call-1", "delivery-1")
    run.refused(EventSent(run.at, "approve", b"1", "call-1", "delivery-2"), InvalidArgumentError, "request_id 'call-1'")


def test_a_restart_forgets_the_ids_of_the_events_that_it_forgets_and_no_others() -> None:
    run = Driven().running()
    run.send("approve", b"1", "", "early")
    run.succeed("pay")
    run.send("approve", b"2", "", "late")
    run.handle(RestartRequested(run.at, key("pay"), ""))
    run.no_effect(EventSent(run.at, "approve", b"1", "", "early"))
    assert names(run.send("approve", b"3", "", "late"))[:2] == ["WakeNow", "EventReceived"]
    assert run.replayed().event_ids == run.instance.event_ids
    run.handle(RestartRequested(run.at, None, ""))
    assert run.instance.event_ids == {}


def test_an_id_that_is_created_again_knows_nothing_of_the_events_before() -> None:
    run = Driven().running()
    run.send("approve", b"1", "", "delivery-1")
    run.handle(TerminateRequested(run.at, ""))
    run.handle(DeleteRequested(run.at, ""))
    again = Driven().running()
    assert fold.replay([*run.records, *again.records]).event_ids == {}
