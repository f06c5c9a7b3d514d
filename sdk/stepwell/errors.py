"""Every error that Stepwell raises, in one tree.

Two halves: `WorkflowError` is what an author's code meets inside a workflow, `ApiError` what a call to the API meets.
Beside them stands `InstanceFailedError`: the call was well, the instance that it asked about was not.
An `ApiError` says what happened, to what, and what to do; `reason` is what a program branches on, never the text. Each
class says whether the same call may be sent again (`retryable`) and whether its effect may have happened (`committed`).
The table from reasons to gRPC codes and back is `stepwell.client.errors`. Standard library only: guests import this.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Committed = Literal["no", "yes", "unknown"]


class StepwellError(Exception):
    """The root of the tree."""


class WorkflowError(StepwellError):
    """What an author's code can meet, or raise, inside a workflow."""


class NonRetryableError(WorkflowError):
    """Raise it in a step to fail the step at once, whatever its retries."""

    def __init__(self, message: str = "", name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class StepTimeoutError(WorkflowError, TimeoutError):
    """An attempt of a step ran longer than its timeout."""


class EventTimeoutError(WorkflowError, TimeoutError):
    """No event of the awaited type came before the wait's timeout."""


class StepError(WorkflowError):
    """A step's failure whose own class can't be found in this process: `type` names it."""

    def __init__(self, message: str = "", type: str = "") -> None:
        super().__init__(message)
        self.type = type


class StepDefinitionError(WorkflowError, TypeError):
    """A step is declared or called in a way that can't work: an unknown parameter, a bad name, a bad config."""


class StepValueError(WorkflowError, TypeError):
    """A value that can't be kept as JSON: a step's result, an argument, a workflow's output."""


class RunRestrictionError(WorkflowError, RuntimeError):
    """`run` did what only a step may do: a socket, a thread, a subprocess."""


class WorkflowStalledError(WorkflowError, RuntimeError):
    """`run` waits for nothing that can come, or spins without waiting for anything."""


class WorkflowClosedError(WorkflowError, RuntimeError):
    """A step was asked for while the instance is being closed."""


class ChildFailedError(WorkflowError):
    """An instance that this one created, and whose result it awaited, ended without one.

    `status` is "errored" or "terminated"; `type` and `text` are what it failed with, empty for a terminated one.
    """

    def __init__(self, binding: str, id: str, status: str, type: str = "", text: str = "") -> None:
        super().__init__(f"{binding} {id!r} {status}" + (f": {type}: {text}" if type else ""))
        self.binding = binding
        self.id = id
        self.status = status
        self.type = type
        self.text = text


class WorkflowTerminatedError(WorkflowError):
    """What rollback handlers get as `error` when a call ended the instance."""


class DeterminismError(WorkflowError):
    """Replaying the journal, the code asked for something else than it did before."""


class SandboxDiedError(WorkflowError):
    """The instance ended what it ran in, again and again: its code never meets this, its error names it."""


class NodeDiedError(WorkflowError):
    """The server died again and again while the instance was active: its code never meets this, its error names it."""


class InstanceFailedError(StepwellError):
    """The instance whose result was waited for ended without one.

    `status` is "errored" or "terminated"; `type` the class that `run` raised, `message` and `traceback` what it said,
    all empty for a terminated one. It is the tenant's own text: to be shown, never parsed.
    """

    def __init__(self, name: str, status: str, type: str = "", message: str = "", traceback: str = "") -> None:
        super().__init__(f"{name} {status}" + (f": {type}: {message}" if type else ""))
        self.name = name
        self.status = status
        self.type = type
        self.message = message
        self.traceback = traceback


class ApiError(StepwellError):
    """A refused or failed call.

    `metadata` has what a program may want of the message: names, limits, values seen; all text.
    """

    reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False
    committed: ClassVar[Committed] = "unknown"
    retry_delay_s: float | None = None
    """After how many seconds the server would have the same call again, where it named a delay."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class InternalError(ApiError):
    """A fault of ours: the message has a correlation id and nothing else; the operator's log has the rest."""


class InvalidArgumentError(ApiError):
    """The request can never work as it stands."""

    reason = "INVALID_ARGUMENT"
    committed = "no"


class UnauthenticatedError(ApiError):
    """No token, or one that is not known."""

    reason = "UNAUTHENTICATED"
    committed: ClassVar[Committed] = "no"


class TokenRevokedError(UnauthenticatedError):
    """The call's token was revoked while the call was served, and the call ended there."""

    reason = "TOKEN_REVOKED"
    committed = "unknown"


class PermissionDeniedError(ApiError):
    """The token may not do this; what it may not see is refused in the same words as what does not exist."""

    reason = "PERMISSION_DENIED"
    committed = "no"


class NotFoundError(ApiError):
    """The named thing does not exist."""

    reason = "NOT_FOUND"
    committed = "no"


class AlreadyExistsError(ApiError):
    """The id is taken."""

    reason = "ALREADY_EXISTS"
    committed = "no"


class WrongStateError(ApiError):
    """The named thing is not in a state that allows this, such as an event for an instance that has ended."""

    reason = "WRONG_STATE"
    committed = "no"


class NotWaitingError(WrongStateError):
    """The event was for an instance that waits for its type, and this one does not now; nothing was kept."""

    reason = "NOT_WAITING"


class ReplayMismatchError(ApiError):
    """The version's code does not do what the instance's journal says: metadata has position, expected and got."""

    reason = "REPLAY_MISMATCH"
    committed = "no"


class BundleRefusedError(ApiError):
    """The bundle's files, manifest or code can't become a version; the message says which file and why."""

    reason = "BUNDLE_REFUSED"
    committed = "no"


class LimitExceededError(ApiError):
    """Over a named limit: metadata has limit, value and seen."""

    reason = "LIMIT_EXCEEDED"
    committed = "no"


class RateLimitedError(LimitExceededError):
    """Too many calls of this kind in the last moment: the same call is welcome again shortly."""

    reason = "RATE_LIMITED"
    retryable = True


class ConflictError(ApiError):
    """Somebody changed the same record at the same time; read it again and retry."""

    reason = "CONFLICT"
    retryable = True
    committed = "no"


class UnavailableError(ApiError):
    """Not now: the server starts, stops, or does not own this instance at the moment."""

    reason = "UNAVAILABLE"
    retryable = True


class SandboxUnavailableError(ApiError):
    """No sandbox could be started; the metadata's correlation id leads to the operator's log."""

    reason = "SANDBOX_UNAVAILABLE"
    retryable = True
    committed = "no"


class DeadlineExceededError(ApiError):
    """The call's deadline passed; its effect is unknown."""

    reason = "DEADLINE_EXCEEDED"
    retryable = True
