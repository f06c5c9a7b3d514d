"""One workflow that does what its params name."""

import asyncio
import os
import sys

from stepwell import WorkflowEntrypoint


class Behaviours(WorkflowEntrypoint):
    async def run(self, event, step):
        return await getattr(self, event.payload["do"])(event.payload, step)

    async def nothing(self, payload, step):
        return payload

    async def sleep(self, payload, step):
        await step.sleep("nap", payload["ms"])
        return "awake"

    async def slow(self, payload, step):
        @step.do("slow")
        async def slow():
            await asyncio.sleep(payload["s"])
            return "slow is done"

        @step.do("next")
        async def after():
            return "next is done"

        return [await slow(), await after()]

    async def events(self, payload, step):
        await step.sleep("nap", payload.get("ms", 0))
        return [(await step.wait_for_event("go", "go", timeout=None)).payload for _ in range(2)]

    async def cancelled(self, payload, step):
        @step.do("undo")
        async def undo():
            return "undone"

        try:
            await step.wait_for_event("go", "go", timeout=None)
        except asyncio.CancelledError:
            await undo()
            if payload["then"] == "lets it out":
                raise

    async def prints(self, payload, step):
        """Everything that could be taken for a frame, on every descriptor that a print may reach."""
        noise = b"\x00\x00\x00\x02\x00\x00\x00\x00{}\n" * 50 + bytes(range(256))

        @step.do("noisy")
        def noisy():
            print("said in a step")
            print("said to stderr", file=sys.stderr)
            os.write(1, noise)
            os.write(2, noise)
            child = os.fork()
            if child == 0:
                os.write(1, b"\nsaid by a child\n")
                os._exit(0)
            os.waitpid(child, 0)
            return "quiet"

        print("said in run \x1b[31m")
        return await noisy()
