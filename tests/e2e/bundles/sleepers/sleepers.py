"""Sleeps until the time in its params, in ms since the epoch."""

from stepwell import WorkflowEntrypoint


class Sleeper(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.sleep_until("nap", event.payload["until"])
        return event.payload["number"]
