"""One instance's state: what its journal says, and what its present activation adds to that.

Everything but `live` and `retry_due` is a fold over the journal (`fold.apply`); `live` is what only the present
activation knows and what a crash forgets. Nothing here decides anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from stepwell.engine.actions import Completion
from stepwell.engine.family import Parent
from stepwell.engine.records import (
    CANCEL,
    BlobRef,
    CancelRequested,
    Completed,
    Errored,
    EventReceived,
    Failure,
    Origin,
    Paused,
    Payload,
    Record,
    RollbackBegun,
    StepKey,
    Terminated,
)
from stepwell.engine.schedule import Schedule
from stepwell.names import Digest, InstanceUid
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits

_NO_UID = InstanceUid("")
_NO_DIGEST = Digest("")


class IllegalTransition(Exception):
    """A guest or a caller inside the node did what the state does not allow: a fault of theirs, never a log line."""


class Phase(Enum):
    """Where the journal stands."""

    ABSENT = "absent"
    LIVE = "live"
    PAUSED = "paused"
    FINISHED = "finished"
    DELETING = "deleting"


StepStatus = Literal["running", "retrying", "waiting", "complete", "errored", "cancelled"]


@dataclass(slots=True)
class Step:
    """What is known of one key; `attempts` counts those that were begun, from 1."""

    key: StepKey
    status: StepStatus
    attempts: int
    started_at: int
    ended_at: int | None = None
    output: Payload | None = None
    failure: Failure | None = None
    event: EventReceived | None = None
    began_after: int = 0
    """How many completions the instance had when this was first heard of."""
    completion: int | None = None
    """Which of the instance's completions is its own, from 0; None where it has none."""
    events_before: int = 0
    """How many events had been received by then."""


@dataclass(slots=True)
class Open:
    """A key that was asked for and whose completion is still to come. `due` is None for a wait that waits for ever.

    `due` is right as of the instance's pauses when they had come to `pauses_ms`.
    """

    at: int
    due: int | None
    event_type: str = ""
    pauses_ms: int = 0


@dataclass(frozen=True, slots=True)
class Cancelling:
    """The cancel that `run` was given: as which completion, from 0, and how many events had been received by then."""

    request: CancelRequested
    completion: int
    events_before: int


@dataclass(slots=True)
class Running:
    """A body that runs in the guest; past `deadline` its sandbox is killed.

    Until it has `begun` the guest was told to start it and has not said that it did.
    """

    attempt: int
    started_at: int
    deadline: int | None
    begun: bool = True


@dataclass(slots=True)
class Live:
    """The present activation. `told` counts completions handed to the guest, those of the replay among them."""

    started_at: int
    told: int
    running: dict[StepKey, Running] = field(default_factory=dict)
    gone: set[StepKey] = field(default_factory=set)
    """Open steps whose next attempt the guest was told to start."""
    withheld: list[tuple[Completion, bool]] = field(default_factory=list)
    """Recorded while paused: told after a resume."""
    holds: int = 0
    """How often the guest was told to hold: the number of the newest."""
    deadlines: list[tuple[int, StepKey]] = field(default_factory=list)
    """A heap over the deadlines of `running`; stale entries as in `Instance.deadlines`."""

    def next_overdue(self) -> tuple[int, StepKey] | None:
        """The running attempt whose deadline is the earliest."""
        heap = self.deadlines
        while heap:
            due, key = heap[0]
            running = self.running.get(key)
            if running is not None and running.deadline == due:
                return due, key
            heapq.heappop(heap)
        return None


