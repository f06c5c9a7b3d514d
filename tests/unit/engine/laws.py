"""What holds in every life of an instance, whatever happens in it. Each law looks at one moment and what came of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Final, assert_never

from stepwell.engine import events as e
from stepwell.engine import records as r
from stepwell.engine.actions import Activate, Append, TellCompletion, TellStart, WakeNow
from stepwell.engine.instance import IllegalTransition, Instance, Phase, Step
from stepwell.engine.received import received_by
from stepwell.errors import InvalidArgumentError, LimitExceededError, WrongStateError
from tests.unit.engine.driven import appended
from tests.unit.engine.journal_words import (
    Ending,
    due_by,
    endings,
    entered,
    expiry_by,
    kept,
    phase_of,
    untold,
    without_progress,
)
from tests.unit.engine.landmarks import NEVER_REFUSED
from tests.unit.engine.lives import Life, Moment, aside, due_times
from tests.unit.engine.restart_words import what_counts
from tests.unit.engine.restarts import check_not_lost, check_start

NOT_IN_THE_JOURNAL: Final = frozenset({"live", "retry_due"})
"""What only the present activation knows, and what a tick finds again."""

MADE_FROM_OPEN: Final = frozenset({"open", "deadlines", "moved"})
"""Deadlines move when they are asked for next: `open` is compared as it will be then, and the other two, which only
find the earliest of it, by what they find."""

_FOLDED = [each.name for each in fields(Instance) if each.name not in NOT_IN_THE_JOURNAL | MADE_FROM_OPEN]

_Called = (
    r.EventReceived
    | r.Paused
    | r.Resumed
    | r.Restarted
    | r.CancelRequested
    | r.RollbackBegun
    | r.Migrated
    | r.NothingToDo
    | r.Terminated
)
_Calls = (
    e.EventSent
    | e.PauseRequested
    | e.ResumeRequested
    | e.RestartRequested
    | e.CancelInstanceRequested
    | e.MigrateRequested
    | e.TerminateRequested
)
_BehindAWake = (
    r.Created
    | r.EventReceived
    | r.Resumed
    | r.Restarted
    | r.CancelRequested
    | r.RollbackBegun
    | r.Terminated
    | r.Deleting
)
"""What makes an instance runnable, by a call: its wake is durable first. After a rollback it is `run` that ends."""

_GuestSays = (
    e.StepStarted
    | e.StepSucceeded
    | e.StepAttemptFailed
    | e.SleepAsked
    | e.WaitAsked
    | e.KeyCancelled
    | e.GuestIdle
    | e.GuestQuiet
    | e.RunReturned
    | e.RunRaised
    | e.ReplayMismatched
)
_REFUSALS: Final[dict[type[e.Event], tuple[type[Exception], ...]]] = {
    e.EventSent: (WrongStateError, InvalidArgumentError, LimitExceededError),
    e.PauseRequested: (WrongStateError, InvalidArgumentError),
    e.ResumeRequested: (WrongStateError, InvalidArgumentError),
    e.RestartRequested: (WrongStateError, InvalidArgumentError, LimitExceededError),
    e.CancelInstanceRequested: (WrongStateError, InvalidArgumentError),
    e.ChildAsked: (WrongStateError, LimitExceededError),
    e.MigrateRequested: (WrongStateError, InvalidArgumentError),
    e.TerminateRequested: (WrongStateError, InvalidArgumentError),
    e.DeleteRequested: (WrongStateError,),
    **dict.fromkeys(NEVER_REFUSED, ()),
}
"""By what a call may be refused; all others by IllegalTransition, a fault of the guest's or the node's."""


def memory_is_what_the_journal_says(life: Life, moment: Moment) -> None:
    """A replay of all records gives the instance as it is, and what the guest heard is what a replay would tell it."""
    instance, replayed = life.instance, life.replayed()
    for name in _FOLDED:
        ours, theirs = _ordered(getattr(instance, name)), _ordered(getattr(replayed, name))
        assert ours == theirs, f"{name}: {ours} in memory, {theirs} in the journal"
    assert _open(instance) == _open(replayed)
    assert (replayed.live, replayed.retry_due) == (None, False)
    live = instance.live
    if live is None:
        due, then = aside(instance).next_due(), aside(replayed).next_due()
        assert due == then or instance.retry_due, f"due {due} in memory, {then} by the journal"
        return
    assert life.heard == instance.completions[: live.told]
    assert [completion for completion, _ in live.withheld] == instance.completions[live.told :]
    if instance.phase is Phase.PAUSED:
        assert not any(isinstance(action, TellCompletion) for action in moment.actions), "it is held, and told more"
    else:
        assert not live.withheld
    for start in moment.actions:
        if isinstance(start, TellStart):
            opened = tuple(key for key in due_by(what_counts(life.newest())) if key != r.CANCEL)
            assert start == TellStart(len(instance.completions), opened)


def what_is_recorded_stays(life: Life, moment: Moment) -> None:
    """A committed result never changes; a key ends once; a call happens once; each event is kept, or one wait's."""
    instance, records = life.instance, life.newest()
    counting = what_counts(records)
    assert instance.phase is phase_of(records)
    assert (instance.paused is not None) == (instance.phase is Phase.PAUSED)
    assert (instance.activations, instance.sandbox_deaths) == without_progress(records)
    assert instance.completions == entered(counting)
    for key, ended in endings(counting).items():
        assert key not in instance.open
        _check_step(instance.steps[key], ended)
    buffered = {kind: [event.number for event in queue] for kind, queue in instance.events.items() if queue}
    assert buffered == kept(counting)
    assert instance.buffered_events == sum(map(len, buffered.values()))
    assert instance.buffered_bytes == sum(
        r.size_of(event.payload) for queue in instance.events.values() for event in queue
    )
    waits = {kind: list(keys) for kind, keys in instance.waits.items() if keys}
    waiting = {key for keys in waits.values() for key in keys}
    assert waiting == {key for key in instance.open if key.kind == "waitForEvent"}
    if instance.live is not None or not instance.runnable:
        assert not waits.keys() & buffered.keys(), "an event lies beside a wait for it"
    _check_received(records, counting, instance)
    _check_repeated(life, moment)
    _check_known(counting, life, moment)


