"""What the journals beside it were recorded from. Never changed: they must replay on it for ever."""

import asyncio
from datetime import timedelta

from stepwell import NonRetryableError, WorkflowEntrypoint

QUICKLY = {"retries": {"limit": 2, "delay": 10, "backoff": "constant"}}


async def undo(output, error):
    print(f"undone: {output}, since {error}")


class Kept(WorkflowEntrypoint):
    async def run(self, event, step):
        return await getattr(self, event.payload["shape"])(event, step)

    async def steps(self, event, step):
        """Each kind of step, and each way in which one can end."""

        @step.do("a value")
        async def value():
            return {"of": event.payload["shape"]}

        @step.do("fails once", config=QUICKLY)
        async def flaky(ctx):
            if ctx.attempt == 1:
                raise ConnectionError("at first")
            return ctx.attempt

        @step.do("fails for good")
        async def hopeless():
            raise NonRetryableError("never")

        @step.do("large")
        async def large():
            return "x" * 20_000

        @step.do(depends=[value, large], concurrent=True)
        async def after_both(first, second):
            return [first, len(second)]

        found = [await flaky(), await after_both()]
        try:
            await hopeless()
        except NonRetryableError as error:
            found.append(str(error))
        await step.sleep("nap", timedelta(milliseconds=20))
        try:
            await step.wait_for_event("nobody", "nobody", timeout=30)
        except TimeoutError:
            found.append("nobody came")
        return found

    async def races(self, event, step):
        """Losers are cancelled: a step, a sleep and a wait; and a timeout of `run`'s own."""

        async def at_once():
            return "first"

        async def late():
            await asyncio.sleep(60)

        runners = [
            asyncio.ensure_future(step.call("quick", at_once)),
            asyncio.ensure_future(step.call("idle", late)),
            asyncio.ensure_future(step.sleep("long", "1 day")),
            asyncio.ensure_future(step.wait_for_event("never", "never")),
        ]
        done, pending = await asyncio.wait(runners, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        try:
            async with asyncio.timeout(0.05):
                await step.wait_for_event("never", "never")
        except TimeoutError:
            return [each.result() for each in done]

    async def waits(self, event, step):
        """Waits for two events, of which it is sent the first."""
        got = await step.wait_for_event("one", "go", timeout="1 day")
        more = await step.wait_for_event("two", "more", timeout=None)
        return [got.payload, more.payload]

    async def fails(self, event, step):
        """Undoes what it did."""

        async def number(of):
            return of

        for each in range(2):
            await step.call(f"step {each}", number, each, rollback=undo)
        if event.payload.get("waits"):
            await step.wait_for_event("never", "never")
        raise ValueError("over") from KeyError("cause")

    async def rests(self, event, step):
        """Long enough for its sandbox to be ended under it."""

        async def doze(ms):
            await asyncio.sleep(ms / 1000)
            return ms

        return [await step.call("doze", doze, 3_000), await step.call("again", doze, 0)]
