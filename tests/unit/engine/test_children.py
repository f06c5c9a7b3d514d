"""Children: counted before they are created, bounded, and heard of once."""

from __future__ import annotations

import pytest

from stepwell.engine import events as e
from stepwell.engine.family import Parent
from stepwell.engine.limits import EngineLimits
from stepwell.errors import LimitExceededError, WrongStateError
from stepwell.names import Digest, InstanceUid
from tests.unit.engine.dice import PARENT
from tests.unit.engine.driven import BOOM, LET_OUT, Driven, key, names, told


@pytest.fixture
def run() -> Driven:
    return Driven(EngineLimits(children_max=2, depth_max=1, buffered_events_max=1))


def born(run: Driven, parent: Parent | None = PARENT, depth: int = 1) -> Driven:
    uid, digest = InstanceUid("u"), Digest("d")
    run.handle(e.CreateRequested(run.at, uid, digest, "main:Flow", b"null", "", b"", parent, depth))
    run.activate()
    return run


def ended(run: Driven, child: str = "c/1", end: str = "end 1") -> list[str]:
    return names(run.handle(e.ChildEnded(run.at, child, b'{"status":"complete","output":1}', end)))


def test_a_child_is_counted_once_and_no_more_than_the_limit(run: Driven) -> None:
    run.running()
    assert names(run.handle(e.ChildAsked(run.at, "c/1"))) == ["ChildAdded"]
    run.no_effect(e.ChildAsked(run.at, "c/1"))
    run.handle(e.ChildAsked(run.at, "c/2"))
    run.refused(e.ChildAsked(run.at, "c/3"), LimitExceededError, "has created 2 others")
    run.crash()
    run.refused(e.ChildAsked(run.at, "c/3"), LimitExceededError)


def test_a_chain_of_parents_comes_to_an_end(run: Driven) -> None:
    born(run, depth=1)
    run.refused(e.ChildAsked(run.at, "c/1"), LimitExceededError, "create itself without end")


def test_one_that_has_ended_creates_no_more(run: Driven) -> None:
    run.running()
    run.handle(e.RunReturned(run.at, b"null"))
    run.refused(e.ChildAsked(run.at, "c/1"), WrongStateError)


def test_the_word_of_an_end_comes_once_whatever_is_kept_besides(run: Driven) -> None:
    run.running()
    run.handle(e.ChildAsked(run.at, "c/1"))
    run.send("other")
    assert ended(run) == ["WakeNow", "EventReceived"]
    assert ended(run) == []
    assert ended(run, end="end 2") == [], "one is kept"
    assert ended(run, child="c/9") == [], "it is no child"
    actions = run.handle(e.WaitAsked(run.at, key("c", kind="waitForEvent"), "c/1", None))
    assert [each.completion.outcome for each in told(actions)] == ["event"]


def test_a_parent_that_waits_is_woken(run: Driven) -> None:
    run.running()
    run.handle(e.ChildAsked(run.at, "c/1"))
    run.wait("c", "c/1")
    run.idle()
    assert ended(run) == ["WakeNow", "EventReceived", "EventMatched", "Activate"]


def test_a_restart_keeps_children_and_their_ends(run: Driven) -> None:
    run.running()
    run.handle(e.ChildAsked(run.at, "c/1"))
    run.wait("c", "c/1")
    ended(run)
    run.handle(e.RestartRequested(run.at, None, ""))
    assert [*run.instance.children] == ["c/1"]
    run.activate()
    assert [each.completion.outcome for each in told(run.wait("c", "c/1"))] == ["event"]
    run.crash()
    assert run.instance.buffered_events == 0


@pytest.mark.parametrize(
    ("end", "cancelled"),
    [(e.RunReturned(1, b"1"), False), (e.RunRaised(1, BOOM), False), (e.RunRaised(1, LET_OUT), True)],
)
def test_a_childs_end_is_behind_a_wake_and_leads_here_until_its_parent_has_heard(
    run: Driven, end: e.Event, cancelled: bool
) -> None:
    born(run)
    if cancelled:
        run.handle(e.CancelInstanceRequested(run.at, "", ""))
    assert names(run.handle(end))[0] == "WakeNow"
    assert run.instance.next_due() == 0
    run.refused(e.DeleteRequested(run.at, ""), WrongStateError, "about to hear")
    run.crash()
    assert run.instance.next_due() == 0
    assert names(run.handle(e.ParentHeard(run.at))) == ["ParentTold"]
    assert run.handle(e.ParentHeard(run.at)) == []
    assert run.instance.next_due() is None
    run.handle(e.RestartRequested(run.at, None, ""))
    run.activate()
    run.handle(e.RunReturned(run.at, b"2"))
    assert run.instance.untold
