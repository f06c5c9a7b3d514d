"""A workflow that fails, or waits to be ended, once it has done four things; undoing each takes a while."""

import asyncio

from stepwell import NonRetryableError, WorkflowEntrypoint


class Undone(WorkflowEntrypoint):
    async def run(self, event, step):
        async def undo(output, error):
            await asyncio.sleep(0.25)
            print(f"undone: {output}, since {error}")

        async def do(number):
            return number

        for number in range(4):
            await step.call(f"step {number}", do, number, rollback=undo)
        if event.payload["waits"]:
            await step.wait_for_event("never", "never", timeout=None)
        raise NonRetryableError("over")
