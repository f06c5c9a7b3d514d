"""What is cancelled cleans up by itself: handlers run when that fails, or when a call asks for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepwell import WorkflowEntrypoint, WorkflowStep
from stepwell.testing import Rollback, Workflows, crash_at_every_record

WORLD: set[str] = set()
"""What was done to it at least once."""


@pytest.fixture(autouse=True)
def _a_new_world() -> None:
    WORLD.clear()


class Booking(WorkflowEntrypoint):
    """Params: what its clean-up does."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        async def unbook(output: Any, ctx: Any) -> None:
            if event.payload == "undoes slowly":
                await asyncio.sleep(200)
            WORLD.add(f"undone {ctx.step.name} of {output!r}")

        @step.do("flight", rollback=unbook)
        async def flight() -> str:
            return "F1"

        @step.do("hotel", rollback=unbook)
        async def hotel() -> None:
            await asyncio.sleep(3_600)

        await flight()
        try:
            await hotel()
        except asyncio.CancelledError:
            if event.payload == "takes long":
                await step.sleep("too long", "1 hour")
            if event.payload != "lets it out":
                raise ValueError("no") from None
            raise


UNDONE = {"undone flight of 'F1'", "undone hotel of None"}


def booked(workflows: Workflows, how: str) -> Any:
    booking = workflows.start(Booking, how)
    booking.wait_for_step_result("flight")
    workflows.settle()
    return booking


@crash_at_every_record
def test_what_lets_its_cancel_out_has_cleaned_up_and_is_not_rolled_back(workflows: Workflows) -> None:
    booking = booked(workflows, "lets it out")
    booking.cancel()
    booking.wait_for_status("terminated")
    assert (booking.rollback(), WORLD) == (None, set())


@crash_at_every_record
def test_a_clean_up_that_fails_is_rolled_back(workflows: Workflows) -> None:
    booking = booked(workflows, "fails")
    booking.cancel()
    assert str(booking.error()) == "no"
    assert (booking.rollback(), WORLD) == (Rollback("complete"), UNDONE)


@crash_at_every_record
def test_one_that_cleans_up_is_rolled_back_by_a_call(workflows: Workflows) -> None:
    booking = booked(workflows, "takes long")
    booking.cancel()
    workflows.settle()
    booking.terminate(rollback=True)
    assert (booking.rollback(), booking.status, WORLD) == (Rollback("complete"), "terminated", UNDONE)


def test_a_clean_up_that_takes_too_long_ends_without_handlers(workflows: Workflows) -> None:
    booking = booked(workflows, "takes long")
    booking.cancel()
    booking.wait_for_status("terminated")
    assert (booking.rollback(), WORLD) == (None, set())


def test_no_grace_cuts_off_what_undoes_the_steps(workflows: Workflows) -> None:
    booking = booked(workflows, "undoes slowly")
    before = workflows.now
    booking.cancel()
    assert str(booking.error()) == "no"
    assert (workflows.now - before).total_seconds() == 400
    assert WORLD == UNDONE


@crash_at_every_record
def test_a_cancel_of_one_that_is_rolled_back_changes_nothing(workflows: Workflows) -> None:
    booking = booked(workflows, "lets it out")
    booking.terminate(rollback=True)
    booking.cancel()
    assert (booking.rollback(), booking.status, WORLD) == (Rollback("complete"), "terminated", UNDONE)


class Child(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        await step.sleep("a while", "1 hour")


class Ships(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> None:
        async def call_back(output: str) -> None:
            await self.env.CHILD.create(id="return", params=output)
            await (await self.env.CHILD.get(output)).terminate()

        @step.do("ship", rollback=call_back)
        async def ship() -> str:
            child = await self.env.CHILD.create(id="there")
            await child.send_event("go")
            return child.id  # type: ignore[no-any-return]

        await ship()
        raise ValueError("no")


@crash_at_every_record
def test_a_handlers_calls_are_not_taken_for_those_of_its_step(workflows: Workflows) -> None:
    workflows.bind(CHILD=Child)
    ships = workflows.start(Ships)
    assert str(ships.error()) == "no"
    assert ships.rollback() == Rollback("complete")
    assert workflows.instance("there").status == "terminated"
    workflows.instance("return").wait_for_status("complete")
