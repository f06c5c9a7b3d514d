"""Never lets go: of the interpreter, of the event loop, of a step that was cancelled."""

import asyncio
import re
import signal
import time

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}
HASTY = {**ONCE, "timeout": 300}


def spin():
    while True:
        pass


class SpinsInRun(WorkflowEntrypoint):
    async def run(self, event, step):
        spin()


class SpinsOnSleepZero(WorkflowEntrypoint):
    async def run(self, event, step):
        while True:
            await asyncio.sleep(0)


class SpinsInStep(WorkflowEntrypoint):
    async def run(self, event, step):
        async def body():
            spin()

        await step.call("spin", body, config=HASTY)


class SpinsInThread(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("spin", spin, config=HASTY)


class SpinsInManyThreads(WorkflowEntrypoint):
    async def run(self, event, step):
        await asyncio.gather(*(step.call("spin", spin, config=HASTY) for _ in range(64)))


class HoldsTheInterpreter(WorkflowEntrypoint):
    """One call into C that never returns, so that no other thread gets a turn."""

    async def run(self, event, step):
        await step.call("match", lambda: re.match(r"(a?){60}a{60}(x+x+)+y", "a" * 60 + "x" * 60), config=HASTY)


class BlocksTheLoop(WorkflowEntrypoint):
    async def run(self, event, step):
        async def block():
            time.sleep(10_000)  # noqa: ASYNC251

        await step.call("block", block, config=HASTY)


class BlocksInRun(WorkflowEntrypoint):
    async def run(self, event, step):
        time.sleep(10_000)  # noqa: ASYNC251


class StopsItself(WorkflowEntrypoint):
    async def run(self, event, step):
        import os

        await step.call("stop", lambda: os.kill(os.getpid(), signal.SIGSTOP), config=HASTY)


class IgnoresCancellation(WorkflowEntrypoint):
    async def run(self, event, step):
        async def stay():
            while True:
                try:
                    await asyncio.sleep(10_000)
                except BaseException:
                    continue

        await step.call("stay", stay, config=HASTY)


class IgnoresCancellationInRun(WorkflowEntrypoint):
    """Is terminated from outside, which it does not want to hear of."""

    async def run(self, event, step):
        while True:
            try:
                await asyncio.sleep(10_000)
            except BaseException:
                continue


class ThousandsOfBranches(WorkflowEntrypoint):
    async def run(self, event, step):
        async def body():
            await asyncio.sleep(10_000)

        await asyncio.gather(*(step.call("branch", body, config=ONCE) for _ in range(1_000_000)))


class SpinsInFinally(WorkflowEntrypoint):
    async def run(self, event, step):
        try:
            raise ValueError("and then for ever")
        finally:
            spin()
