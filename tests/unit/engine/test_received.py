"""What became of the events that an instance received."""

from __future__ import annotations

from stepwell.engine.events import (
    ChildAsked,
    ChildEnded,
    KeyCancelled,
    RestartRequested,
    RunReturned,
    TerminateRequested,
)
from stepwell.engine.received import received_by, resend_id
from tests.unit.engine.driven import Driven, key


def states(run: Driven) -> list[tuple[int, str, str]]:
    """Of each event: its number, its state, and the wait that took it."""
    assert received_by(run.instance) == received_by(run.replayed())
    assert run.instance.dead_events == sum(each.state == "dead" for each in received_by(run.instance))
    return [(each.event.number, each.state, each.step.name if each.step else "") for each in received_by(run.instance)]


def test_an_event_is_kept_then_taken_and_dead_when_its_instance_ended_without_it() -> None:
    run = Driven().running()
    run.send("approve", b"1")
    run.send("approve", b"2")
    assert states(run) == [(1, "buffered", ""), (2, "buffered", "")]
    run.wait("approval", "approve")
    assert states(run) == [(1, "taken", "approval"), (2, "buffered", "")]
    run.handle(RunReturned(run.at, b"null"))
    assert states(run) == [(1, "taken", "approval"), (2, "dead", "")]


def test_an_event_whose_wait_was_cancelled_in_time_is_kept_again() -> None:
    run = Driven().running()
    run.wait("approval", "approve")
    run.send("approve", b"1")
    run.handle(KeyCancelled(run.at, key("approval", kind="waitForEvent")))
    assert states(run) == [(1, "buffered", "")]


def test_what_a_restart_forgets_is_dead_and_what_it_keeps_is_not() -> None:
    run = Driven().running()
    run.wait("first", "approve")
    run.send("approve", b"1")
    run.send("approve", b"2")
    run.succeed("pay")
    run.send("approve", b"3")
    run.wait("second", "approve")
    run.handle(TerminateRequested(run.at, ""))
    assert states(run) == [(1, "taken", "first"), (2, "taken", "second"), (3, "dead", "")]
    run.handle(RestartRequested(run.at, key("pay"), ""))
    assert states(run) == [(1, "taken", "first"), (2, "buffered", ""), (3, "dead", "")]
    run.handle(RestartRequested(run.at, None, ""))
    assert states(run) == [(1, "dead", ""), (2, "dead", ""), (3, "dead", "")]


def test_an_event_is_sent_elsewhere_under_its_own_id_or_one_that_says_where_it_was() -> None:
    run = Driven().running()
    run.send("approve", b"1", "", "delivery-1")
    run.send("approve", b"1")
    assert [resend_id(run.instance, event) for event in run.instance.received] == ["delivery-1", "uid-1.2"]


def test_the_end_of_a_child_is_told_and_is_not_to_be_sent() -> None:
    run = Driven().running()
    run.handle(ChildAsked(run.at, "c/1"))
    run.handle(ChildEnded(run.at, "c/1", b'{"status":"complete","output":1}', "end 1"))
    assert states(run) == [(1, "buffered", "")]
    run.handle(TerminateRequested(run.at, ""))
    assert states(run) == [(1, "dead", "")]
    run.handle(RestartRequested(run.at, None, ""))
    assert states(run) == [(1, "buffered", "")], "a restart keeps it"
    run.activate()
    run.wait("c", "c/1")
    assert states(run) == [(1, "taken", "c")]
    assert resend_id(run.instance, run.instance.received[0]) == ""
