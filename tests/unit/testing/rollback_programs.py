"""Workflows whose steps are undone. What they did to the outside world is in `WORLD`."""

from __future__ import annotations

import asyncio
from typing import Any

from stepwell import NonRetryableError, WorkflowEntrypoint, WorkflowStep

WORLD: list[str] = []
"""What bodies and handlers did, in order; each test begins with none."""


class NotFunny(Exception):
    """What `run` fails with."""


def undoing(name: str) -> Any:
    async def undo(output: Any, error: Exception, ctx: Any) -> None:
        WORLD.append(f"undo {name} of {output!r} for {type(error).__name__}: {error}")
        assert (ctx.step.name, ctx.idempotency_key.rsplit(":", 3)[1:]) == (name, [name, "1", "rollback"])

    return undo


class Booking(WorkflowEntrypoint):
    """Params: what fails ("" for nothing), and where it waits for an event before that."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        fails, waits = event.payload["fails"], event.payload.get("waits", False)

        @step.do("flight", rollback=undoing("flight"))
        async def flight() -> str:
            WORLD.append("flight")
            return "F1"

        @step.do("hotel", rollback=undoing("hotel"), config={"retries": {"limit": 1, "delay": 1000}})
        async def hotel() -> str:
            WORLD.append("hotel")
            if fails == "hotel":
                raise NotFunny("no rooms")
            return "H1"

        @step.do("note")
        async def note() -> None:
            WORLD.append("note")

        await flight()
        await note()
        await hotel()
        if waits:
            await step.wait_for_event("ok", "ok")
        if fails == "run":
            raise NotFunny("after all")
        return "booked"


class FlakyUndo(WorkflowEntrypoint):
    """Params: how many attempts of the second step's handler fail."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        async def undo(ctx: Any) -> None:
            WORLD.append(f"attempt {ctx.attempt}")
            if ctx.attempt <= event.payload:
                raise NotFunny("not yet")

        await step.call("one", lambda: "1", rollback=undoing("one"))
        await step.call("two", lambda: "2", rollback=undo, rollback_config={"retries": {"limit": 2, "delay": "1 hour"}})
        raise NonRetryableError("over")


class Together(WorkflowEntrypoint):
    """Steps that run at once: of them one fails, while the others are at work, or between attempts."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do("slow", rollback=undoing("slow"))
        async def slow() -> str:
            try:
                await asyncio.sleep(3_600)
            finally:
                WORLD.append("slow is over")
            return "slow"

        @step.do("again", rollback=undoing("again"), config={"retries": {"limit": 9, "delay": "1 day"}})
        async def again() -> None:
            raise NotFunny("again")

        @step.do("quick", rollback=undoing("quick"))
        async def quick() -> str:
            return "quick"

        @step.do("fails", rollback=undoing("fails"), config={"retries": {"limit": 0}})
        async def fails() -> None:
            await asyncio.sleep(60)
            raise NotFunny("fails")

        await asyncio.gather(slow(), again(), quick(), fails())
