"""What an onlooker knows of one instance: what was asked, what was answered, and what `run` saw and returned."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

Place = tuple[Hashable, ...]
"""Of a plan: where in it something happens. The same in every replay."""

ENDED: Final = ("COMPLETE", "ERRORED", "TERMINATED")


@dataclass
class Life:
    """One instance, by its uid, as far as anyone outside of the engine can know."""

    uid: str
    name: str
    seen: dict[Place, Any] = field(default_factory=dict)
    """What `run` saw, the first time that it did."""
    began: dict[Place, float] = field(default_factory=dict)
    """When `run` first asked for it."""
    awaited: dict[Place, float | None] = field(default_factory=dict)
    """What it waits for, and when it may have that at the earliest; None: once there is an event for it."""
    sent: dict[int, float] = field(default_factory=dict)
    """Events that were acknowledged, and when."""
    touched_s: float = 0.0
    """When it was created, or resumed, or when anything of it was heard last."""
    events: dict[int, Place] = field(default_factory=dict)
    """Where which event was received."""
    spare: int = 0
    """How many of them went to waits that would have given up: so many more are needed."""
    version: str = ""
    moved_to: set[str] = field(default_factory=set)
    """Versions that somebody asked to have it run."""
    returned: Any = None
    is_to_go: bool = False
    """Somebody is about to delete it, whatever it is at."""
    deleted: bool = False
    """Somebody was told that it is."""
    paused: bool = False
    """Somebody asked for that, or the server did it, and nobody has resumed it."""
    paused_at_s: float = 0.0
    paused_s: float = 0.0
    """For how long it was paused, at the most: its clock stood still."""
    status: str = ""
    """The last one that is final and that somebody was told."""
    steps: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """What the API showed of results."""
    undoable: list[Place] = field(default_factory=list)
    """Steps that have a rollback handler, in the order in which `run` asked for them."""
    undone: set[Place] = field(default_factory=set)
    rolls_back_since_s: float | None = None
    """Somebody asked for that."""
    cancelled_s: float | None = None
    """When a cancel was answered."""
    activations: int = 0
    gave_up: set[Place] = field(default_factory=set)
    """What it does not wait for any more. That is progress once it is recorded, which may be after a death or two."""
    poisonings: int = 0
    """By it, since all was calm, or somebody resumed it."""
    poisoned: tuple[str, float] = ("", 0.0)
    """The last sandbox that it ended so, and when."""
    origin: Life | None = None
    """Of a fork: what it is one of."""
    copied: dict[Place, Any] = field(default_factory=dict)
    """What its origin's `run` saw before the step that it begins from."""
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set once `run` has returned."""
    kept_s: tuple[float, float] | None = None
    """For how long it is kept once it is complete, and once it was ended otherwise; None: for ever."""
    returned_s: float | None = None
    terminated_s: float | None = None
    """When it may have ended at the earliest, by itself and by a call."""
    mark: Any = None
    """What `run` saw first, where its plan begins so: it tells one life from the next, after a restart."""
    before: Life | None = None
    """The life before a restart."""
    events_before: int = 0
    """Those up to that number were sent before the restart."""
    resent: dict[tuple[int, str], int] = field(default_factory=dict)
    """Dead events of others, or of the life before, that were sent to it, by their number and uid: as which of its."""
    hears: dict[Place, tuple[float, float]] = field(default_factory=dict)
    """Where it waited for broadcasts: when it first asked, and when that wait was to end."""
    heard: dict[str, Place] = field(default_factory=dict)
    """Where it heard which broadcast."""
    unheard: set[Place] = field(default_factory=set)
    """Where it heard none in time."""

    def as_sent(self, says: tuple[int, str]) -> tuple[int, str]:
        """Of an event that says of itself that it is that number of that uid's: which of whose it was sent as."""
        if says in self.resent:
            return self.resent[says], self.uid
        return says if self.origin is None else self.origin.as_sent(says)
