"""The fold: what each record makes of an instance's state.

The same function runs when a record is written, when a journal is read back, and when a history is shown, so they can't
disagree. It takes records as facts: whether one may be written is for the transitions to decide, before.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, assert_never

from stepwell.engine.actions import TERMINATE, Completion
from stepwell.engine.forgetting import forget, go_on_from
from stepwell.engine.instance import Cancelling, IllegalTransition, Instance, Open, Phase, Step, StepStatus
from stepwell.engine.records import (
    CANCEL,
    Activated,
    ActivationEnded,
    AttemptFailed,
    CancelRequested,
    ChildAdded,
    Completed,
    Created,
    Deleting,
    Errored,
    EventMatched,
    EventReceived,
    Migrated,
    NothingToDo,
    ParentTold,
    Paused,
    Record,
    Restarted,
    Resumed,
    RollbackBegun,
    RolledBack,
    SandboxDied,
    SleepFired,
    SleepStarted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepKey,
    Terminated,
    WaitStarted,
    WaitTimedOut,
    size_of,
)

_NO_PROGRESS: Final = (
    Activated, SandboxDied, EventReceived, EventMatched, CancelRequested, NothingToDo, RollbackBegun, SleepFired,
    WaitTimedOut,
)  # fmt: skip
"""What is done to an instance by those who run it, by callers and by time, and not by its code: whoever calls or sleeps
often must not keep alive what dies of each activation."""

RECORD_BYTES: Final = 128
"""What a record takes on a disk beside its payload or failure: its key, its times and its share of a row, roughly."""


def replay(records: Iterable[Record]) -> Instance:
    """The state that these records amount to; of an id that was deleted and taken again, the newest instance's."""
    instance = Instance()
    for record in records:
        if isinstance(record, Created):
            instance = Instance()
        apply(instance, record)
    return instance


def apply(instance: Instance, record: Record) -> None:
    """Change the state in place, by one record."""
    instance.records += 1
    instance.stored_bytes += RECORD_BYTES
    if isinstance(record, ActivationEnded) and record.runnable:
        # It was ended in good order, by a node that lets go: no death, and no progress either.
        instance.activations = max(0, instance.activations - 1)
    elif not isinstance(record, _NO_PROGRESS):
        instance.activations = instance.sandbox_deaths = 0
    match record:
        case StepCompleted():
            _end_step(instance, record.key, record.attempt, record.started_at, record.at).output = record.result
            instance.hold(record.result)
            _complete(instance, Completion(record.key, record.at, "value", record.result))
        case SleepStarted():
            if record.key.kind == "timer":
                instance.timers += 1
            _open(instance, record.key, Open(record.at, record.due))
        case SleepFired():
            _close(instance, record.key, record.at)
            _complete(instance, Completion(record.key, record.at, "fired"))
        case WaitStarted():
            _open(instance, record.key, Open(record.at, record.due, record.event_type))
            instance.waits.setdefault(record.event_type, {})[record.key] = None
        case WaitTimedOut():
            _close(instance, record.key, record.at).status = "errored"
            _complete(instance, Completion(record.key, record.at, "timeout"))
        case EventReceived():
            instance.events.setdefault(record.event_type, deque()).append(record)
            _buffer(instance, 1, record)
            instance.events_received = record.number
            instance.received.append(record)
            instance.hold(record.payload)
            if record.event_id:
                instance.event_ids[record.event_id] = record
            _remember(instance, record.request_id, record)
            if instance.waits.get(record.event_type):
                # Its match is the next record, or was lost with the node: then the next activation makes it.
                instance.runnable = True
        case EventMatched():
            _match(instance, record)
        case StepCancelled():
            _cancel(instance, record)
        case AttemptFailed():
            step = instance.steps.get(record.key)
            if step is None:
                step = _new_step(instance, record.key, "retrying", record.attempt, record.started_at)
            step.status, step.attempts, step.failure = "retrying", record.attempt, record.failure
            instance.hold_failure(record.failure)
            _await(instance, record.key, Open(record.at, record.retry_at))
        case StepFailed():
            step = _end_step(instance, record.key, record.attempt, record.started_at, record.at)
            step.status, step.failure = "errored", record.failure
            instance.hold_failure(record.failure)
            _complete(instance, Completion(record.key, record.at, "error", failure=record.failure))
        case Activated():
            instance.activations += 1
            instance.runnable = True
            instance.activation_trace = record.trace or instance.activation_trace
            if instance.started_at is None:
                instance.started_at = record.at
            if instance.clock_at is None:
                instance.clock_at = record.at
        case ActivationEnded():
            instance.runnable = record.runnable
        case SandboxDied():
            instance.sandbox_deaths += 1
            instance.runnable = True
        case Created():
            _create(instance, record)
        case Paused():
            instance.phase, instance.paused = Phase.PAUSED, record
            _remember(instance, record.request_id, record)
        case Resumed():
            _resume(instance, record.at, record.paused_for)
            _remember(instance, record.request_id, record)
        case Restarted():
            forget(instance, record)
            _resume(instance, record.at, record.paused_for)
            if instance.cancelling is not None:
                grace = instance.cancelling.request.due - instance.cancelling.request.at
                _await(instance, CANCEL, Open(record.at, record.at + grace))
            _remember(instance, record.request_id, record)
        case CancelRequested():
            _cancel_run(instance, record)
            _remember(instance, record.request_id, record)
        case RollbackBegun():
            _begin_rollback(instance, record)
            _remember(instance, record.request_id, record)
        case Migrated():
            instance.digest, instance.entrypoint, instance.limits = record.digest, record.entrypoint, record.limits
            _remember(instance, record.request_id, record)
        case NothingToDo():
            _remember(instance, record.request_id, record)
        case ChildAdded():
            instance.children[record.child] = None
        case ParentTold():
            instance.untold = False
        case Completed():
            instance.outcome = record
            instance.hold(record.output)
            _finish(instance, record.at)
        case Errored():
            instance.outcome = record
            instance.stored_bytes += record.failure.size_bytes
            _hold_rollback(instance, record.rolled_back)
            _finish(instance, record.at)
        case Terminated():
            instance.outcome = record
            _hold_rollback(instance, record.rolled_back)
            _finish(instance, record.at)
            _remember(instance, record.request_id, record)
        case Deleting():
            instance.phase, instance.uid, instance.created_at = Phase.DELETING, record.uid, record.created_at
        case _:
            assert_never(record)


