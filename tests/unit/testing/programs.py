"""Workflows that the kit's tests run."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from stepwell import WorkflowEntrypoint, WorkflowStep


class Declined(Exception):
    """A card was refused."""


class Order(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        print("run")

        @step.do("charge", config={"retries": {"limit": 3, "delay": "10 seconds", "backoff": "constant"}})
        async def charge(ctx: Any) -> str:
            print("charging", ctx.attempt)
            if ctx.attempt < 3:
                raise Declined("declined")
            await asyncio.sleep(60)
            return f"paid {event.payload['card']}"

        await charge()
        await step.sleep("cool", "14 days")
        approval = await step.wait_for_event("approval", "approval", timeout="2 days")

        @step.do()
        def ship(charge: str) -> list[Any]:
            time.sleep(0.001)
            return [charge, approval.payload]

        return await ship()


class TenSteps(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        done = []
        for number in range(10):

            @step.do(f"step {number}")
            async def one(number: int = number) -> int:
                return number

            done.append(await one())
        return done


class Fails(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do("charge", config={"retries": {"limit": 0}})
        async def charge() -> None:
            raise Declined("no")

        await charge()


class Forever(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        return (await step.wait_for_event("approval", "approval", timeout=None)).payload


class Spins(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        while True:
            pass


class Hangs(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do("hang", config={"retries": {"limit": 0}, "timeout": "5 minutes"})
        async def hang() -> None:
            await asyncio.Event().wait()

        await hang()


class OpensASocket(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        import socket

        socket.socket()


class Threads(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do("to_thread")
        async def in_a_thread() -> str:
            return await asyncio.to_thread(lambda: "done")

        @step.do("child")
        async def child() -> int:
            process = await asyncio.create_subprocess_exec("true")
            return await process.wait()

        return [await in_a_thread(), await child(), self.env.REGION]


class Drifts(WorkflowEntrypoint):
    runs = 0

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        type(self).runs += 1

        @step.do(f"step {self.runs}")
        async def one() -> int:
            return 1

        await one()
        await step.sleep("nap", "1 hour")


class Threaded(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        done = []
        for number in range(20):

            @step.do(f"step {number}")
            def one(number: int = number) -> int:
                return number

            done.append(await one())
        return done


class Clings(WorkflowEntrypoint):
    """Its body outlives its own cancellation."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do("cling", config={"retries": {"limit": 0}, "timeout": "1 minute"})
        async def cling() -> None:
            while True:
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    continue

        await cling()


class Stops(WorkflowEntrypoint):
    """What a body does when it is stopped is seen by whoever looks into `seen`."""

    seen: ClassVar[list[str]] = []

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do()
        async def slow() -> str:
            self.seen.append("begun")
            try:
                await asyncio.sleep(5)
            finally:
                self.seen.append("finally")
            return "done"

        return await slow()


class Scheduled(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        await step.sleep("a while", "1 hour")
        if event.schedule is not None:
            assert event.schedule.scheduledTime <= event.timestamp.timestamp() * 1000

        async def note(schedule: Any) -> Any:
            return schedule

        return await step.call("note", note, event.schedule)
