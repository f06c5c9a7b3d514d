"""What type checkers tell an author. It is checked and never run: `test_sdk_typing.py` has it checked.

A mistake that must be found has a `type: ignore` with the error's code: mypy finds fault with one that it doesn't need.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, TypedDict, assert_type

from stepwell import Retries, Step, StepContext, StepEvent, StepOptions, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Params(TypedDict):
    item: str
    cents: int


class Approval(TypedDict):
    approved: bool


def price(item: str, ctx: StepContext) -> float:
    return ctx.attempt * 1.5


async def fetch(item: str) -> bytes:
    return item.encode()


class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Params], step: WorkflowStep) -> list[str]:
        assert_type(event.payload, Params)
        assert_type(event.timestamp, datetime)
        assert_type(event.instanceId, str)
        _ = event.paylod  # type: ignore[attr-defined]
        event.payload["price"]  # type: ignore[typeddict-item]

        @step.do("charge card", config={"retries": {"limit": 3, "delay": "10 seconds", "backoff": "linear"}})
        async def charge(ctx: StepContext) -> int:
            assert_type(ctx.attempt, int)
            assert_type(ctx.idempotency_key, str)
            assert_type(ctx.step.name, str)
            return 1

        @step.do()
        def parcel(charge: int) -> dict[str, int]:
            return {"charge": charge}

        @step.do(depends=[charge, parcel], concurrent=True)
        def nothing(first: int, second: dict[str, int]) -> None: ...

        assert_type(charge, Step[int])
        assert_type(await charge(), int)
        assert_type(await parcel(), dict[str, int])
        assert_type(await nothing(), None)
        both = await asyncio.gather(charge(), parcel())
        assert_type(both, tuple[int, dict[str, int]])
        assert_type(asyncio.create_task(charge()), asyncio.Task[int])
        await charge(1)  # type: ignore[call-arg]

        assert_type(await step.call("price", price, event.payload["item"]), float)
        assert_type(await step.call("fetch", fetch, "tea", config={"timeout": timedelta(minutes=1)}), bytes)
        assert_type(await step.sleep("nap", "1 hour"), None)
        later = asyncio.create_task(step.sleep_until("later", event.timestamp))
        await later
        await step.sleep("nap", None)  # type: ignore[arg-type]

        approval: StepEvent[Approval] = await step.wait_for_event("approval", "approval", timeout=None)
        assert_type(approval.payload["approved"], bool)
        assert_type(approval.type, str)
        anything = await step.wait_for_event("anything", "go")
        assert_type(anything, StepEvent[Any])

        patient: Retries = {"limit": float("inf")}
        busy: Retries = {"delay": lambda error, ctx: f"{ctx.attempt} minutes", "backoff": "constant"}
        options: StepOptions = {"retries": patient, "timeout": 60_000}
        step.do(config={"retries": busy})
        step.do(config=options)
        step.do(config={"retry": {}})  # type: ignore[arg-type]
        step.do(config={"retries": {"backoff": "cubic"}})  # type: ignore[arg-type]
        step.do(depends=["charge"])  # type: ignore[list-item]
        return [event.payload["item"]]


class Untyped(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        assert_type(event.payload, Any)
        event["payload"]["anything"]
        return event.payload


class Wrong(WorkflowEntrypoint):
    async def run(self, event: int, step: WorkflowStep) -> Any:  # type: ignore[override]
        return event
