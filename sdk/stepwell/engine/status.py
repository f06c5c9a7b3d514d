"""The status that users see, made from an instance's state."""

from __future__ import annotations

from typing import Literal, assert_never

from stepwell.engine.instance import Instance, Phase, Step
from stepwell.engine.records import Completed, Errored, Terminated

InstanceStatus = Literal[
    "queued", "running", "paused", "waiting", "waitingForPause", "complete", "errored", "terminated"
]
"""Spelt as Cloudflare's."""


def status_of(instance: Instance) -> InstanceStatus:
    """The status that users see. Meaningful for an instance that exists."""
    match instance.outcome:
        case Completed():
            return "complete"
        case Errored():
            return "errored"
        case Terminated():
            return "terminated"
        case None:
            pass
        case _:
            assert_never(instance.outcome)
    if instance.phase is Phase.PAUSED:
        return "waitingForPause" if instance.live is not None else "paused"
    if instance.started_at is None:
        return "queued"
    return "running" if instance.live is not None or instance.runnable else "waiting"


def steps_of(instance: Instance) -> list[Step]:
    """The steps that users see, in the order in which they began, with what runs just now."""
    shown = {key: step for key, step in instance.steps.items() if key.kind != "timer"}
    if instance.live is not None:
        for key, running in instance.live.running.items():
            before = shown.get(key)
            if before is None:
                shown[key] = Step(key, "running", running.attempt, running.started_at)
            elif before.status == "retrying":
                shown[key] = Step(key, "running", running.attempt, before.started_at, failure=before.failure)
    return list(shown.values())
