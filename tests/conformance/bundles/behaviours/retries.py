"""How a step is tried again, and how long it may take."""

import asyncio
import time
from itertools import pairwise

from behaviours import Behaviours

from workers.workflows import NonRetryableError


class Busy(Exception):
    def __init__(self, seconds):
        super().__init__(f"come again in {seconds} s")
        self.seconds = seconds


class Retries(Behaviours):
    async def until_it_works(self, event, step):
        @step.do("shaky", config={"retries": {"limit": 3, "delay": 1, "backoff": "constant"}})
        async def shaky(ctx):
            if ctx["attempt"] < 3:
                raise ConnectionError("away")
            return ctx["attempt"]

        return await shaky()

    async def limited(self, event, step):
        @step.do("broken", config={"retries": {"limit": event["payload"]["limit"], "delay": 1}})
        async def broken(ctx):
            raise ValueError(f"attempt {ctx['attempt']}")

        return await broken()

    async def final(self, event, step):
        @step.do("final", config={"retries": {"limit": 5, "delay": 1}})
        async def final(ctx):
            raise NonRetryableError(f"attempt {ctx['attempt']}")

        return await final()

    async def final_caught(self, event, step):
        @step.do("final")
        async def final():
            raise NonRetryableError("no such account")

        try:
            await final()
        except NonRetryableError as error:
            return f"went on after: {error}"

    async def outside_steps(self, event, step):
        raise NonRetryableError("not in a step")

    async def paced(self, event, step):
        began = []

        @step.do("paced", config={"retries": event["payload"]["retries"]})
        async def paced(ctx):
            began.append(time.monotonic())
            if ctx["attempt"] < 4:
                raise ConnectionError("away")
            return [round((after - before) * 1000) for before, after in pairwise(began)]

        return await paced()

    async def delayed_by_a_function(self, event, step):
        began = []

        def delay(error, ctx):
            return f"{error.seconds * ctx['attempt']} seconds"

        @step.do("busy", config={"retries": {"limit": 2, "delay": delay, "backoff": "constant"}})
        async def busy(ctx):
            began.append(time.monotonic())
            if ctx["attempt"] < 3:
                raise Busy(0.2)
            return [round((after - before) * 1000) for before, after in pairwise(began)]

        return await busy()

    async def undelayed(self, event, step):
        answers = {"raises": lambda: 1 // 0, "no duration": lambda: "soon", "negative": lambda: -1}

        @step.do("busy", config={"retries": {"delay": answers[event["payload"]["answer"]]}})
        async def busy():
            raise Busy(0.2)

        await busy()

    async def too_long(self, event, step):
        @step.do("slow", config={"retries": {"limit": 1, "delay": 1}, "timeout": 100})
        async def slow(ctx):
            if ctx["attempt"] == 1:
                await asyncio.sleep(60)
            return ctx["attempt"]

        return await slow()

    async def always_too_long(self, event, step):
        @step.do("slow", config={"retries": {"limit": 0}, "timeout": 100})
        async def slow():
            await asyncio.sleep(60)

        return await slow()

    async def configured(self, event, step):
        @step.do("configured", config=event["payload"]["config"])
        async def configured(ctx):
            return ctx["config"]

        return await configured()