def _create(instance: Instance, record: Created) -> None:
    if instance.phase is not Phase.ABSENT:
        raise IllegalTransition("created twice")
    instance.uid, instance.digest, instance.entrypoint = record.uid, record.digest, record.entrypoint
    instance.params, instance.request_id, instance.created_at = record.params, record.request_id, record.at
    instance.trace, instance.parent, instance.depth = record.trace, record.parent, record.depth
    instance.schedule = record.schedule
    instance.retention, instance.limits = record.retention, record.limits
    instance.hold(record.params)
    instance.phase, instance.runnable = Phase.LIVE, True
    if record.origin is not None:
        for copied in record.origin.records:
            apply(instance, copied)
        instance.origin, instance.clock_at = replace(record.origin, records=()), record.origin.started_at
        go_on_from(instance, record.at)


def _finish(instance: Instance, at: int) -> None:
    instance.phase, instance.ended_at, instance.runnable, instance.paused = Phase.FINISHED, at, False, None
    instance.untold = instance.parent is not None
    for key in instance.open:
        step = instance.steps.get(key)
        if step is not None:
            step.status, step.ended_at = "cancelled", at
    instance.open.clear()
    instance.waits.clear()
    instance.deadlines.clear()


def _resume(instance: Instance, at: int, paused_for: int) -> None:
    """Deadlines move by the part of the pause that they have seen.

    Not here, where each of many pauses would cost as much as there are deadlines, but when they are asked for next.
    """
    for key in instance.opened_paused:
        ask = instance.open.get(key)
        if ask is not None:
            ask.pauses_ms += paused_for - max(0, min(paused_for, at - ask.at))
    instance.opened_paused.clear()
    instance.pauses_ms += paused_for
    instance.moved = True
    instance.phase, instance.paused, instance.runnable = Phase.LIVE, None, True


def _await(instance: Instance, key: StepKey, ask: Open) -> None:
    ask.pauses_ms = instance.pauses_ms
    instance.open[key] = ask
    if ask.due is not None:
        heapq.heappush(instance.deadlines, (ask.due, key))
    if instance.phase is Phase.PAUSED:
        instance.opened_paused.append(key)


