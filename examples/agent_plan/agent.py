"""An agent's plan, made durable: the plan is data, each of its tool calls is a step, and a person has the last word."""

import asyncio
from typing import Any

from stepwell import EventTimeoutError, StepContext, StepOptions, WorkflowEvent, WorkflowStep
from workers import WorkflowEntrypoint

import tools

DEFAULT_GOAL = "Replace the cold store before its contract renews"
PATIENCE: StepOptions = {"retries": {"limit": 4, "delay": "1 second", "backoff": "constant"}, "timeout": "1 minute"}


def make_plan(goal: str) -> list[dict[str, Any]]:
    """The calls that lead to the goal. A real agent asks a model; its answer is recorded, so it never changes."""
    return [
        {"tool": "search", "args": {"query": goal, "limit": 4}, "save_as": "facts"},
        {"tool": "search", "args": {"query": "crates kept cold in a week", "limit": 2}, "save_as": "demand"},
        {"tool": "price", "args": {"item": "freezer", "count": 2}, "save_as": "price"},
        {"tool": "calculate", "args": {"expression": "5200 - 2 * 1100"}, "save_as": "saved_kwh"},
        {"tool": "summarise", "args": {"texts": ["$facts", "$demand"], "sentences": 3}, "save_as": "summary"},
    ]


async def use_tool(call: dict[str, Any], found: dict[str, Any], pace: float, ctx: StepContext) -> Any:
    """One tool call; names such as "$facts" in its arguments stand for what earlier calls found."""
    await asyncio.sleep(pace)
    return tools.TOOLS[call["tool"]](tools.filled_in(call["args"], found), ctx.attempt)


class AgentPlan(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        params = event.payload or {}
        goal = params.get("goal", DEFAULT_GOAL)

        @step.do("plan")
        async def plan() -> list[dict[str, Any]]:
            return tools.checked(params.get("calls") or make_plan(goal))

        calls = await plan()
        found: dict[str, Any] = {}
        for number, call in enumerate(calls, 1):
            # Only what this call names is handed to it: arguments are kept with each attempt.
            needed = {name: found[name] for name in tools.names_in(call["args"]) if name in found}
            name = f"{number}. {call['tool']} → {call['save_as']}"
            found[call["save_as"]] = await step.call(
                name, use_tool, call, needed, params.get("pace", 0), config=PATIENCE
            )

        try:
            approval = await step.wait_for_event("approval", "approval", timeout="1 hour")
        except EventTimeoutError:
            return {"goal": goal, "decision": "nobody answered", "found": found, "order": None}
        if not approval.payload["approved"]:
            return {"goal": goal, "decision": "rejected", "found": found, "order": None}

        @step.do("place order", config=PATIENCE)
        async def place_order(ctx: StepContext) -> dict[str, Any]:
            return tools.place_order(found.get("price"), self.env.CURRENCY, ctx.idempotency_key)

        order = await place_order()
        return {"goal": goal, "decision": f"approved by {approval.payload['by']}", "found": found, "order": order}
