"""How Acme takes a new customer in: a welcome, some time to look around, an account."""

from typing import Any

from stepwell import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Onboarding(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        customer: str = (event.payload or {}).get("customer", "somebody")

        @step.do()
        async def welcome() -> str:
            return f"Acme says hello to {customer}!"

        @step.do("open account")
        async def open_account(welcome: str) -> dict[str, Any]:
            return {"account": f"acme-{customer.casefold()}", "greeted_with": welcome}

        await welcome()
        await step.sleep("time to look around", "1 second")
        return {"company": "Acme", **await open_account()}
