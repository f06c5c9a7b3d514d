"""One workflow of many shapes. Every body draws a token, so that a result that was computed twice would differ, and
prints it, so that the server's log counts how often bodies ran."""

import asyncio
import hashlib
import secrets
import time
from typing import Any

from stepwell import NonRetryableError, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

QUICKLY = {"retries": {"limit": 5, "delay": 300, "backoff": "constant"}, "timeout": "10 seconds"}
HASTY = {"retries": {"limit": 3, "delay": 200, "backoff": "linear"}, "timeout": 500}


def executed(instance: str, step: str, attempt: int = 1) -> str:
    """A token of this execution, after it was printed."""
    token = secrets.token_hex(8)
    print(f"EXECUTED {instance} {step} {attempt} {token}", flush=True)
    return token


class Traffic(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        shape = getattr(self, event.payload["shape"])
        return {"tenant": self.env.TENANT, "tokens": await shape(event.instanceId, event.payload, step)}

    async def chain(self, me: str, payload: dict, step: WorkflowStep) -> list:
        """One after the other, with sleeps between; plain functions and coroutines by turns."""
        tokens = []
        for number in range(8):
            if number % 2:

                @step.do(f"s{number}")
                def body() -> str:
                    token = executed(me, f"s{number}")  # noqa: B023
                    time.sleep(0.3)
                    return token

            else:

                @step.do(f"s{number}")
                async def body() -> str:
                    token = executed(me, f"s{number}")  # noqa: B023
                    await asyncio.sleep(0.3)
                    return token

            tokens.append(await body())
            await step.sleep(f"nap {number}", payload["sleeps"][number])
        return tokens

    async def retries(self, me: str, payload: dict, step: WorkflowStep) -> list:
        """Steps that fail twice, one that fails for good and is caught, one that is too slow at first."""
        tokens = []
        for name in ("first", "second"):

            @step.do(name, config=QUICKLY)
            async def flaky(ctx) -> str:
                token = executed(me, name, ctx.attempt)  # noqa: B023
                if ctx.attempt < 3:
                    raise ConnectionError(f"attempt {ctx.attempt} of {name}")  # noqa: B023
                return token

            tokens.append(await flaky())

        @step.do("hopeless", config=QUICKLY)
        async def hopeless() -> None:
            executed(me, "hopeless")
            raise NonRetryableError("never")

        try:
            await hopeless()
        except NonRetryableError as error:
            tokens.append(str(error))

        @step.do("slow", config=HASTY)
        async def slow(ctx) -> str:
            token = executed(me, "slow", ctx.attempt)
            if ctx.attempt == 1:
                await asyncio.sleep(30)
            return token

        tokens.append(await slow())
        return tokens

    async def events(self, me: str, payload: dict, step: WorkflowStep) -> list:
        """Events in the order in which they were sent, with steps between; then one that nobody sends."""
        tokens = []
        for number in range(3):
            got = await step.wait_for_event(f"go {number}", "go", timeout="10 minutes")

            @step.do("after")
            async def after() -> str:
                return executed(me, "after")

            tokens.append([got.payload, await after()])
        try:
            await step.wait_for_event("nobody", "nobody", timeout=700)
        except TimeoutError:
            tokens.append("nobody came")
        return tokens

    async def fan(self, me: str, payload: dict, step: WorkflowStep) -> list:
        """Parallel steps of one name and of many, twice."""

        def blocking(number: int) -> list:
            token = executed(me, "blocking")
            time.sleep(0.2)
            return [number, token]

        async def waiting(number: int) -> list:
            token = executed(me, f"waiting-{number}")
            await asyncio.sleep(0.1 * number)
            return [number, token]

        tokens = []
        for _ in range(2):
            tokens += await asyncio.gather(
                *(step.call("blocking", blocking, number) for number in range(4)),
                *(step.call(f"waiting-{number}", waiting, number) for number in range(4)),
            )
            await asyncio.sleep(payload["sleeps"][0] / 1000)
        return tokens

    async def large(self, me: str, payload: dict, step: WorkflowStep) -> list:
        """Results that are kept apart from the journal, each digested by a later step, and all again at the end."""
        pages, tokens = [], []
        for number in range(3):

            @step.do("page")
            async def page() -> str:
                return executed(me, "page") * 2500

            pages.append(await page())
            await step.sleep("nap", payload["sleeps"][number])
            tokens.append(await step.call("digest", digest, me, pages[-1]))
        return [tokens, [hashlib.sha256(page.encode()).hexdigest() for page in pages]]

    async def race(self, me: str, payload: dict, step: WorkflowStep) -> list:
        """The first of two steps, and a wait within a timeout of `run`'s own."""

        async def quick() -> str:
            return executed(me, "quick")

        async def idle() -> str:
            token = executed(me, "idle")
            await asyncio.sleep(60)
            return token

        tokens = []
        for _ in range(2):
            runners = [asyncio.ensure_future(step.call("quick", quick)), asyncio.ensure_future(step.call("idle", idle))]
            done, late = await asyncio.wait(runners, return_when=asyncio.FIRST_COMPLETED)
            for each in late:
                each.cancel()
            tokens.append([each.result() for each in done])
            try:
                async with asyncio.timeout(payload["sleeps"][1] / 1000):
                    await step.wait_for_event("never", "never")
            except TimeoutError:
                tokens.append("timed out")
        return tokens


def digest(me: str, page: str) -> list:
    executed(me, "digest")
    return [len(page), hashlib.sha256(page.encode()).hexdigest()]
