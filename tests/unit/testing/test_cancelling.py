"""Cancelled workflows in the kit: where `run` hears of it, what it may do then, and that no crash changes that."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from stepwell import WorkflowEntrypoint, WorkflowStep
from stepwell.errors import WrongStateError
from stepwell.testing import Workflows, WorkflowTestError, crash_at_every_record


class Booking(WorkflowEntrypoint):
    """Does what its params say of the wait that is cancelled."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do()
        async def reserve() -> str:
            return "seat 7"

        @step.do()
        async def release(reserve: str) -> str:
            return f"{reserve} released"

        await reserve()
        how = event.payload
        try:
            if how == "in parallel":
                async with asyncio.TaskGroup() as group:
                    group.create_task(step.sleep("a night", "8 hours"))
                    group.create_task(step.wait_for_event("paid", "paid"))
            else:
                await asyncio.gather(step.sleep("a night", "8 hours"), asyncio.sleep(3_600))
        except asyncio.CancelledError as cancelled:
            undone = await release()
            if how == "takes long":
                await step.sleep("too long", "1 hour")
            await step.sleep("a while", "1 minute")
            if how == "lets it out":
                raise
            if how == "fails":
                raise ValueError("no") from None
            return [undone, str(cancelled)]


def cancelled(workflows: Workflows, how: str) -> Any:
    booking = workflows.start(Booking, how)
    booking.wait_for_step_result("reserve")
    workflows.settle()
    booking.cancel("the customer left")
    return booking


@pytest.mark.parametrize("how", ["in parallel", "one by one"])
@crash_at_every_record
def test_it_cleans_up_and_returns(workflows: Workflows, how: str) -> None:
    booking = cancelled(workflows, how)
    assert booking.result() == ["seat 7 released", "the instance was cancelled: the customer left"]
    assert booking.status == "complete"
    shown = {step.name: step.status for step in booking.steps}
    assert (shown["a night"], shown["release"]) == ("cancelled", "complete")


@crash_at_every_record
def test_it_cleans_up_and_lets_the_cancel_out(workflows: Workflows) -> None:
    booking = cancelled(workflows, "lets it out")
    booking.wait_for_status("terminated")
    assert booking.step("release").output == "seat 7 released"


@crash_at_every_record
def test_a_clean_up_that_fails_is_an_error(workflows: Workflows) -> None:
    assert str(cancelled(workflows, "fails").error()) == "no"


def test_it_is_terminated_when_its_grace_is_over(workflows: Workflows) -> None:
    booking = cancelled(workflows, "takes long")
    before = workflows.now
    booking.wait_for_status("terminated")
    assert (workflows.now - before).total_seconds() == 300


def test_a_step_that_runs_is_cancelled_with_it(workflows: Workflows) -> None:
    ended = []

    class Slow(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            @step.do()
            async def work() -> None:
                try:
                    await asyncio.sleep(3_600)
                finally:
                    ended.append("work")

            await work()

    slow = workflows.start(Slow)
    workflows.advance("1 second")
    slow.cancel()
    slow.wait_for_status("terminated")
    assert (ended, slow.step("work").status) == (["work"], "cancelled")


def test_one_that_is_paused_is_cancelled_when_it_is_resumed(workflows: Workflows) -> None:
    booking = workflows.start(Booking, "one by one")
    booking.wait_for_step_result("reserve")
    booking.pause()
    booking.wait_for_status("paused")
    booking.cancel()
    workflows.advance("2 hours")
    assert booking.status == "paused"
    booking.resume()
    assert booking.result() == ["seat 7 released", "the instance was cancelled"]


def test_one_that_has_not_begun_ends_without_running(workflows: Workflows) -> None:
    booking = workflows.start(Booking, "one by one")
    booking.cancel()
    assert (booking.status, booking.steps) == ("terminated", [])
    with pytest.raises(WrongStateError):
        booking.cancel()
    with pytest.raises(WorkflowTestError, match="was terminated"):
        booking.result()


def test_a_clean_up_that_is_closed_leaves_no_word_of_a_forgotten_error(caplog: pytest.LogCaptureFixture) -> None:
    """Each hibernation closes `run`, whose clean-up then finds that it may have no step."""
    with Workflows() as workflows:
        booking = workflows.start(Booking, "one by one")
        booking.wait_for_step_result("reserve")
        workflows.settle()
        assert booking.status == "waiting"
    del booking
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_restart_forgets_the_cancel(workflows: Workflows) -> None:
    booking = cancelled(workflows, "lets it out")
    booking.wait_for_status("terminated")
    booking.restart()
    booking.wait_for_step_result("a night")
    assert booking.status != "terminated"