@dataclass(slots=True)
class Instance:
    """State in place: cost per event is O(1), whatever the length of the journal."""

    uid: InstanceUid = _NO_UID
    digest: Digest = _NO_DIGEST
    entrypoint: str = ""
    params: Payload = b""
    request_id: str = ""
    trace: bytes = b""
    """Of the call that created it; empty where its trace is not kept."""
    schedule: Schedule | None = None
    """What created it, of one that no call did."""
    retention: Retention = NOT_SAID
    """How long it is kept once it has ended."""
    limits: WorkflowLimits = UNLIMITED
    """What the version that it runs says of it."""
    activation_trace: bytes = b""
    """Of its newest activation that has one."""
    parent: Parent | None = None
    depth: int = 0
    children: dict[str, None] = field(default_factory=dict)
    """What it has created, or was about to."""
    untold: bool = False
    """It has ended, and its parent may not know."""
    created_at: int = 0
    origin: Origin | None = None
    """Of a fork; what was copied is not in it any more."""
    clock_at: int | None = None
    """When the clock of its `run` began: with its first activation, or with its origin's."""
    started_at: int | None = None
    ended_at: int | None = None
    phase: Phase = Phase.ABSENT
    runnable: bool = False
    """The code has something to do that no deadline or event has to bring about."""
    outcome: Completed | Errored | Terminated | None = None
    paused: Paused | None = None
    cancelling: Cancelling | None = None
    """Since `run` was cancelled, and once the instance has ended so."""
    steps: dict[StepKey, Step] = field(default_factory=dict)
    open: dict[StepKey, Open] = field(default_factory=dict)
    completions: list[Completion] = field(default_factory=list)
    waits: dict[str, dict[StepKey, None]] = field(default_factory=dict)
    """Open waits by event type, in the order in which they were asked for."""
    events: dict[str, deque[EventReceived]] = field(default_factory=dict)
    """Events that no wait has taken, by type, first in first out."""
    completed: int = 0
    """How many completions there are."""
    buffered_events: int = 0
    buffered_bytes: int = 0
    """Of their payloads."""
    events_received: int = 0
    received: list[EventReceived] = field(default_factory=list)
    """All of them, those too that a wait took or a restart forgot."""
    forgotten_events: int = 0
    """Of those, the ones that a restart forgot."""
    event_ids: dict[str, EventReceived] = field(default_factory=dict)
    """The events that came with an id of their sender's, by that."""
    requests: dict[str, Record] = field(default_factory=dict)
    """What each request_id of a call did."""
    timers: int = 0
    rollbacks: int = 0
    """Steps of kind `rollback`."""
    rollback_from: tuple[int, int] | None = None
    """How many completions and events there were when the rollback began, as far as the journal tells of one."""
    terminating: RollbackBegun | None = None
    """The call that ends it once it is rolled back."""
    records: int = 0
    inline_bytes: int = 0
    blobs: int = 0
    stored_bytes: int = 0
    """What its records and their payloads, blobs too, come to."""
    activations: int = 0
    """Activations since the last progress, the present one among them."""
    sandbox_deaths: int = 0
    """Of those, the ones that ended in a sandbox's death that a living node saw."""
    live: Live | None = None
    retry_due: bool = False
    """A tick found a retry due while nothing was live: no record says so, the next owner's tick finds it again."""
    deadlines: list[tuple[int, StepKey]] = field(default_factory=list)
    """A heap over `open`; entries that `open` no longer bears out are stale."""
    pauses_ms: int = 0
    """How long all pauses were together: by so much deadlines move, once somebody asks for them."""
    moved: bool = False
    """There was a pause since `deadlines` were made."""
    opened_paused: list[StepKey] = field(default_factory=list)
    """What was asked for within the present pause: its deadlines move by the rest of it."""

    def next_due(self) -> int | None:
        """When a wake must lead here: 0 for now, None for never."""
        if self.phase is Phase.DELETING or self.untold:
            return 0
        if self.phase is Phase.FINISHED:
            return self.expires_at
        if self.phase is not Phase.LIVE:
            return None
        if self.runnable or self.retry_due:
            return 0
        return self.next_deadline()

    def next_deadline(self) -> int | None:
        """The earliest due time of what is open and not under way; None while paused and after the end."""
        if self.phase is not Phase.LIVE:
            return None
        if self.moved:
            self.rearm()
        heap = self.deadlines
        while heap:
            due, key = heap[0]
            ask = self.open.get(key)
            if ask is not None and ask.due == due and not (self.live and key in self.live.gone):
                return due
            heapq.heappop(heap)
        return None

    def next_tick(self) -> int | None:
        """When the node should send a Tick: like next_deadline, with the deadlines of running attempts; of what has
        ended, when it expires.

        None while an activation is on its way: what is due by then happens in it.
        """
        if self.phase is Phase.FINISHED:
            return None if self.untold else self.expires_at
        if self.live is None and (self.runnable or self.retry_due):
            return None
        earliest = self.next_deadline()
        if self.live is not None:
            overdue = self.live.next_overdue()
            if overdue is not None and (earliest is None or overdue[0] < earliest):
                earliest = overdue[0]
        return earliest

    def rearm(self) -> None:
        """Make the heap anew from what is open: after a pause, or when what an activation had under way is
        forgotten."""
        self.moved = False
        for ask in self.open.values():
            if ask.due is not None:
                ask.due += self.pauses_ms - ask.pauses_ms
            ask.pauses_ms = self.pauses_ms
        self.deadlines = [(ask.due, key) for key, ask in self.open.items() if ask.due is not None]
        heapq.heapify(self.deadlines)

    @property
    def expires_at(self) -> int | None:
        """When it is to be deleted; None for never, and while it has not ended."""
        return self.outcome.expires_at if self.outcome is not None else None

    @property
    def asked(self) -> tuple[StepKey, ...]:
        """What `run` asked for and waits for: not the grace of its cancel, which is open too."""
        return tuple(key for key in self.open if key != CANCEL)

    @property
    def event_at(self) -> int:
        """When it was created, as its `run` is told."""
        return self.created_at if self.origin is None else self.origin.created_at

    @property
    def node_deaths(self) -> int:
        """Activations since the last progress that nobody saw end. Meaningful while none is live."""
        return self.activations - self.sandbox_deaths

    @property
    def dead_events(self) -> int:
        """Events that its code can't take any more: kept when it ended, or forgotten by a restart."""
        return self.forgotten_events + (self.buffered_events if self.outcome is not None else 0)

    def hold(self, payload: Payload) -> None:
        """Count the payload: of blobs, the partition has only the name."""
        if isinstance(payload, BlobRef):
            self.blobs += 1
            self.stored_bytes += payload.size_bytes
        else:
            self.inline_bytes += len(payload)
            self.stored_bytes += len(payload)

    def hold_failure(self, failure: Failure) -> None:
        """Count its texts: they are always inline."""
        self.inline_bytes += failure.size_bytes
        self.stored_bytes += failure.size_bytes
