"""What a journal holds as the frames that a guest is told of it, and a guest's errors as the journal keeps them."""

from __future__ import annotations

from data_plane.journal.store import InstanceKey
from loader import messages
from loader.messages import GuestError
from stepwell.engine.actions import Completion
from stepwell.engine.instance import Instance
from stepwell.engine.records import Failure


def about_instance(key: InstanceKey, instance: Instance, now: int) -> dict[str, object]:
    """What the first frame of an activation, or of a replay, says of the instance; `stepsMax` is null where its version
    says nothing."""
    about: dict[str, object] = {
        "id": key.instance,
        "uid": instance.uid,
        "workflow": key.workflow,
        "created": instance.event_at,
        "started": instance.event_at if instance.clock_at is None else instance.clock_at,
        "now": now,
        "stepsMax": instance.limits.steps,
    }
    if instance.schedule is not None:
        about["schedule"] = (instance.schedule.cron, instance.schedule.scheduled_at)
    return about


def completion_frame(act: int, completion: Completion, payload: bytes) -> bytes:
    """One completion, with its payload's bytes."""
    key = completion.key
    detail: object = None
    if completion.failure is not None:
        detail = error_from(completion.failure)
    elif completion.outcome == "event":
        detail = (completion.event_type, completion.event_at)
    elif completion.outcome == "cancelled":
        detail = completion.reason
    return messages.completion(act, key.kind, key.name, key.count, completion.at, completion.outcome, detail, payload)


def failure_from(error: GuestError) -> Failure:
    """A guest's words for an exception as the journal keeps them."""
    cause = failure_from(error.cause) if error.cause is not None else None
    return Failure(error.module, error.type, error.message, error.traceback, cause)


def error_from(failure: Failure) -> GuestError:
    """The way back: the guest rebuilds the exception from it."""
    cause = error_from(failure.cause) if failure.cause is not None else None
    return GuestError(failure.module, failure.type, failure.message, failure.traceback, cause)
