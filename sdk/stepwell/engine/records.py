"""What an instance's journal holds: the only truth about it.

A record is a fact with its time, written once. Every value that a decision needs is in it, so that a fold over the
records needs no clock, no randomness and no other store. Times are ms since the epoch, from the clock of the node that
wrote the record. Records are frozen; `data_plane.journal.codec` maps them to bytes at rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from stepwell.engine.family import Parent
from stepwell.engine.schedule import Schedule
from stepwell.names import Digest, InstanceId, InstanceUid
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits

Kind = Literal["do", "sleep", "waitForEvent", "timer", "rollback", "cancel"]
"""`timer` is asyncio's own, inside `run`, and `cancel` the cancelling of `run`; users see the others as steps.
`rollback` undoes the `do` of its name and count."""


class StepKey(NamedTuple):
    """What names a completion within an instance; `count` is from 1 by kind and name."""

    kind: Kind
    name: str
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a key


CANCEL: Final = StepKey("cancel", "", 1)
"""What names the cancelling of `run` among its completions, and the end of its grace among deadlines."""


class BlobRef(NamedTuple):
    """A payload too large to be inline: written before the row that names it, under an id minted for it."""

    id: str
    size_bytes: int


Payload = bytes | BlobRef
"""UTF-8 JSON of the tenant's, never parsed here."""


def size_of(payload: Payload) -> int:
    """In bytes, wherever they are kept."""
    return payload.size_bytes if isinstance(payload, BlobRef) else len(payload)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as the guest described it: bounded text, the tenant's own."""

    module: str
    type: str
    message: str
    traceback: str = ""
    cause: Failure | None = None

    @property
    def size_bytes(self) -> int:
        """Its texts, in characters: near enough to what it takes on a disk."""
        own = len(self.module) + len(self.type) + len(self.message) + len(self.traceback)
        return own + (self.cause.size_bytes if self.cause is not None else 0)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What became of the rollback handlers: all ran, or one failed for good, and none after it ran."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Created:
    at: int
    uid: InstanceUid
    digest: Digest
    entrypoint: str
    params: Payload
    request_id: str
    trace: bytes = b""
    """Of the call that created it, where its trace is kept; the engine passes it on unread."""
    parent: Parent | None = None
    depth: int = 0
    """How many parents it has, one above the other."""
    origin: Origin | None = None
    """Of a fork."""
    schedule: Schedule | None = None
    retention: Retention = NOT_SAID
    """As it was asked for, or as its version said then: it stays so whatever is deployed later."""
    limits: WorkflowLimits = UNLIMITED
    """As its version says."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The instance of the same workflow that a fork began as a copy of, and all that was copied: within `Created`,
    which stands in one row, so that there is a whole fork, or none."""

    instance: InstanceId
    uid: InstanceUid
    step: StepKey
    """The copy ends before its result."""
    digest: str
    """The version that was asked for; empty: the origin's own."""
    created_at: int
    """What its `run` was told of its creation. The fork's is told the same, or it could do something else."""
    started_at: int | None
    """When the clock of its `run` began; None where nothing that completed is copied."""
    records: tuple[Record, ...]
    """As its journal has them, but for the numbers of events, and with deadlines as they were when it was forked."""


@dataclass(frozen=True, slots=True)
class Activated:
    """A guest is about to run this instance's code. Recorded before it does: what poisons nodes is counted by it."""

    at: int
    runtime: str
    trace: bytes = b""
    """This activation's own, to which the next one is linked; likewise."""


@dataclass(frozen=True, slots=True)
class ActivationEnded:
    """An activation ended in good order: it hibernated, or its node drained while it was still `runnable`."""

    at: int
    runnable: bool


