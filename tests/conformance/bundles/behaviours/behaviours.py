"""A workflow that does what its params name, as `do`."""

from workers import WorkflowEntrypoint


class Behaviours(WorkflowEntrypoint):
    async def run(self, event, step):
        return await getattr(self, event["payload"]["do"])(event, step)
