"""What the journals beside it were recorded from. Never changed: they must replay on it for ever."""

import asyncio

from stepwell import ChildFailedError, WorkflowEntrypoint


async def undo(output):
    print(f"undone: {output}")


class Kept(WorkflowEntrypoint):
    async def run(self, event, step):
        return await getattr(self, event.payload["shape"])(event, step)

    async def cancelled(self, event, step):
        """Cleans up when it is cancelled, and ends as it is told."""

        async def number(of):
            return of

        await step.call("book", number, 1, rollback=undo)
        try:
            async with asyncio.timeout(86_400):
                await step.wait_for_event("never", "never")
        except asyncio.CancelledError as heard:
            await step.call("release", number, 2)
            how = event.payload["ends"]
            if how == "lets it out":
                raise
            if how == "fails":
                raise ValueError("no release") from None
            return str(heard)

    async def parent(self, event, step):
        """Creates others, in `run` and in a body, and waits for their ends."""

        async def create():
            return (await self.env.CHILD.create(id="child-2", params={"shape": "child", "fails": True})).id

        first = await self.env.CHILD.create(id="child-1", params={"shape": "child"})
        second = await self.env.CHILD.get(await step.call("create", create))
        found = [await first.result()]
        try:
            await second.result()
        except ChildFailedError as failed:
            found.append([failed.status, failed.type, failed.text])
        return found

    async def child(self, event, step):
        await step.sleep("a while", 50)
        if event.payload.get("fails"):
            raise ValueError("a child fails")
        return "a child's output"
