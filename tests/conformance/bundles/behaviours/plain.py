"""A workflow that gives back what it was created with."""

from workers import WorkflowEntrypoint


class Plain(WorkflowEntrypoint):
    async def run(self, event, step):
        return event["payload"]
