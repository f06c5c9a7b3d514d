"""One event's work on one instance: how a transition records facts and says what is to be done.

Every transition gets a `Turn`. `turn.record` applies the record to the state by the same fold that reads journals, and
asks for its append; what is said after it waits for it.
"""

from __future__ import annotations

from stepwell.engine import fold
from stepwell.engine.actions import (
    Action,
    Actions,
    Activate,
    Append,
    Completion,
    TellCompletion,
    TellStop,
    WakeNow,
)
from stepwell.engine.instance import IllegalTransition, Instance, Live, Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import ActivationEnded, Completed, Errored, Record, StepKey, Terminated


class Turn:
    """The state, the limits and the actions so far."""

    __slots__ = ("actions", "instance", "limits")

    def __init__(self, instance: Instance, limits: EngineLimits) -> None:
        self.instance = instance
        self.limits = limits
        self.actions: Actions = []

    def record(self, record: Record) -> None:
        """Append the record and apply it to the state."""
        fold.apply(self.instance, record)
        self.actions.append(Append(record))

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def live(self) -> Live:
        """The present activation; a guest's message without one is the node's fault."""
        live = self.instance.live
        if live is None:
            raise IllegalTransition("a guest's message outside an activation")
        return live

    def tell_last(self, *, held: bool = False) -> None:
        """Hand the newest completion to the guest, or keep it until a resume while the instance is paused."""
        instance = self.instance
        live = instance.live
        if live is None:
            return
        completion = instance.completions[-1]
        if instance.phase is Phase.PAUSED:
            live.withheld.append((completion, held))
        else:
            self.tell(live, completion, held)

    def tell(self, live: Live, completion: Completion, held: bool) -> None:
        live.told += 1
        self.actions.append(TellCompletion(completion, held))

    def expiry(self, at: int, *, success: bool = False) -> int | None:
        """When an instance that ends now is to be deleted; None for never."""
        retention = self.instance.retention
        kept_ms = retention.success_ms if success else retention.error_ms
        return None if kept_ms is None else at + kept_ms

    def make_runnable(self, record: Record) -> None:
        """Record what makes the instance runnable, behind a wake that is due now."""
        self.actions.append(WakeNow())
        self.record(record)

    def end(self, record: Completed | Errored | Terminated) -> None:
        """Record the end: behind a wake that leads here, where a parent is to hear of it."""
        if self.instance.parent is not None:
            self.make_runnable(record)
        else:
            self.record(record)

    def activate(self) -> None:
        """Ask for a guest, unless one runs."""
        instance = self.instance
        if instance.live is None and instance.phase is Phase.LIVE and (instance.runnable or instance.retry_due):
            self.actions.append(Activate())

    def end_activation(self) -> None:
        """The guest is to stop; nothing that it says counts from here on."""
        if self.instance.live is not None:
            self.instance.live = None
            self.instance.rearm()
            self.actions.append(TellStop())

    def hibernate(self, at: int) -> None:
        """End the activation of an instance that waits for time or an event."""
        self.record(ActivationEnded(at, runnable=False))
        self.end_activation()

    def check_room(self, key: StepKey) -> None:
        """Refuse a key over the limit; guests refuse it before, with an error for the author."""
        instance, most = self.instance, self.limits.steps_max
        if key.kind == "timer":
            count = instance.timers
        elif key.kind == "rollback":
            count = instance.rollbacks
        else:
            count = len(instance.steps) - instance.timers - instance.rollbacks
            most = min(most, instance.limits.steps or most)
        if key not in instance.steps and count >= most:
            raise IllegalTransition(f"more than {most} steps")
