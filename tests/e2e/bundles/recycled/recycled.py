"""One that works on, and three that are the end of the sandbox that they share with it."""

import asyncio
import threading

from stepwell import WorkflowEntrypoint


class Steady(WorkflowEntrypoint):
    async def run(self, event, step):
        total = 0
        for n in range(event["payload"]["steps"]):

            @step.do(f"add {n}")
            async def add(n=n):
                return n

            total += await add()
            await step.sleep(f"rest {n}", 100)
        return total


class Spinner(WorkflowEntrypoint):
    async def run(self, event, step):
        while True:
            pass


class Glutton(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("eat")
        def eat():
            held = []
            while True:
                held.append(bytearray(1 << 22))

        await eat()


class Sticky(WorkflowEntrypoint):
    async def run(self, event, step):
        def wait():
            threading.Event().wait()

        once = {"timeout": 300, "retries": {"limit": 0, "delay": 0}}
        waits = [step.do(f"wait {n}", config=once)(wait) for n in range(4)]
        ended = await asyncio.gather(*(each() for each in waits), return_exceptions=True)
        return [type(each).__name__ for each in ended]
