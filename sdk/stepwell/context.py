"""What a step's body may know about its attempt, by declaring a parameter `ctx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.attributes import AttributeDict


class StepNumber(AttributeDict):
    """Which call of which step it is."""

    if TYPE_CHECKING:
        name: str
        count: int
        """From 1 for each name."""


class StepContext(AttributeDict):
    """One attempt of one step. Each attempt gets its own."""

    if TYPE_CHECKING:
        attempt: int
        """From 1."""
        step: StepNumber
        config: dict[str, Any]
        """The step's config with its defaults filled in, durations in ms."""
        idempotency_key: str
        """The same for every attempt of this step of this instance, and for nothing else: give it to services that
        take one, since a body may run more than once."""

    @classmethod
    def of(
        cls, uid: str, name: str, count: int, attempt: int, config: dict[str, object], *, rollback: bool = False
    ) -> StepContext:
        """The context of this attempt of the step, or of its rollback handler; `uid` is the instance's, never used
        again even when its id is."""
        return cls(
            attempt=attempt,
            step=StepNumber(name=name, count=count),
            config=config,
            idempotency_key=f"{uid}:{name}:{count}:rollback" if rollback else f"{uid}:{name}:{count}",
        )