def _open(instance: Instance, key: StepKey, ask: Open) -> None:
    _await(instance, key, ask)
    instance.steps[key] = Step(key, "waiting", 1, ask.at, began_after=instance.completed)


def _close(instance: Instance, key: StepKey, at: int) -> Step:
    ask = instance.open.pop(key)
    if ask.event_type:
        instance.waits[ask.event_type].pop(key, None)
    step = instance.steps[key]
    step.status, step.ended_at = "complete", at
    return step


def _end_step(instance: Instance, key: StepKey, attempt: int, started_at: int, at: int) -> Step:
    step = instance.steps.get(key)
    if step is None:
        step = _new_step(instance, key, "complete", attempt, started_at)
    else:
        instance.open.pop(key, None)
    step.status, step.attempts, step.ended_at, step.failure = "complete", attempt, at, None
    return step


def _new_step(instance: Instance, key: StepKey, status: StepStatus, attempt: int, started_at: int) -> Step:
    step = instance.steps[key] = Step(key, status, attempt, started_at, began_after=instance.completed)
    if key.kind == "rollback":
        instance.rollbacks += 1
        _note_rollback(instance)
    return step


def _begin_rollback(instance: Instance, record: RollbackBegun) -> None:
    """Its completion is no step's."""
    _resume(instance, record.at, record.paused_for)
    _note_rollback(instance)
    instance.terminating = record
    instance.completions.append(Completion(TERMINATE, record.at, "terminate"))
    instance.completed += 1


def _note_rollback(instance: Instance) -> None:
    """`run` is over: no grace cuts its rollback off."""
    instance.open.pop(CANCEL, None)
    if instance.rollback_from is None:
        instance.rollback_from = (instance.completed, instance.events_received)


def _hold_rollback(instance: Instance, rolled_back: RolledBack | None) -> None:
    if rolled_back is not None and rolled_back.failure is not None:
        instance.stored_bytes += rolled_back.failure.size_bytes


def _complete(instance: Instance, completion: Completion) -> None:
    step = instance.steps[completion.key]
    step.completion, step.events_before = instance.completed, instance.events_received
    instance.completions.append(completion)
    instance.completed += 1
    instance.runnable = True


def _cancel_run(instance: Instance, record: CancelRequested) -> None:
    instance.cancelling = Cancelling(record, instance.completed, instance.events_received)
    instance.completions.append(Completion(CANCEL, record.at, "cancelled", reason=record.reason))
    instance.completed += 1
    instance.runnable = True
    _await(instance, CANCEL, Open(record.at, record.due))


def _match(instance: Instance, record: EventMatched) -> None:
    ask = instance.open[record.key]
    queue = instance.events[ask.event_type]
    event = queue.popleft()
    if event.number != record.number:
        raise IllegalTransition(f"event {record.number} was matched, {event.number} was the first of its type")
    _buffer(instance, -1, event)
    step = _close(instance, record.key, record.at)
    step.event, step.output = event, event.payload
    _complete(
        instance,
        Completion(record.key, record.at, "event", event.payload, event_type=event.event_type, event_at=event.at),
    )


def _cancel(instance: Instance, record: StepCancelled) -> None:
    step = instance.steps.get(record.key)
    if step is None:
        step = instance.steps[record.key] = Step(record.key, "cancelled", 1, record.at)
    if record.key in instance.open:
        _close(instance, record.key, record.at)
    elif step.event is not None:
        _put_back(instance.events.setdefault(step.event.event_type, deque()), step.event)
        _buffer(instance, 1, step.event)
        step.event = step.output = None
    step.status, step.ended_at = "cancelled", record.at


def _buffer(instance: Instance, count: int, event: EventReceived) -> None:
    instance.buffered_events += count
    instance.buffered_bytes += count * size_of(event.payload)


def _put_back(queue: deque[EventReceived], event: EventReceived) -> None:
    """To the front, but behind older ones that came back before it."""
    place = 0
    while place < len(queue) and queue[place].number < event.number:
        place += 1
    queue.insert(place, event)


def _remember(instance: Instance, request_id: str, record: Record) -> None:
    if request_id:
        instance.requests[request_id] = record
