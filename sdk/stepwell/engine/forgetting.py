"""What a restart leaves of an instance's state: what came before a step's result. All else is forgotten.

A journal that ends at any record is a valid start, so that the records before the step's result are one too. The
journal itself loses nothing: who reads it as a history sees both runs.
"""

from __future__ import annotations

from collections import deque

from stepwell.engine.family import is_child
from stepwell.engine.instance import Instance, Step
from stepwell.engine.records import CANCEL, EventReceived, Restarted, size_of


def forget(instance: Instance, record: Restarted) -> None:
    """Make the state what it was before the step's result, by what `record` says of that."""
    dropped = [step for step in instance.steps.values() if not _is_kept(instance, step, record)]
    for step in dropped:
        del instance.steps[step.key]
        instance.open.pop(step.key, None)
    instance.open.pop(CANCEL, None)
    if instance.cancelling is not None and instance.cancelling.completion >= record.kept:
        instance.cancelling = None
    instance.timers = sum(key.kind == "timer" for key in instance.steps)
    instance.rollbacks, instance.rollback_from, instance.terminating = 0, None, None
    del instance.completions[record.kept :]
    instance.completed = record.kept
    go_on_from(instance, record.at)
    instance.waits = {}
    for key, ask in instance.open.items():
        if ask.event_type:
            instance.waits.setdefault(ask.event_type, {})[key] = None
    _take_back_events(instance, dropped, record.events)
    instance.outcome, instance.ended_at, instance.untold = None, None, False
    if record.kept == 0:
        instance.started_at = instance.clock_at = None


def go_on_from(instance: Instance, at: int) -> None:
    """The clock of `run` is at its last completion: at which it goes on now, much later perhaps. Otherwise a timer that
    it begins there would be over already."""
    if instance.completions and len(instance.completions) == instance.completed:
        last = instance.completions[-1]
        instance.completions[-1] = last._replace(at=max(last.at, at))


def _is_kept(instance: Instance, step: Step, record: Restarted) -> bool:
    """What `run` had cancelled before it completed is not: it will cancel it again, or not."""
    if record.step is None or step.key == record.step or step.key.kind == "rollback":
        return False
    if step.key in instance.open:
        return step.began_after <= record.kept
    return step.completion is not None and step.completion < record.kept


def _take_back_events(instance: Instance, dropped: list[Step], events: int) -> None:
    """Those that forgotten waits had taken can be taken again; later ones than `events` are forgotten, and with them
    their ids: so they can be sent again. But not the ends of children, which will not come again."""
    left = [event for queue in instance.events.values() for event in queue]
    left += [step.event for step in dropped if step.event is not None]
    instance.event_ids = {id: event for id, event in instance.event_ids.items() if event.number <= events}
    instance.events = {}
    instance.buffered_events = instance.buffered_bytes = 0
    for event in sorted(left, key=_number):
        if event.number <= events or is_child(event.event_type):
            instance.events.setdefault(event.event_type, deque()).append(event)
            instance.buffered_events += 1
            instance.buffered_bytes += size_of(event.payload)
    taken = sum(step.event is not None for step in instance.steps.values())
    instance.forgotten_events = instance.events_received - instance.buffered_events - taken


def _number(event: EventReceived) -> int:
    return event.number
