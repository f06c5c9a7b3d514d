"""Another version for an instance that goes on. Whether its code does what the journal says is for the caller to find
out before: here it is a fact."""

from __future__ import annotations

from stepwell.engine.actions import WakeNow
from stepwell.engine.control import carried_out_before, refuse_if_finished
from stepwell.engine.events import MigrateRequested
from stepwell.engine.records import Migrated
from stepwell.engine.transition import Turn
from stepwell.errors import InvalidArgumentError


def on_migrate_requested(turn: Turn, event: MigrateRequested) -> None:
    """From here on it runs that version. What runs of the former is given up: bodies run again on the new one.

    Raises WrongStateError once it has ended.
    """
    instance = turn.instance
    if carried_out_before(instance, event.request_id, Migrated):
        before = instance.requests[event.request_id]
        if isinstance(before, Migrated) and before.digest == event.digest:
            return
        raise InvalidArgumentError(
            f"request_id {event.request_id!r} was used before, to migrate to another version; use a new one",
            field="request_id",
        )
    refuse_if_finished(instance, "migrated")
    is_there = (instance.digest, instance.entrypoint) == (event.digest, event.entrypoint)
    if is_there and not event.request_id:
        return
    turn.do(WakeNow())  # should its owner die, the next one has the list say so
    turn.record(Migrated(event.at, event.digest, event.entrypoint, event.request_id, event.limits))
    if not is_there:
        turn.end_activation()
    turn.activate()
