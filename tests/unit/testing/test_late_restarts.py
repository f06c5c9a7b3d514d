"""What `run` begins anew long after it was first there has its whole time again."""

from __future__ import annotations

import asyncio
from typing import Any

from stepwell import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from stepwell.testing import Workflows


class Hurried(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def reserve() -> int:
            return 1

        async def charge() -> int:
            await asyncio.sleep(5)
            return 2

        await step.call("reserve", reserve)
        async with asyncio.timeout(60):
            return await step.call("charge", charge)


def test_a_timeout_of_run_counts_from_a_late_restart() -> None:
    with Workflows() as workflows:
        instance = workflows.start(Hurried, {})
        assert instance.result() == 2
        workflows.advance("1 day")
        instance.restart("charge")
        assert instance.result() == 2
        workflows.kill()
        assert instance.result() == 2


def test_a_timeout_of_run_counts_from_a_late_fork() -> None:
    with Workflows() as workflows:
        instance = workflows.start(Hurried, {})
        assert instance.result() == 2
        workflows.advance("1 day")
        assert instance.fork("charge").result() == 2
