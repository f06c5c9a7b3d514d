"""A step, a sleep that is longer than a hibernation is worth, and a step that fails once."""

from stepwell import WorkflowEntrypoint


class Traced(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("first")
        async def first():
            return 1

        @step.do("second", config={"retries": {"limit": 1, "delay": 10}})
        async def second(ctx):
            if ctx.attempt == 1:
                raise ValueError("not yet")
            return 2

        before = await first()
        await step.sleep("nap", event.payload["nap_ms"])
        return [before, await second()]