def it_runs_the_version_that_it_came_to_last(life: Life, moment: Moment) -> None:
    """What it was created with, or migrated to; no guest of another version goes on with it."""
    instance = life.instance
    versions = [(each.digest, each.entrypoint) for each in life.newest() if isinstance(each, r.Created | r.Migrated)]
    if versions:
        assert (instance.digest, instance.entrypoint) == versions[-1]
    if len(versions) > 1 and any(isinstance(each, r.Migrated) for each in appended(moment.actions)):
        assert versions[-1] == versions[-2] or instance.live is None


def what_has_ended_is_kept_for_as_long_as_it_was_said(life: Life, moment: Moment) -> None:
    """No longer, once the clock says so, and no shorter, unless a call deletes it; a restart begins that anew."""
    instance, records = life.instance, life.newest()
    if not records:
        return
    has_ended = instance.phase in (Phase.FINISHED, Phase.DELETING)
    assert instance.expires_at == (expiry_by(records) if has_ended else None)
    if isinstance(moment.event, e.Tick) and moment.before.phase is Phase.FINISHED:
        expires_at = expiry_by(records)
        has_expired = expires_at is not None and expires_at <= moment.event.at and not untold(records)
        assert (instance.phase is Phase.DELETING) == has_expired
    elif any(isinstance(record, r.Deleting) for record in appended(moment.actions)):
        assert isinstance(moment.event, e.DeleteRequested)


def a_refusal_changes_nothing(life: Life, moment: Moment) -> None:
    """What is refused leaves all as it was, to the last entry; what is illegal is refused; what is late does nothing;
    nothing is raised but the errors that whoever said it knows."""
    if moment.event is None:
        return
    if moment.refusal is None:
        assert not _is_illegal(moment), f"{moment.event} was carried out"
        assert not moment.actions or not _is_late(moment), f"{moment.event} did {moment.actions}"
        return
    assert repr(life.instance) == moment.before.text
    assert len(life.records) == moment.before.records
    expected = _REFUSALS.get(type(moment.event), (IllegalTransition,))
    assert isinstance(moment.refusal, expected), f"{moment.event} was refused by {moment.refusal!r}"


