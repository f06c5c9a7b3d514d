"""The law of deadlines: absolute at first sight, moved by pauses alone, and nothing happens before."""

from __future__ import annotations

from stepwell.engine import events as e
from stepwell.engine import records as r
from stepwell.engine.actions import TellGo
from stepwell.engine.instance import Phase
from tests.unit.engine.driven import appended
from tests.unit.engine.journal_words import due_by, expiry_by, rests, untold
from tests.unit.engine.lives import Life, Moment, aside, due_times
from tests.unit.engine.restart_words import what_counts


def a_deadline_is_fixed_when_it_is_first_seen(life: Life, moment: Moment) -> None:
    """What is due, and when, follows from the records alone, whatever the time is now, and is what the node is told."""
    instance, records = life.instance, what_counts(life.newest())
    due = due_by(records)
    for state in (instance, life.replayed()):
        assert due_times(state) == due, f"{due_times(state)} instead of {due}"
    _check_first_sight(life, moment)
    _check_attempt(life, moment)
    _check_what_happened(life, moment)
    live, resting = instance.live, rests(records) and not instance.retry_due
    under_way = live.gone if live is not None else set[r.StepKey]()
    deadline = None
    if instance.phase is Phase.LIVE:
        deadline = min((then for key, then in due.items() if then is not None and key not in under_way), default=None)
    assert aside(instance).next_deadline() == deadline
    is_untold = untold(life.newest())
    now = instance.phase is Phase.DELETING or (instance.phase is Phase.LIVE and not resting) or is_untold
    expiry = expiry_by(life.newest()) if instance.phase is Phase.FINISHED else None
    assert aside(instance).next_due() == (0 if now else expiry or deadline)
    ticks = [None if is_untold else expiry, *([deadline] if live is not None or resting else [])]
    ticks += [body.deadline for body in live.running.values()] if live is not None else []
    assert aside(instance).next_tick() == min((then for then in ticks if then is not None), default=None)


def _check_first_sight(life: Life, moment: Moment) -> None:
    """What an event asks for is due when it follows from the event, its own time and the limit."""
    if not (records := appended(moment.actions)):
        return
    most = life.limits.delay_max_ms
    match moment.event, records[0]:
        case e.SleepAsked(at, key, duration_ms, until), record:
            due = until if until is not None else at + (duration_ms or 0)
            assert record == r.SleepStarted(at, key, min(due, at + most))
        case e.WaitAsked(at, key, event_type, timeout_ms), record:
            due_at = None if timeout_ms is None else at + min(timeout_ms, most)
            assert record == r.WaitStarted(at, key, event_type, due_at)
        case e.StepAttemptFailed(at, key, attempt, elapsed_ms, retryable, policy, failure), record:
            if attempt > (policy.limit if retryable else 0):
                assert record == r.StepFailed(at, key, attempt, at - elapsed_ms, failure)
            else:
                retry_at = at + min(_delay_ms(policy, attempt), most)
                assert record == r.AttemptFailed(at, key, attempt, at - elapsed_ms, failure, retry_at)


def _delay_ms(policy: e.RetryPolicy, attempt: int) -> int:
    """Cloudflare's three."""
    times = {"constant": 1, "linear": attempt, "exponential": 1 << (attempt - 1)}
    return policy.delay_ms * times[policy.backoff]


def _check_attempt(life: Life, moment: Moment) -> None:
    """A later attempt was told to begin, and a body's own deadline is not put off."""
    event, before, live = moment.event, moment.before.live, life.instance.live
    if not isinstance(event, e.StepStarted | e.StepSucceeded | e.StepAttemptFailed) or moment.refusal is not None:
        return
    assert before is not None
    assert event.attempt == 1 or event.key in before.gone, f"{event} was not told to begin"
    if isinstance(event, e.StepStarted) and live is not None:
        assert event.key not in before.running or not before.running[event.key].begun
        end = event.at + event.timeout_ms + life.limits.attempt_grace_ms if event.timeout_ms else None
        assert live.running[event.key].deadline == end


def _check_what_happened(life: Life, moment: Moment) -> None:
    """Only a tick lets happen what is due: all of it by then, nothing later, in the order in which it was due."""
    happened: list[tuple[int | None, r.StepKey]] = []
    for action in moment.actions:
        record = getattr(action, "record", None)
        if isinstance(action, TellGo):
            happened.append((moment.before.due[action.key], action.key))
        elif isinstance(record, r.SleepFired | r.WaitTimedOut):
            happened.append((moment.before.due[record.key], record.key))
    if not isinstance(moment.event, e.Tick):
        assert not happened
        return
    due = [(then, key) for then, key in happened if then is not None and then <= moment.event.at]
    assert due == happened, f"{happened} at {moment.event.at}"
    assert due == sorted(due)
    instance = life.instance
    if instance.phase is Phase.LIVE and not instance.retry_due:
        gone = instance.live.gone if instance.live is not None else set[r.StepKey]()
        late = [key for key, then in due_times(instance).items() if then is not None and then <= moment.event.at]
        assert gone.issuperset(late), f"{late} is late at {moment.event.at}"
