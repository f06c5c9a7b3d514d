"""The measured workflow: as many small steps, one after the other, as its params say, and a sleep."""

import time
from typing import Any

from stepwell import WorkflowEntrypoint


class Steps(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        count, window = event["payload"]["steps"], event["payload"].get("window")
        total, marks = 0, [time.monotonic()]
        for number in range(count):

            @step.do(f"step {number}")
            async def one() -> int:
                return number  # noqa: B023  # awaited within the turn

            total += await one()
            if window and (number + 1) % window == 0:
                marks.append(time.monotonic())
        if "rest" in event["payload"]:
            await step.sleep("rest", event["payload"]["rest"])
        return {"total": total, "marks": marks} if window else total
