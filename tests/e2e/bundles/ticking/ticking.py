"""A workflow that the clock runs, and that says which of its times it is for."""

from stepwell import WorkflowEntrypoint


class Ticking(WorkflowEntrypoint):
    async def run(self, event, step):
        async def note(schedule):
            return dict(schedule)

        return await step.call("note", note, event.schedule)
