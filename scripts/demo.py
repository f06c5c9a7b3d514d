"""Shows Stepwell at work, through the shipped command alone: two tenants, real code, two SIGKILLs, nothing lost.

It runs in folders of its own, on a free port, and ends what it started. What it claims it checks, and it exits with 1
and a sentence at the first thing that is not so.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.demo_server import DemoFailedError, Server, until


class Asked(Protocol):
    """What is asked about instances."""

    def ask(self, *arguments: str) -> Any: ...


EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
BUNDLES = {
    "acme": ("agent_plan", "onboarding_acme"),
    "globex": ("ci_pipeline", "onboarding_globex"),
}
APPROVAL = '{"approved": true, "by": "the demo"}'
FINISHED = ("complete", "errored", "terminated")


@dataclass(frozen=True, slots=True)
class Run:
    """An instance that the demo follows."""

    tenant: str
    workflow: str
    id: str
    params: str
    waits_for_approval: bool

    def __str__(self) -> str:
        return f"{self.tenant}/{self.workflow}/{self.id}"


RUNS = (
    Run("acme", "agent-plan", "plan-1", '{"pace": 1.0}', True),
    Run("acme", "agent-plan", "plan-2", '{"pace": 0.6, "goal": "Keep 74 crates cold in the busiest week"}', True),
    Run("globex", "ci-pipeline", "build-1", '{"pace": 1.5}', True),
    Run("globex", "ci-pipeline", "build-2", '{"pace": 0.5}', True),
    Run("acme", "onboarding", "ada", '{"customer": "Ada"}', False),
    Run("globex", "onboarding", "ada", '{"customer": "Ada"}', False),
)

Steps = dict[tuple[str, str, int], tuple[Any, ...]]


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="stepwell-demo-"))
    server = Server(folder)
    began = time.monotonic()
    try:
        show(server)
    except DemoFailedError as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        print(f"The server's last words ({server.log}):\n{server.last_words()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    finally:
        server.stop()
    shutil.rmtree(folder, ignore_errors=True)
    tell(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


def tell(text: str) -> None:
    print(text, flush=True)


def show(server: Server) -> None:
    """The whole story, in order."""
    tell("1. A server for two tenants")
    server.start()
    tell(f"   `stepwell dev` serves on {server.endpoint}, gVisor sandboxes, data in {server.data}")
    for tenant, bundles in BUNDLES.items():
        server.ask("tenants", "create", tenant)
        for bundle in bundles:
            deployed = server.ask("deploy", str(EXAMPLES / bundle), "--tenant", tenant)
            names = ", ".join(workflow["name"] for workflow in deployed["workflows"])
            tell(f"   {tenant} deployed {names}: version {deployed['version'].rpartition('/')[2][:19]}…")
    tell("   Both have a workflow called onboarding; the code behind the name is each tenant's own.")

    tell("\n2. Six instances")
    for run in RUNS:
        server.ask("workflows", "trigger", run.workflow, "--tenant", run.tenant, "--id", run.id, "--params", run.params)
        tell(f"   created {run}")

    tell("\n3. SIGKILL in the middle of steps")
    until("steps are committed and others run", lambda: in_the_middle(server), patience_s=120)
    before = committed(server)
    tell(f"   {sum(map(len, before.values()))} step results are committed, others are running: kill -9 {server.pid}")
    server.kill()
    tell("   The server and every sandbox of it are gone.")
    server.start()
    tell("   Started again on the same data.")
    compare(before, committed(server))
    tell("   Every committed result is as it was.")

    tell("\n4. SIGKILL while instances wait for a person")
    waiting = [run for run in RUNS if run.waits_for_approval]
    until("every plan and pipeline waits for approval", lambda: all_wait(server, waiting), patience_s=180)
    before = committed(server)
    tell(
        f"   {len(waiting)} instances wait and hold nothing. kill -9 {server.pid}: whatever lay in their /tmp is gone."
    )
    server.kill()
    server.start()
    compare(before, committed(server))
    tell(f"   Started again; all {sum(map(len, before.values()))} committed results are as they were.")

    tell("\n5. Approvals")
    for run in waiting:
        server.ask(
            "instances", "send-event", run.workflow, run.id,
            "--tenant", run.tenant, "--type", "approval", "--payload", APPROVAL,
        )  # fmt: skip
        tell(f"   approved {run}")
    until("every instance has ended", lambda: all_ended(server), patience_s=180)
    compare(before, committed(server))

    tell("\n6. What became of them")
    for run in RUNS:
        tell(f"   {run}: {verdict(run, describe(server, run))}")
    tell("   Each ran its own tenant's code, and every result committed before a kill is in the journal unchanged.\n")


def describe(server: Asked, run: Run) -> dict[str, Any]:
    found: dict[str, Any] = server.ask("instances", "describe", run.workflow, run.id, "--tenant", run.tenant)
    return found


def committed(server: Asked) -> dict[Run, Steps]:
    """What must never change: each step that has ended, by its key, with its result and times."""
    return {run: ended_steps(describe(server, run)) for run in RUNS}


def ended_steps(instance: dict[str, Any]) -> Steps:
    return {
        (step["kind"], step["name"], step["count"]): (
            step["status"], step["attempts"], step["output"], step["startTime"], step["endTime"],
        )
        for step in instance["steps"]
        if step["status"] in ("complete", "errored")
    }  # fmt: skip


def compare(before: dict[Run, Steps], after: dict[Run, Steps]) -> None:
    """Raises when a committed result is missing or differs."""
    for run, steps in before.items():
        for key, result in steps.items():
            if after[run].get(key) != result:
                raise DemoFailedError(f"{run}, step {key}: committed was {result}, now it is {after[run].get(key)}")


def in_the_middle(server: Asked) -> bool:
    """Whether both long workflows have results already and a body that runs now."""
    instances = [describe(server, run) for run in RUNS if run.waits_for_approval]
    early = [instance for instance in instances if instance["status"] in FINISHED]
    if early:
        raise DemoFailedError(
            f"{early[0]['id']} ended before it was approved: {early[0]['status']}, {early[0]['error']}"
        )
    running = any(step["status"] == "running" for instance in instances for step in instance["steps"])
    return running and all(ended_steps(instance) for instance in instances)


def all_wait(server: Asked, runs: list[Run]) -> bool:
    for run in runs:
        instance = describe(server, run)
        if instance["status"] in FINISHED:
            raise DemoFailedError(f"{run} ended before it was approved: {instance['status']}, {instance['error']}")
        if instance["status"] != "waiting":
            return False
        if not any(step["name"] == "approval" and step["status"] == "waiting" for step in instance["steps"]):
            return False
    return True


def all_ended(server: Asked) -> bool:
    return all(describe(server, run)["status"] in FINISHED for run in RUNS)


def verdict(run: Run, instance: dict[str, Any]) -> str:
    """A sentence on what an instance did. Raises when it is not what its tenant's code does."""
    output = instance["output"]
    if instance["status"] != "complete":
        raise DemoFailedError(f"{run} is {instance['status']}: {instance['error']}")
    attempts = {step["name"]: step["attempts"] for step in instance["steps"]}
    try:
        if run.workflow == "onboarding":
            if output["company"].lower() != run.tenant:
                raise DemoFailedError(f"{run} ran the code of {output['company']}")
            said = output["greeted_with"] if run.tenant == "acme" else f"terms are {output['payment']}"
            return f"{output['company']}'s own onboarding: {said}"
        if run.workflow == "agent-plan":
            if attempts["3. price → price"] < 2:
                raise DemoFailedError(f"{run}: the price service failed once, yet there was no second attempt")
            order = output["order"]
            return f"{output['decision']}, ordered {order['count']} × {order['item']} for {order['cost']}"
        if output["deployment"]["digest"] != output["artifact"]["digest"]:
            raise DemoFailedError(f"{run} deployed another archive than it built")
        return (
            f"{output['tests']['ran']} unit tests passed in the sandbox, deployed {output['artifact']['name']} "
            f"{output['artifact']['digest'][:12]}…, rebuilt after the kill with the same digest"
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DemoFailedError(f"{run} has an unexpected output ({error!r}): {output}") from None


if __name__ == "__main__":
    sys.exit(main())