@dataclass(frozen=True, slots=True)
class SandboxDied:
    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class StepCompleted:
    at: int
    key: StepKey
    attempt: int
    started_at: int
    result: Payload


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The next attempt starts at `retry_at`, attempt number `attempt` + 1."""

    at: int
    key: StepKey
    attempt: int
    started_at: int
    failure: Failure
    retry_at: int


@dataclass(frozen=True, slots=True)
class StepFailed:
    """For good: `run` sees the failure."""

    at: int
    key: StepKey
    attempt: int
    started_at: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class StepCancelled:
    """`run` no longer waits for this key: a step between attempts, a sleep, a wait or a timer."""

    at: int
    key: StepKey


@dataclass(frozen=True, slots=True)
class SleepStarted:
    """Kind `sleep` or `timer`. `due` is absolute, and shifted by later pauses."""

    at: int
    key: StepKey
    due: int


@dataclass(frozen=True, slots=True)
class SleepFired:
    at: int
    key: StepKey


@dataclass(frozen=True, slots=True)
class WaitStarted:
    """`due` is when the wait times out; None waits for ever."""

    at: int
    key: StepKey
    event_type: str
    due: int | None


@dataclass(frozen=True, slots=True)
class WaitTimedOut:
    at: int
    key: StepKey


@dataclass(frozen=True, slots=True)
class EventReceived:
    """`number` is from 1 within the instance."""

    at: int
    number: int
    event_type: str
    payload: Payload
    request_id: str
    event_id: str = ""
    """Its sender's own name for it; empty for none."""


@dataclass(frozen=True, slots=True)
class EventMatched:
    """The wait `key` gets the event `number`."""

    at: int
    key: StepKey
    number: int


@dataclass(frozen=True, slots=True)
class Paused:
    """By a call, or with the failure that paused it."""

    at: int
    failure: Failure | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """Open deadlines move by `paused_for` ms."""

    at: int
    paused_for: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """`run` begins again: the first `kept` completions are what it will find, and no event after number `events`.

    Forgotten are all other steps, but those that were asked for before completion `kept` and are still to come. `step`
    is the one that it begins again from; None: from the beginning. Open deadlines move by `paused_for` ms.
    """

    at: int
    step: StepKey | None
    kept: int
    events: int
    paused_for: int
    request_id: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """`run` is to come to an end by itself: it is cancelled at what it waits for. A completion like any other, so that
    a replay cancels it at the same place. At `due`, which later pauses shift, the instance is terminated."""

    at: int
    due: int
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """From here on it runs that version, whose code does what the records before this one say."""

    at: int
    digest: Digest
    entrypoint: str
    request_id: str
    limits: WorkflowLimits = UNLIMITED
    """As that version says."""


@dataclass(frozen=True, slots=True)
class NothingToDo:
    """A pause of what was paused, a resume of what was not, or a cancel of what is being cancelled: remembered, since
    the same call may come again, and much later, when there would be something to do."""

    at: int
    resume: bool
    """Otherwise it was a pause, or a cancel."""
    request_id: str
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class ChildAdded:
    """It is about to create this one, named as `child_name` says: counted before that happens."""

    at: int
    child: str


@dataclass(frozen=True, slots=True)
class ParentTold:
    """Its parent has the word of its end, or has no use for it any more."""

    at: int


@dataclass(frozen=True, slots=True)
class Completed:
    """Once `expires_at` has come it is deleted; None keeps it for ever. So it is with every end."""

    at: int
    output: Payload
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Errored:
    """`rolled_back` is None where no step had a rollback handler."""

    at: int
    failure: Failure
    rolled_back: RolledBack | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class RollbackBegun:
    """By a call: `run` ends here, steps are rolled back, and then the instance is terminated. It enters `run` as a
    completion does, so that all that it had asked for by then is rolled back, on every replay the same.

    Open deadlines move by `paused_for` ms, should it have been paused.
    """

    at: int
    paused_for: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Terminated:
    """`rolled_back` as in `Errored`; None too where no rollback was asked for. The `request_id` is that of a call which
    ended it at once."""

    at: int
    request_id: str
    rolled_back: RolledBack | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Deleting:
    """By a call, or since it expired. The instance is gone for its users; whoever owns it removes what is left, which
    this row alone must tell."""

    at: int
    uid: InstanceUid
    created_at: int
    request_id: str


Record = (
    StepCompleted
    | SleepStarted
    | SleepFired
    | WaitStarted
    | WaitTimedOut
    | EventReceived
    | EventMatched
    | StepCancelled
    | AttemptFailed
    | StepFailed
    | Activated
    | ActivationEnded
    | SandboxDied
    | Created
    | Paused
    | Resumed
    | Restarted
    | CancelRequested
    | RollbackBegun
    | Migrated
    | NothingToDo
    | ChildAdded
    | ParentTold
    | Completed
    | Errored
    | Terminated
    | Deleting
)
