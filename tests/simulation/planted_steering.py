"""Faults of restarts, migrations and cancels, put in on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from stepwell.engine import cancelling, fold, forgetting, restarting
from stepwell.engine.control import refuse_if_finished
from stepwell.engine.events import CancelInstanceRequested
from stepwell.engine.instance import Instance
from stepwell.engine.records import Migrated, NothingToDo, Record, Restarted
from stepwell.engine.transition import Turn
from tests.simulation.planting import instead, planted


@planted("a restart that keeps what was done", first=1)
def a_restart_that_keeps_what_was_done() -> Iterator[None]:
    real = forgetting.forget

    def forget(instance: Instance, record: Restarted) -> None:
        steps, completions = dict(instance.steps), list(instance.completions)
        real(instance, record)
        instance.steps, instance.completions, instance.completed = steps, completions, len(completions)

    with instead(fold, "forget", forget):
        yield


@planted("a restart that keeps events", first=20)
def a_restart_that_keeps_events() -> Iterator[None]:
    real = forgetting.forget

    def forget(instance: Instance, record: Restarted) -> None:
        real(instance, replace(record, events=instance.events_received))

    with instead(fold, "forget", forget):
        yield


@planted("a restart that is carried out each time that it is asked for", first=1)
def a_restart_that_is_carried_out_each_time() -> Iterator[None]:
    def never(*_: Any) -> bool:
        return False

    with instead(restarting, "carried_out_before", never):
        yield


@planted("a migration that a crash undoes", first=1)
def a_migration_that_a_crash_undoes() -> Iterator[None]:
    real = fold.replay

    def replay(records: Iterable[Record]) -> Instance:
        return real(record for record in records if not isinstance(record, Migrated))

    with instead(fold, "replay", replay):
        yield


@planted("a cancel that is acknowledged and forgotten", first=4)
def a_cancel_that_is_acknowledged_and_forgotten() -> Iterator[None]:
    def on_cancel_requested(turn: Turn, event: CancelInstanceRequested) -> None:
        refuse_if_finished(turn.instance, "cancelled")
        turn.record(NothingToDo(event.at, False, event.request_id, cancel=True))

    with instead(cancelling, "on_cancel_requested", on_cancel_requested):
        yield
