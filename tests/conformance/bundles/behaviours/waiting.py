"""Sleeps, absolute and relative, and waits for events."""

import time
from datetime import UTC, datetime, timedelta

from behaviours import Behaviours

from stepwell import EventTimeoutError


class Waiting(Behaviours):
    async def sleep(self, event, step):
        before = await step.do("before")(lambda: time.time())()
        await step.sleep("nap", event["payload"]["duration"])
        return round((await step.do("after")(lambda: time.time())() - before) * 1000)

    async def sleep_until(self, event, step):
        before = await step.do("before")(lambda: time.time())()
        when = {
            "aware": datetime.fromtimestamp(before, UTC) + timedelta(milliseconds=300),
            "naive": datetime.fromtimestamp(before) + timedelta(milliseconds=300),
            "number": before * 1000 + 300,
            "past": datetime.fromtimestamp(before, UTC) - timedelta(days=1),
        }[event["payload"]["when"]]
        await step.sleep_until("then", when)
        return round((await step.do("after")(lambda: time.time())() - before) * 1000)

    async def not_awaited(self, event, step):
        step.sleep("never", "10 seconds").close()
        return "done"

    async def wait(self, event, step):
        found = await step.wait_for_event("approval", "approval", timeout=event["payload"].get("timeout", "24 hours"))
        return [found["payload"], found["type"], found["timestamp"].tzinfo is not None, found.payload]

    async def two(self, event, step):
        await step.sleep("first something else", event["payload"]["ms"])
        first = await step.wait_for_event("first", "order")
        second = await step.wait_for_event("second", "order")
        return [first["payload"], second["payload"]]

    async def either(self, event, step):
        import asyncio

        waits = [asyncio.create_task(step.wait_for_event(type, type)) for type in ("yes", "no")]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return [(await each)["type"] for each in done]

    async def in_vain(self, event, step):
        try:
            await step.wait_for_event("approval", "approval", timeout=100)
        except EventTimeoutError as error:
            return [type(error).__name__, isinstance(error, TimeoutError)]

    async def uncaught(self, event, step):
        await step.wait_for_event("approval", "approval", timeout=100)

    async def typed(self, event, step):
        return (await step.wait_for_event("any", event["payload"]["type"]))["payload"]

    async def steps_then_wait(self, event, step):
        await step.do("first")(lambda: 1)()
        await step.do("second")(lambda: 2)()
        return (await step.wait_for_event("go", "go"))["payload"]

    async def holds(self, event, step):
        import asyncio

        @step.do("long")
        async def long():
            await asyncio.sleep(event["payload"]["s"])
            return "long is done"

        return [await long(), await step.do("next")(lambda: "next is done")()]

    async def undoable(self, event, step):
        async def undo(output, error):
            print(f"undo {output}: {error}")

        await step.do("first", rollback=undo)(lambda: 1)()
        await step.wait_for_event("never", "never", timeout=None)