def no_instance_is_lost(life: Life, moment: Moment) -> None:
    """The records up to each that was just written are an instance that goes on; a wake leads to it; who hibernates has
    nothing to do, and who has is activated."""
    instance = life.instance
    for count in range(moment.before.records, len(life.records)):
        check_start(life.records[: count + 1], life.at)
    check_not_lost(aside(instance))
    woken = False
    for action in moment.actions:
        woken |= isinstance(action, WakeNow)
        if isinstance(action, Append):
            needed = _BehindAWake if instance.parent is None else _BehindAWake | r.Completed | r.Errored
            by_run = instance.parent is None and isinstance(moment.event, e.RunRaised)
            assert woken or by_run or not isinstance(action.record, needed), f"{action.record} without a wake"
            if isinstance(action.record, r.ActivationEnded) and not action.record.runnable:
                _check_hibernation(life, moment, action.record)
    # Whoever gives it up leaves it to another; what had nothing to do found it as it was, on its way perhaps.
    left = isinstance(moment.event, e.DrainRequested) or any(
        isinstance(record, r.NothingToDo | r.ChildAdded) for record in appended(moment.actions)
    )
    if moment.actions and not left and instance.phase is Phase.LIVE and instance.live is None and instance.runnable:
        assert Activate() in moment.actions


def all_is_bounded(life: Life, moment: Moment) -> None:
    """No more is kept than the limits say, and no event is taken that would end the instance."""
    instance, limits = life.instance, life.limits
    running = instance.live.running if instance.live is not None else {}
    timers = sum(key.kind == "timer" for key in instance.steps)
    rollbacks = sum(key.kind == "rollback" for key in instance.steps)
    assert (instance.timers, instance.rollbacks) == (timers, rollbacks)
    steps = len(instance.steps) - timers - rollbacks
    assert max(len(running.keys() - instance.steps.keys()), timers, rollbacks, steps) <= limits.steps_max
    migrated = any(isinstance(record, r.Migrated) for record in life.newest())  # it may have more than it may now
    assert migrated or steps <= (instance.limits.steps or limits.steps_max)
    assert len(instance.children) <= limits.children_max
    many, large = instance.records > limits.records_max, instance.stored_bytes > limits.instance_bytes_max
    if moment.actions and instance.phase in (Phase.LIVE, Phase.PAUSED):
        assert not many
        assert not large
    if moment.actions and isinstance(moment.event, e.EventSent):
        if moment.event.only_if_waiting:
            assert instance.received[-1] not in instance.events[moment.event.event_type], "kept, and not waited for"
        assert not many
        assert not large


# -------------------------------------------------------------------- what they look at
def _ordered(value: object) -> object:
    """Dicts with their order, which `==` does not look at."""
    return [(key, _ordered(each)) for key, each in value.items()] if isinstance(value, dict) else value


def _open(instance: Instance) -> list[object]:
    due = due_times(instance)
    return [(key, ask.at, due[key], ask.event_type) for key, ask in instance.open.items()]


def _check_step(step: Step, ended: Ending) -> None:
    """It is shown as it ended."""
    assert step.ended_at == ended.at
    shown = (step.status, step.output, step.failure)
    match ended:
        case r.StepCompleted():
            assert (*shown, step.attempts) == ("complete", ended.result, None, ended.attempt)
        case r.StepFailed():
            assert (*shown, step.attempts) == ("errored", None, ended.failure, ended.attempt)
        case r.EventMatched():
            assert step.event is not None
            assert (*shown, step.event.number) == ("complete", step.event.payload, None, ended.number)
        case r.SleepFired():
            assert shown == ("complete", None, None)
        case r.WaitTimedOut():
            assert shown == ("errored", None, None)
        case r.StepCancelled():
            assert (step.status, step.output, step.event) == ("cancelled", None, None)
        case _:
            assert_never(ended)


