"""Steps are undone, the last first, once `run` has failed for good or a call ends it: on the server's own engine."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stepwell import NonRetryableError, StepDefinitionError, WorkflowEntrypoint, WorkflowStep
from stepwell.testing import Rollback, Workflows, crash_at_every_record
from tests.unit.testing import rollback_programs as programs
from tests.unit.testing.rollback_programs import WORLD, NotFunny


@pytest.fixture(autouse=True)
def _a_new_world() -> None:
    WORLD.clear()


def undone() -> list[str]:
    return [line for line in WORLD if line.startswith("undo")]


def test_what_fails_is_undone_the_last_step_first(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": "run"})
    assert str(booking.error()) == "after all"
    assert (booking.status, booking.rollback()) == ("errored", Rollback("complete"))
    assert WORLD == [
        "flight",
        "note",
        "hotel",
        "undo hotel of 'H1' for NotFunny: after all",
        "undo flight of 'F1' for NotFunny: after all",
    ]
    assert [(step.name, step.kind, step.status) for step in booking.steps] == [
        ("flight", "do", "complete"),
        ("note", "do", "complete"),
        ("hotel", "do", "complete"),
        ("hotel", "rollback", "complete"),
        ("flight", "rollback", "complete"),
    ]


def test_the_failed_steps_own_handler_runs_too_without_an_output(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": "hotel"})
    assert isinstance(booking.error(), NotFunny)
    assert undone() == ["undo hotel of None for NotFunny: no rooms", "undo flight of 'F1' for NotFunny: no rooms"]


def test_what_ends_well_is_not_undone(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": ""})
    assert booking.result() == "booked"
    assert (booking.rollback(), undone()) == (None, [])


def test_what_has_no_handlers_has_no_rollback(workflows: Workflows) -> None:
    class Bare(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> None:
            raise NotFunny

    bare = workflows.start(Bare)
    assert (bare.error().__class__, bare.rollback()) == (NotFunny, None)


def test_a_handler_is_tried_again_on_its_own_config(workflows: Workflows) -> None:
    flaky = workflows.start(programs.FlakyUndo, 2)
    before = workflows.now
    assert isinstance(flaky.error(), NonRetryableError)
    assert flaky.rollback() == Rollback("complete")
    assert WORLD == ["attempt 1", "attempt 2", "attempt 3", "undo one of '1' for NonRetryableError: over"]
    assert 0 <= (workflows.now - before).total_seconds() - 3 * 3600 < 1, "one hour, then two"


def test_a_handler_that_fails_for_good_stops_the_rollback(workflows: Workflows) -> None:
    flaky = workflows.start(programs.FlakyUndo, 3)
    assert str(flaky.error()) == "over", "what run failed with is what it ends with"
    rollback = flaky.rollback()
    assert rollback is not None
    assert (rollback.outcome, type(rollback.error), str(rollback.error)) == ("failed", NotFunny, "not yet")
    assert undone() == []


def test_what_runs_is_over_before_it_is_undone(workflows: Workflows) -> None:
    together = workflows.start(programs.Together)
    assert str(together.error()) == "fails"
    assert WORLD == [
        "slow is over",
        "undo fails of None for NotFunny: fails",
        "undo quick of 'quick' for NotFunny: fails",
        "undo again of None for NotFunny: fails",
        "undo slow of None for NotFunny: fails",
    ]


def test_a_call_rolls_it_back_and_ends_it(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": "", "waits": True})
    booking.wait_for_status("waiting")
    booking.terminate(rollback=True)
    while_it_is_rolled_back: str = booking.status
    assert while_it_is_rolled_back == "running"
    assert booking.rollback() == Rollback("complete")
    assert booking.status == "terminated"
    ended = "WorkflowTerminatedError: the instance was terminated"
    assert undone() == [f"undo hotel of 'H1' for {ended}", f"undo flight of 'F1' for {ended}"]


def test_what_is_paused_is_rolled_back_by_a_call(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": "", "waits": True})
    booking.wait_for_status("waiting")
    booking.pause()
    booking.terminate(rollback=True)
    assert booking.rollback() == Rollback("complete")
    assert len(undone()) == 2


def test_what_has_not_begun_is_ended_at_once(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": ""})
    booking.terminate(rollback=True)
    assert (booking.status, booking.rollback(), WORLD) == ("terminated", None, [])


def test_a_call_ends_a_rollback_too(workflows: Workflows) -> None:
    flaky = workflows.start(programs.FlakyUndo, 3)
    workflows.advance("30 minutes")
    assert WORLD == ["attempt 1"]
    flaky.terminate(rollback=True)
    assert flaky.rollback() != Rollback("complete")
    assert flaky.status == "terminated"
    assert WORLD == ["attempt 1", "attempt 2", "attempt 3"], "its rollback went on where it was"


def test_a_call_without_a_rollback_ends_one_at_once(workflows: Workflows) -> None:
    flaky = workflows.start(programs.FlakyUndo, 3)
    workflows.advance("30 minutes")
    flaky.terminate()
    assert (flaky.status, flaky.rollback(), WORLD) == ("terminated", None, ["attempt 1"])


def test_what_was_rolled_back_runs_again_from_a_step(workflows: Workflows) -> None:
    booking = workflows.start(programs.Booking, {"fails": "hotel"})
    booking.error()
    WORLD.clear()
    booking.restart("hotel")
    assert str(booking.error()) == "no rooms"
    assert WORLD == [
        "hotel",
        "hotel",
        "undo hotel of None for NotFunny: no rooms",
        "undo flight of 'F1' for NotFunny: no rooms",
    ]


@crash_at_every_record
def test_a_rollback_survives_every_crash(workflows: Workflows) -> None:
    WORLD.clear()
    booking = workflows.start(programs.Booking, {"fails": "hotel"})
    assert str(booking.error()) == "no rooms"
    assert booking.rollback() == Rollback("complete")
    once = list(dict.fromkeys(undone()))
    assert once == ["undo hotel of None for NotFunny: no rooms", "undo flight of 'F1' for NotFunny: no rooms"]
    assert sum((Counter(undone()) - Counter(once)).values()) <= 1, "at least once, and again only by the crash"


@crash_at_every_record
def test_a_rollback_by_a_call_survives_every_crash(workflows: Workflows) -> None:
    WORLD.clear()
    booking = workflows.start(programs.Booking, {"fails": "", "waits": True})
    booking.wait_for_status("waiting")
    booking.terminate(rollback=True)
    assert booking.rollback() == Rollback("complete")
    assert booking.status == "terminated"
    assert len(set(undone())) == 2


@crash_at_every_record
def test_what_ran_at_once_is_undone_in_one_order_after_every_crash(workflows: Workflows) -> None:
    WORLD.clear()
    together = workflows.start(programs.Together)
    assert str(together.error()) == "fails"
    assert [line.split()[1] for line in dict.fromkeys(undone())] == ["fails", "quick", "again", "slow"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rollback": 7}, "a int, is no function"),
        ({"rollback": lambda result: None}, "takes 'result', but is given 'output', 'error' and 'ctx'"),
        ({"rollback_config": {}}, "`rollback_config` is given without a `rollback`"),
        ({"rollback": print, "rollback_config": {"retrys": 1}}, "unknown key 'retrys'"),
    ],
)
def test_a_handler_that_can_not_work_is_refused(options: dict[str, Any], match: str, workflows: Workflows) -> None:
    class Wrong(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> None:
            await step.call("a", int, **options)

    wrong = workflows.start(Wrong)
    error = wrong.error()
    assert isinstance(error, StepDefinitionError)
    assert match in str(error)
