import asyncio

from workers import WorkflowEntrypoint


class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("charge", config={"retries": {"limit": 3, "delay": "1 second", "backoff": "constant"}})
        async def charge(ctx):
            if ctx["attempt"] < 2:
                raise ValueError("card declined")
            return {"ok": True}

        await charge()
        approval = await step.wait_for_event("approval", "approve", timeout="1 hour")

        @step.do()
        async def slow():
            await asyncio.sleep(3)
            return "x" * 20_000

        await slow()
        return {"approved": approval["payload"]}