def _check_repeated(life: Life, moment: Moment) -> None:
    """A call that comes again is answered and does nothing; its request_id names no other."""
    records, event = life.newest(), moment.event
    calls = {record.request_id: record for record in records if isinstance(record, _Called) and record.request_id}
    assert len(calls) == sum(isinstance(record, _Called) and bool(record.request_id) for record in records)
    if not isinstance(event, _Calls):
        return
    call = calls.get(event.request_id)
    if call is None or call in appended(moment.actions):
        return
    match event, call:
        case e.EventSent(), r.EventReceived():
            same = _is_same(event, call) and event.event_id == call.event_id
        case (e.PauseRequested(), r.Paused()) | (e.ResumeRequested(), r.Resumed()):
            same = True
        case e.RestartRequested(), r.Restarted():
            same = event.step == call.step
        case e.TerminateRequested(), r.RollbackBegun():
            same = event.rollback
        case e.MigrateRequested(), r.Migrated():
            same = event.digest == call.digest
        case (e.PauseRequested() | e.ResumeRequested(), r.NothingToDo()):
            same = isinstance(event, e.ResumeRequested) is call.resume and not call.cancel
        case e.CancelInstanceRequested(), r.NothingToDo():
            same = call.cancel
        case e.CancelInstanceRequested(), r.CancelRequested():
            same = event.reason == call.reason
        case _:
            same = isinstance(event, e.TerminateRequested) and isinstance(call, r.Terminated)
    assert not moment.actions
    assert moment.refusal is None if same else isinstance(moment.refusal, InvalidArgumentError)


def _check_received(records: list[r.Record], counting: list[r.Record], instance: Instance) -> None:
    """Every event is kept, taken by a wait, or dead: its instance has ended, or a restart forgot it."""
    numbers = [record.number for record in records if isinstance(record, r.EventReceived)]
    received = received_by(instance)
    assert [each.event.number for each in received] == numbers
    has_ended = instance.outcome is not None
    kept_now = {number for each in kept(counting).values() for number in each}
    takers = {ended.number: key for key, ended in endings(counting).items() if isinstance(ended, r.EventMatched)}
    for each in received:
        state = "taken" if each.event.number in takers else "dead"
        if each.event.number in kept_now and not has_ended:
            state = "buffered"
        assert (each.state, each.step) == (state, takers.get(each.event.number))
    assert instance.dead_events == sum(each.state == "dead" for each in received)


def _check_known(counting: list[r.Record], life: Life, moment: Moment) -> None:
    """An event comes once by its own id, whatever call brings it, until a restart forgets it."""
    received = [record for record in counting if isinstance(record, r.EventReceived) and record.event_id]
    by_id = {record.event_id: record for record in received}
    assert len(by_id) == len(received)
    assert life.instance.event_ids == by_id
    event = moment.event
    if not isinstance(event, e.EventSent) or event.request_id:
        return
    before = by_id.get(event.event_id)
    if before is None or before in appended(moment.actions):
        return
    assert not moment.actions
    assert moment.refusal is None if _is_same(event, before) else isinstance(moment.refusal, InvalidArgumentError)


def _is_same(event: e.EventSent, before: r.EventReceived) -> bool:
    return (event.event_type, event.payload) == (before.event_type, before.payload)


def _is_illegal(moment: Moment) -> bool:
    before = moment.before
    match moment.event:
        case e.CreateRequested():
            return before.phase is not Phase.ABSENT
        case e.ActivationStarted():
            return before.live is not None
        case e.DeleteRequested():
            return before.phase not in (Phase.FINISHED, Phase.DELETING)
        case _:
            return isinstance(moment.event, _GuestSays) and before.live is None


def _is_late(moment: Moment) -> bool:
    """The guest had not heard of the newest pause, or completion, when it said so."""
    event, live = moment.event, moment.before.live
    if isinstance(event, e.GuestQuiet):
        return live is not None and event.hold < live.holds
    return isinstance(event, e.GuestIdle) and live is not None and event.entered != live.told


def _check_hibernation(life: Life, moment: Moment, ended: r.ActivationEnded) -> None:
    """The guest has all that there is, runs nothing, and nothing is due soon."""
    live = moment.before.live
    assert live is not None
    assert not live.running
    assert live.told == len(life.instance.completions)
    soonest = min((due for due in moment.before.due.values() if due is not None), default=None)
    assert soonest is None or soonest - ended.at >= life.limits.hibernate_after_ms
