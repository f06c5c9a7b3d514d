"""Quick steps, one after the other, each timed from `run`: what a neighbour's misbehaviour would slow down."""

import asyncio
import time

from stepwell import WorkflowEntrypoint


async def quick(number):
    return number + 1


async def pause():
    await asyncio.sleep(0.02)


class Honest(WorkflowEntrypoint):
    async def run(self, event, step):
        """For each step, when it was done (ms since the epoch) and how long that took (us), the journal included."""
        took = []
        for number in range(event.payload["steps"]):
            began = time.perf_counter_ns()
            if await step.call("quick", quick, number) != number + 1:
                raise AssertionError("another step's result")
            ended = time.perf_counter_ns()
            took.append([time.time_ns() // 1_000_000, (ended - began) // 1000])
            await step.call("pause", pause)
        return took
