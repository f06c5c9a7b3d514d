"""An instance of a test: its journal in memory, the engine's state, and the activation that runs it, if one does.

Append, then act, as on a node: an action behind a record is performed once the record is in the journal, and not at
all when the crash of the test came with that record. A new action of the engine has one place here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from stepwell.engine import fold, machine
from stepwell.engine.actions import (
    Action,
    Activate,
    Append,
    Completion,
    EndGuest,
    TellCompletion,
    TellGo,
    TellHold,
    TellRelease,
    TellStart,
    TellStop,
    WakeNow,
)
from stepwell.engine.events import Event
from stepwell.engine.instance import Instance, Live
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import BlobRef, Payload, Record
from stepwell.testing.conversation import error_from
from stepwell.testing.modifiers import Modifiers
from stepwell.testing.printing import LogLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.guest.instance import Instance as Guest
    from stepwell.testing.host import Host

LIMITS = EngineLimits()


class Resident:
    """`entrypoint` makes the author's object. `act` is the newest activation's number, 0 before the first."""

    def __init__(self, host: Host, id: str, workflow: str, entrypoint: Callable[[], Any], modifiers: Modifiers) -> None:
        self.id = id
        self.workflow = workflow
        self.modifiers = modifiers
        self.journal: list[Record] = []
        self.printed: list[LogLine] = []
        self.state = Instance()
        self.act = 0
        self.activating = False
        self._host = host
        self.entrypoint = entrypoint
        self._guest: Guest | None = None
        self._live: Live | None = None

    def step(self, event: Event) -> None:
        """Let the engine decide, and do what it wants done. Raises what `machine.handle` raises."""
        for action in machine.handle(self.state, event, LIMITS):
            self._perform(action)
            if self._host.ending is not None:
                return

    def step_guest(self, act: int, event: Event | None) -> None:
        """The same for what a guest says; of an activation that has ended it counts for nothing."""
        if event is not None and act == self.act and self._live is not None and self.state.live is self._live:
            self.step(self.modifiers.applied(event))

    def _perform(self, action: Action) -> None:
        match action:
            case Append():
                self.journal.append(action.record)
                self._host.appended(self, action.record)
            case WakeNow():
                pass  # every instance of a test is in memory, and looked at
            case Activate():
                self._host.activate(self)
            case TellStart():
                self._start(action)
            case TellCompletion():
                self._complete(action.completion, held=action.held)
            case TellGo():
                if self._guest is not None:
                    self._guest.go(action.key.kind, action.key.name, action.key.count, action.attempt)
            case TellHold():
                if self._guest is not None:
                    self._guest.hold(action.number)
            case TellRelease():
                if self._guest is not None:
                    self._guest.release()
            case TellStop():
                guest, self._guest, self._live = self._guest, None, None
                if guest is not None:
                    guest.stop()
            case EndGuest():
                self._host.end_sandbox(action.reason)
            case _:
                assert_never(action)

    def _start(self, told: TellStart) -> None:
        state = self.state
        info = {
            "id": self.id,
            "uid": state.uid,
            "workflow": self.workflow,
            "created": state.event_at,
            "started": state.clock_at,
        }
        opened = [list(key) for key in told.opened]
        self.act = self._host.next_act(self)
        self._live = state.live
        self._guest = self._host.sandbox.open(
            self.act, self.entrypoint, info, told.recorded, opened, _inline(state.params)
        )
        recorded = state.completions[: told.recorded]
        self._guest.begin()
        for completion in recorded:
            self._complete(completion, held=False)

    def _complete(self, completion: Completion, *, held: bool) -> None:
        if self._guest is None:
            return
        detail: Any = None
        if completion.failure is not None:
            detail = error_from(completion.failure)
        elif completion.outcome == "event":
            detail = [completion.event_type, completion.event_at]
        elif completion.outcome == "cancelled":
            detail = completion.reason
        outcome = "held" if held else completion.outcome
        payload = b"" if held else _inline(completion.payload)
        key: tuple[str, str, int] = (completion.key.kind, completion.key.name, completion.key.count)
        self._guest.complete(key, completion.at, outcome, detail, payload)

    def forget(self) -> None:
        """Its sandbox and its node are gone: all that is left of it is its journal."""
        self._guest = self._live = None
        self.activating = False
        self.state = fold.replay(self.journal)

    def lose_guest(self) -> None:
        """Its sandbox is gone, and its node is not."""
        self._guest = self._live = None
        self.activating = False


def _inline(payload: Payload) -> bytes:
    assert not isinstance(payload, BlobRef), "a test keeps every payload inline"
    return payload
