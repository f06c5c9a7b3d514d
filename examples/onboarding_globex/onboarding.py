"""How Globex takes a new customer in: two checks side by side, then terms."""

import asyncio
from typing import Any

from stepwell import WorkflowEvent, WorkflowStep
from workers import WorkflowEntrypoint


class Onboarding(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        customer = (event.payload or {}).get("customer", "somebody")

        @step.do("check tax number")
        async def tax_number() -> bool:
            await asyncio.sleep(0.2)
            return len(customer) > 2

        @step.do("check credit")
        async def credit() -> int:
            await asyncio.sleep(0.3)
            return 100 * len(customer)

        @step.do("decide terms", concurrent=True)
        async def terms(tax_number: bool, credit: int) -> dict[str, Any]:
            return {"customer": customer, "payment": "30 days" if tax_number else "in advance", "limit": credit}

        return {"company": "Globex", **await terms()}
