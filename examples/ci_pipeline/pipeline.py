"""Checkout, lint, test, build, approval, deploy: a pipeline whose workspace may vanish between any two steps."""

import asyncio
from typing import Any

from stepwell import NonRetryableError, StepOptions, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

import archive
import checks
import workspace

ONCE: StepOptions = {"retries": {"limit": 0}, "timeout": "5 minutes"}
AGAIN: StepOptions = {"retries": {"limit": 3, "delay": "1 second", "backoff": "exponential"}, "timeout": "5 minutes"}


class CiPipeline(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        run_id = event.instanceId
        pace: float = (event.payload or {}).get("pace", 0)
        environment: str = self.env.ENVIRONMENT

        @step.do(config=AGAIN)
        async def checkout() -> dict[str, Any]:
            await asyncio.sleep(pace)
            return workspace.check_out(run_id)

        # Plain functions: they block, so they run in threads beside the other instances of this sandbox.
        @step.do(config=ONCE)
        def lint(checkout: dict[str, Any]) -> dict[str, Any]:
            found = checks.lint(workspace.ensure(run_id, checkout["digest"]))
            if found:
                raise NonRetryableError("\n".join(found))
            return {"findings": 0, "files": checkout["files"]}

        @step.do("unit tests", config=ONCE)
        def unit_tests(checkout: dict[str, Any]) -> dict[str, Any]:
            return checks.unit_tests(workspace.ensure(run_id, checkout["digest"]))

        @step.do(config=AGAIN)
        def build(checkout: dict[str, Any]) -> dict[str, Any]:
            return archive.build(workspace.ensure(run_id, checkout["digest"]))

        source = await checkout()
        # Neither needs the other.
        linted, tested = await asyncio.gather(lint(), unit_tests())
        await step.sleep("settle", pace * 1000)
        built = await build()

        approval = await step.wait_for_event("approval", "approval", timeout="1 hour")
        if not approval.payload["approved"]:
            return {"deployed": False, "source": source, "tests": tested, "artifact": built}

        @step.do(config=AGAIN)
        def deploy(checkout: dict[str, Any], build: dict[str, Any]) -> dict[str, Any]:
            folder = workspace.ensure(run_id, checkout["digest"])
            rebuilt = archive.build(folder)
            if rebuilt["digest"] != build["digest"]:
                raise NonRetryableError(f"approved was {build['digest']}, but the build now gives {rebuilt['digest']}")
            return {"environment": environment, "digest": rebuilt["digest"], "smoke_test": archive.smoke_test(folder)}

        deployed = await deploy()

        @step.do("clean up", config=AGAIN)
        def clean_up() -> None:
            workspace.remove(run_id)

        await clean_up()
        return {
            "deployed": True,
            "by": approval.payload["by"],
            "source": source,
            "lint": linted,
            "tests": tested,
            "artifact": built,
            "deployment": deployed,
        }
