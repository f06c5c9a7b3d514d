"""The class that an author subclasses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.events import WorkflowEvent
    from stepwell.steps import WorkflowStep


class WorkflowEntrypoint:
    """A workflow: `run` decides what to do, steps do it.

    `run` is run again from its start whenever the instance is loaded; steps that ended return their recorded results at
    once. So `run` itself does nothing that must happen once: no network, no clock, no randomness. Steps do.
    """

    ctx: Any
    env: Any
    """The manifest's `[vars]`, as attributes."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        """Override it. What it returns is the instance's output; what it raises is the instance's error."""
        raise NotImplementedError(f"{type(self).__name__} has no `async def run(self, event, step)`")
