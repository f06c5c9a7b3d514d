"""The first version: an instance waits between its two steps for a time and an event."""

from wording import WORD

from stepwell import WorkflowEntrypoint


class Pinned(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("before")
        async def before():
            return WORD

        first = await before()
        await step.sleep("nap", event.payload["sleep"])
        await step.wait_for_event("go on", "go")

        @step.do("after")
        async def after():
            return WORD

        return [first, await after()]
