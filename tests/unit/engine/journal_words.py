"""What a journal says, read off its records by rules as plain as the guarantees: the fold is held against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stepwell.engine import records as r
from stepwell.engine.actions import TERMINATE, Completion
from stepwell.engine.family import is_child
from stepwell.engine.instance import Phase
from tests.unit.engine.lives import DueTimes

Ending = r.StepCompleted | r.StepFailed | r.SleepFired | r.WaitTimedOut | r.EventMatched | r.StepCancelled
"""Of a key."""


def due_by(records: Iterable[r.Record]) -> DueTimes:
    """When each open key is due: as it was first said, later by what the key has seen of pauses that are over."""
    due: DueTimes = {}
    asked_in_pause: dict[r.StepKey, int] = {}
    paused_at = grace = 0
    for record in records:
        if isinstance(record, r.RollbackBegun) or getattr(record, "key", r.CANCEL).kind == "rollback":
            due.pop(r.CANCEL, None)  # the grace is for `run`
        match record:
            case r.SleepStarted() | r.WaitStarted():
                due[record.key], asked_in_pause[record.key] = record.due, record.at
            case r.AttemptFailed():
                due[record.key], asked_in_pause[record.key] = record.retry_at, record.at
            case r.CancelRequested():
                due[r.CANCEL], asked_in_pause[r.CANCEL] = record.due, record.at
                grace = record.due - record.at
            case r.Paused():
                paused_at, asked_in_pause = record.at, {}
            case r.Resumed() | r.Restarted() | r.RollbackBegun():
                if isinstance(record, r.Resumed):
                    assert record.paused_for == max(0, record.at - paused_at)
                for key, then in due.items():
                    if then is not None:
                        seen = record.at - asked_in_pause.get(key, paused_at)
                        due[key] = then + min(max(seen, 0), record.paused_for)
                if isinstance(record, r.Restarted) and r.CANCEL in due:
                    due[r.CANCEL] = record.at + grace
            case r.Completed() | r.Errored() | r.Terminated():
                due.clear()
            case _ if isinstance(record, Ending):
                due.pop(record.key, None)
    return due


def expiry_by(records: Sequence[r.Record]) -> int | None:
    """When the instance is to be deleted, by what it was created with and by its newest end; None for never."""
    created = next(record for record in records if isinstance(record, r.Created))
    match [record for record in records if isinstance(record, r.Completed | r.Errored | r.Terminated | r.Restarted)]:
        case [*_, r.Completed() as ended] if (kept_ms := created.retention.success_ms) is not None:
            return ended.at + kept_ms
        case [*_, r.Errored() | r.Terminated() as ended] if (kept_ms := created.retention.error_ms) is not None:
            return ended.at + kept_ms
        case _:
            return None


def entered(records: Iterable[r.Record]) -> list[Completion]:
    """What enters `run`, in order. What a restart kept last enters when that came, as far as `run` can tell."""
    found: list[Completion] = []
    events: dict[int, r.EventReceived] = {}
    for record in records:
        if isinstance(record, r.EventReceived):
            events[record.number] = record
        if isinstance(record, r.Restarted) and found and len(found) == record.kept:
            found[-1] = found[-1]._replace(at=max(found[-1].at, record.at))
        completion = _completion(record, events)
        if completion is not None:
            found.append(completion)
    return found


def _completion(record: r.Record, events: dict[int, r.EventReceived]) -> Completion | None:
    match record:
        case r.StepCompleted():
            return Completion(record.key, record.at, "value", record.result)
        case r.StepFailed():
            return Completion(record.key, record.at, "error", failure=record.failure)
        case r.SleepFired():
            return Completion(record.key, record.at, "fired")
        case r.RollbackBegun():
            return Completion(TERMINATE, record.at, "terminate")
        case r.WaitTimedOut():
            return Completion(record.key, record.at, "timeout")
        case r.CancelRequested():
            return Completion(r.CANCEL, record.at, "cancelled", reason=record.reason)
        case r.EventMatched():
            event = events[record.number]
            return Completion(
                record.key, record.at, "event", event.payload, event_type=event.event_type, event_at=event.at
            )
    return None


def endings(records: Iterable[r.Record]) -> dict[r.StepKey, Ending]:
    """How each key ended. Nothing comes after an end but the cancelling of a wait that its event had crossed."""
    ended: dict[r.StepKey, Ending] = {}
    asked: set[r.StepKey] = set()
    for record in records:
        if isinstance(record, r.SleepStarted | r.WaitStarted):
            assert record.key not in asked, f"{record.key} was asked for twice"
            asked.add(record.key)
        elif isinstance(record, Ending):
            before = ended.get(record.key)
            crossed = isinstance(record, r.StepCancelled) and isinstance(before, r.EventMatched)
            assert before is None or crossed, f"{before}, and then {record}"
            ended[record.key] = record
    return ended


def phase_of(records: Iterable[r.Record]) -> Phase:
    """Where the instance is in its life. Raises AssertionError for a record that makes no sense there."""
    phase = Phase.ABSENT
    for record in records:
        may = {Phase.LIVE, Phase.PAUSED}
        after = phase
        match record:
            case r.Created():
                may, after = {Phase.ABSENT}, Phase.LIVE
            case r.Paused():
                may, after = {Phase.LIVE}, Phase.PAUSED
            case r.Resumed():
                may, after = {Phase.PAUSED}, Phase.LIVE
            case r.RollbackBegun():
                after = Phase.LIVE
            case r.Restarted():
                may, after = {Phase.LIVE, Phase.PAUSED, Phase.FINISHED}, Phase.LIVE
            case r.Completed() | r.Errored() | r.Terminated():
                after = Phase.FINISHED
            case r.Deleting():
                may, after = {Phase.FINISHED}, Phase.DELETING
            case r.EventReceived() if is_child(record.event_type):
                may = {Phase.LIVE, Phase.PAUSED, Phase.FINISHED}
            case r.ParentTold():
                may = {Phase.FINISHED}
            case r.Activated() | r.ActivationEnded() | r.SandboxDied():
                may = {Phase.LIVE}
        assert phase in may, f"{record} while it is {phase.value}"
        phase = after
    return phase


def kept(records: Iterable[r.Record]) -> dict[str, list[int]]:
    """The numbers of the events that no wait has, by type, oldest first. The oldest goes to the oldest wait."""
    events: dict[str, list[int]] = {}
    waits: dict[str, list[r.StepKey]] = {}
    types: dict[r.StepKey, str] = {}
    taken: dict[r.StepKey, int] = {}
    received = 0
    for record in records:
        match record:
            case r.EventReceived():
                assert record.number > received
                received = record.number
                events.setdefault(record.event_type, []).append(record.number)
            case r.WaitStarted():
                types[record.key] = record.event_type
                waits.setdefault(record.event_type, []).append(record.key)
            case r.EventMatched():
                kind = types[record.key]
                assert (record.key, record.number) == (waits[kind].pop(0), events[kind].pop(0))
                taken[record.key] = record.number
            case r.WaitTimedOut():
                waits[types[record.key]].remove(record.key)
            case r.StepCancelled() if record.key in taken:
                came_back = events[types[record.key]]
                came_back.append(taken.pop(record.key))
                came_back.sort()
            case r.StepCancelled() if record.key in types:
                waits[types[record.key]].remove(record.key)
    return {kind: numbers for kind, numbers in events.items() if numbers}


def untold(records: Iterable[r.Record]) -> bool:
    """Whether it has ended, and its parent may not know."""
    parent, due = None, False
    for record in records:
        match record:
            case r.Created():
                parent = record.parent
            case r.Completed() | r.Errored() | r.Terminated():
                due = parent is not None
            case r.ParentTold() | r.Restarted():
                due = False
    return due


def rests(records: Iterable[r.Record]) -> bool:
    """Whether it waits for time, an event or a call, and has nothing to do until then."""
    resting, types = True, dict[r.StepKey, str]()
    for record in records:
        match record:
            case r.ActivationEnded():
                resting = not record.runnable
            case r.Completed() | r.Errored() | r.Terminated():
                resting = True
            case r.Created() | r.Activated() | r.SandboxDied() | r.Resumed() | r.Restarted():
                resting = False
            case r.CancelRequested() | r.RollbackBegun():
                resting = False
            case r.WaitStarted():
                types[record.key] = record.event_type
            case r.EventReceived() if record.event_type in types.values():
                resting = False
            case r.StepCompleted() | r.StepFailed() | r.SleepFired() | r.WaitTimedOut() | r.EventMatched():
                resting = False
                types.pop(record.key, None)
            case r.StepCancelled():
                types.pop(record.key, None)
    return resting


def without_progress(records: Sequence[r.Record]) -> tuple[int, int]:
    """Activations since anything was recorded but what calls, time and moves leave, and deaths of sandboxes."""
    begun, deaths, live = 0, 0, False
    for record in records:
        match record:
            case r.EventReceived() | r.EventMatched() | r.SleepFired() | r.WaitTimedOut():
                pass
            case r.CancelRequested() | r.NothingToDo() | r.RollbackBegun():
                pass
            case r.Activated():
                begun, live = begun + 1, True
            case r.SandboxDied():
                deaths += 1
            case r.ActivationEnded(runnable=True):
                begun, live = begun - live, False
            case _:
                begun, deaths, live = 0, 0, False
    return begun, deaths
