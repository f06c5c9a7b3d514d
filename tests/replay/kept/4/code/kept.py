"""What the journals beside it were recorded from. Never changed: they must replay on it for ever."""

from stepwell import WorkflowEntrypoint


async def number(of):
    return of


class Kept(WorkflowEntrypoint):
    async def run(self, event, step):
        if event.schedule is not None:
            return await self.scheduled(event, step)
        return await getattr(self, event.payload["shape"])(event, step)

    async def scheduled(self, event, step):
        """Names what it asks for by what created it."""
        due = event.schedule.scheduledTime
        await step.sleep(f"behind {event.schedule.cron}", 20)
        return await step.call(f"at {due}", number, due)

    async def retained(self, event, step):
        """Is to be kept for a while only."""
        return await step.call("one", number, 1)

    async def limited(self, event, step):
        """Asks for one more than its version allows."""
        found = []
        try:
            for each in range(4):
                found.append(await step.call(f"step {each}", number, each))
        except Exception as error:
            found.append(type(error).__name__)
        return found
