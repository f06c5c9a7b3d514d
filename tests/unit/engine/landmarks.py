"""What walks must have come by, or their laws were not put to the test where it matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from stepwell.engine import actions as a
from stepwell.engine import events as e
from stepwell.engine import records as r
from stepwell.engine.family import is_child
from stepwell.engine.instance import IllegalTransition, Phase
from stepwell.errors import InvalidArgumentError, LimitExceededError, NotWaitingError, WrongStateError
from tests.unit.engine.driven import appended
from tests.unit.engine.journal_words import kept
from tests.unit.engine.lives import Life, Moment
from tests.unit.engine.restart_words import what_counts

NEVER_REFUSED: Final = frozenset({e.Tick, e.GuestLost, e.DrainRequested, e.Suspended, e.ChildEnded, e.ParentHeard})
"""What the clock and the nodes themselves say."""

LANDMARKS: Final = frozenset(
    {
        "three bodies run at once",
        "a step succeeds at a later attempt",
        "retries run out",
        "an attempt runs past its timeout",
        "it hibernates",
        "a retry is due while it hibernates",
        "an event comes before its wait",
        "a wait is cancelled while its event is on its way, which is kept",
        "a wait is cancelled while its event is on its way, which goes to another",
        "a match is lost with the node and made again",
        "a pause comes while bodies run",
        "a step ends under a pause",
        "it is quiet, and the pause complete",
        "a resume tells what was withheld",
        "a resume moves a deadline by the whole pause",
        "a resume moves a deadline by a part of the pause",
        "it is terminated while bodies run",
        "it is cancelled while bodies run",
        "a child's end is matched",
        "a child's end comes after the parent's own",
        "a restart keeps a child's end",
        "its parent hears of its end",
        "it is cancelled before it ran",
        "it is cancelled while it is paused",
        "it lets the cancel out",
        "the grace of a cancel ends",
        "a restart keeps a cancel",
        "a restart forgets a cancel",
        "it is rolled back while bodies run",
        "it is rolled back out of a pause",
        "it is rolled back while it is cancelled",
        "it is cancelled while it is rolled back",
        "a handler runs",
        "it is restarted while it is rolled back",
        "it is restarted while bodies run",
        "it is restarted after its end",
        "it is restarted from the beginning",
        "it is restarted from a step, and keeps some",
        "a restart keeps what is still waited for",
        "a restart gives an event back",
        "a restart forgets an event",
        "it is migrated while bodies run",
        "it is migrated while it hibernates",
        "it is migrated while it is paused",
        "it is migrated to the version that it runs",
        "it expires once it is complete",
        "it expires once it errored or was terminated",
        "it expires after a restart",
        "it is restarted when it was about to expire",
        "sandboxes die until it fails",
        "nodes die until it is paused",
        "it grows until it fails",
        "an id is taken again, and old rows are still there",
        "a call comes twice",
        "an event comes twice",
        "the clock is set back",
    }
)


def everything() -> set[str]:
    """All landmarks; each kind of event, carried out and refused; each record; each error."""
    events, records = get_args(e.Event), get_args(r.Record)
    errors = (IllegalTransition, InvalidArgumentError, LimitExceededError, NotWaitingError, WrongStateError)
    return {
        *LANDMARKS,
        *(f"{kind.__name__} carried out" for kind in events),
        *(f"{kind.__name__} refused" for kind in events if kind not in NEVER_REFUSED),
        *(kind.__name__ for kind in (*records, *errors)),
    }


def passed(life: Life, moment: Moment) -> Iterator[str]:
    """What of everything this moment is."""
    if moment.event is None:
        return
    yield f"{type(moment.event).__name__} {'carried out' if moment.refusal is None else 'refused'}"
    if moment.refusal is not None:
        yield type(moment.refusal).__name__
        return
    records = appended(moment.actions)
    yield from (type(record).__name__ for record in records)
    yield from _of_an_event(moment, {type(said) for said in (*records, *moment.actions)})
    for record in records:
        yield from _of_a_record(moment, record)
    yield from _of_a_life(life, moment)


def _of_an_event(moment: Moment, kinds: set[type[object]]) -> Iterator[str]:
    """`kinds` of records and actions that came of it."""
    before = moment.before
    bodies = before.live is not None and before.live.running
    match moment.event:
        case e.WaitAsked() if r.EventMatched in kinds:
            yield "an event comes before its wait"
        case e.KeyCancelled(_, key) if key.kind == "waitForEvent" and key not in before.due and kinds:
            kept = r.EventMatched not in kinds
            yield f"a wait is cancelled while its event is on its way, which {'is kept' if kept else 'goes to another'}"
        case e.ActivationStarted() if r.EventMatched in kinds:
            yield "a match is lost with the node and made again"
        case e.GuestIdle() if r.ActivationEnded in kinds:
            yield "it hibernates"
        case e.GuestQuiet() if a.TellStop in kinds:
            yield "it is quiet, and the pause complete"
        case e.PauseRequested() if r.Paused in kinds and bodies:
            yield "a pause comes while bodies run"
        case e.ResumeRequested() if a.TellCompletion in kinds:
            yield "a resume tells what was withheld"
        case e.TerminateRequested() if r.RollbackBegun in kinds:
            if bodies:
                yield "it is rolled back while bodies run"
            if before.phase is Phase.PAUSED:
                yield "it is rolled back out of a pause"
            if r.CANCEL in before.due:
                yield "it is rolled back while it is cancelled"
        case e.CancelInstanceRequested() if before.rolls_back and r.NothingToDo in kinds:
            yield "it is cancelled while it is rolled back"
        case e.TerminateRequested() if bodies:
            yield "it is terminated while bodies run"
        case e.ChildEnded() if r.EventMatched in kinds:
            yield "a child's end is matched"
        case e.ChildEnded() if kinds and moment.before.phase is Phase.FINISHED:
            yield "a child's end comes after the parent's own"
        case e.ParentHeard() if kinds:
            yield "its parent hears of its end"
        case e.CancelInstanceRequested() if r.CancelRequested in kinds:
            yield from _of_a_cancel(moment, kinds, bodies=bool(bodies))
        case e.RunRaised() if r.Terminated in kinds and not before.rolls_back:
            yield "it lets the cancel out"
        case e.Tick() if r.Terminated in kinds:
            yield "the grace of a cancel ends"
        case e.MigrateRequested() if r.Migrated in kinds:
            yield from _of_a_migration(moment, bodies=bool(bodies))
        case e.RestartRequested(step=step) if r.Restarted in kinds:
            yield from _of_a_restart(moment, step, bodies=bool(bodies))
        case e.EventSent(request_id=str() as name) if name and not kinds:
            yield "a call comes twice"
        case e.EventSent(request_id="", event_id=str() as name) if name and not kinds:
            yield "an event comes twice"
        case e.Tick() if a.EndGuest in kinds:
            yield "an attempt runs past its timeout"
        case _:
            pass


def _of_a_cancel(moment: Moment, kinds: set[type[object]], *, bodies: bool) -> Iterator[str]:
    if bodies:
        yield "it is cancelled while bodies run"
    if r.Terminated in kinds:
        yield "it is cancelled before it ran"
    if moment.before.phase is Phase.PAUSED:
        yield "it is cancelled while it is paused"


def _of_a_migration(moment: Moment, *, bodies: bool) -> Iterator[str]:
    if a.TellStop in {type(action) for action in moment.actions} and bodies:
        yield "it is migrated while bodies run"
    if moment.before.phase is Phase.PAUSED:
        yield "it is migrated while it is paused"
    elif moment.before.live is None and a.Activate not in {type(action) for action in moment.actions}:
        yield "it is migrated while it hibernates"
    if moment.before.live is not None and a.TellStop not in {type(action) for action in moment.actions}:
        yield "it is migrated to the version that it runs"


def _of_a_restart(moment: Moment, step: r.StepKey | None, *, bodies: bool) -> Iterator[str]:
    before = moment.before
    if before.rolls_back:
        yield "it is restarted while it is rolled back"
    (restarted,) = (record for record in appended(moment.actions) if isinstance(record, r.Restarted))
    if bodies:
        yield "it is restarted while bodies run"
    if before.phase is Phase.FINISHED:
        yield "it is restarted after its end"
        if before.expires:
            yield "it is restarted when it was about to expire"
    if step is None:
        yield "it is restarted from the beginning"
    elif restarted.kept:
        yield "it is restarted from a step, and keeps some"


def _of_a_record(moment: Moment, record: r.Record) -> Iterator[str]:
    match record:
        case r.StepCompleted(key=r.StepKey(kind="rollback")):
            yield "a handler runs"
        case r.StepCompleted(attempt=attempt):
            if attempt >= 2:
                yield "a step succeeds at a later attempt"
            if moment.before.phase is Phase.PAUSED:
                yield "a step ends under a pause"
        case r.StepFailed(attempt=attempt) if attempt >= 2:
            yield "retries run out"
        case r.Errored(failure=r.Failure(type="SandboxDiedError")):
            yield "sandboxes die until it fails"
        case r.Errored(failure=r.Failure(type="LimitExceededError")):
            yield "it grows until it fails"
        case r.Paused(failure=r.Failure(type="NodeDiedError")):
            yield "nodes die until it is paused"
        case _:
            pass


def _of_a_life(life: Life, moment: Moment) -> Iterator[str]:
    instance, newest = life.instance, life.newest()
    if moment.actions and isinstance(moment.event, e.Tick) and instance.phase is Phase.DELETING:
        if isinstance(instance.outcome, r.Completed):
            yield "it expires once it is complete"
        else:
            yield "it expires once it errored or was terminated"
        if any(isinstance(each, r.Restarted) for each in newest):
            yield "it expires after a restart"
    if moment.actions and isinstance(moment.event, e.RestartRequested) and moment.event.step is not None:
        if any(isinstance(each, r.CancelRequested) for each in newest):
            yield "a restart forgets a cancel" if instance.cancelling is None else "a restart keeps a cancel"
        if any(map(is_child, instance.events)):
            yield "a restart keeps a child's end"
        if instance.open:
            yield "a restart keeps what is still waited for"
        counted, before = what_counts(newest), what_counts(newest[:-1])
        free, taken = kept(counted), kept(before)
        if any(set(free[kind]) - set(taken.get(kind, [])) for kind in free):
            yield "a restart gives an event back"
        if sum(isinstance(each, r.EventReceived) for each in before) > sum(
            isinstance(each, r.EventReceived) for each in counted
        ):
            yield "a restart forgets an event"
    if instance.retry_due:
        yield "a retry is due while it hibernates"
    if instance.live is not None and sum(body.begun for body in instance.live.running.values()) >= 3:
        yield "three bodies run at once"
    if len(newest) < len(life.records):
        yield "an id is taken again, and old rows are still there"
    if len(newest) > 1 and newest[-1].at < newest[-2].at:
        yield "the clock is set back"
    if newest and isinstance(resumed := newest[-1], r.Resumed) and moment.actions:
        moved = {
            then - due
            for key, then in life.due().items()
            if then is not None and (due := moment.before.due[key]) is not None
        }
        if resumed.paused_for and resumed.paused_for in moved:
            yield "a resume moves a deadline by the whole pause"
        if any(0 < by < resumed.paused_for for by in moved):
            yield "a resume moves a deadline by a part of the pause"
