"""An order: charged once, approved by a person, then shipped."""

from __future__ import annotations

from typing import TypedDict

from stepwell import (
    EventTimeoutError,
    NonRetryableError,
    StepContext,
    StepEvent,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowStep,
)


class Params(TypedDict):
    """What an order is created with."""

    item: str
    cents: int


class Approval(TypedDict):
    """What the person who decides sends."""

    approved: bool


class Outcome(TypedDict):
    """What became of an order."""

    item: str
    receipt: str
    shipped: bool


def charge(cents: int, currency: str, ctx: StepContext) -> str:
    """A step: it may take time and fail, and is tried again then. A payment provider would get the idempotency key."""
    if cents <= 0:
        raise NonRetryableError(f"an order of {cents} cents can't be charged")
    return f"{cents / 100:.2f} {currency}, {ctx.idempotency_key}"


def ship(item: str) -> bool:
    """A step, too."""
    print(f"shipping {item}")
    return True


class Order(WorkflowEntrypoint):
    """`run` decides, and runs again from its start whenever the order is loaded; what steps returned is kept."""

    async def run(self, event: WorkflowEvent[Params], step: WorkflowStep) -> Outcome:
        order = event.payload
        receipt = await step.call("charge", charge, order["cents"], self.env.CURRENCY)
        try:
            approval: StepEvent[Approval] = await step.wait_for_event("approval", "approval", timeout="2 days")
        except EventTimeoutError:
            return {"item": order["item"], "receipt": receipt, "shipped": False}
        shipped = approval.payload["approved"] and await step.call("ship", ship, order["item"])
        return {"item": order["item"], "receipt": receipt, "shipped": shipped}
