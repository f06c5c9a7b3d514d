"""The second version: steps of other names, so that a journal of the first would not fit."""

from wording import WORD

from stepwell import WorkflowEntrypoint


class Pinned(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("beforehand")
        async def before():
            return WORD

        first = await before()
        await step.sleep("nap", event.payload["sleep"])
        await step.wait_for_event("go on", "go")

        @step.do("afterwards")
        async def after():
            return WORD

        return [first, await after()]
