"""What of a journal still counts after restarts, read off its records one by one: `journal_words` has what is left."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.engine import records as r
from stepwell.engine.family import is_child

_Completes = r.StepCompleted | r.StepFailed | r.SleepFired | r.WaitTimedOut | r.EventMatched
_Enters = _Completes | r.RollbackBegun | r.CancelRequested
_Ends = r.Completed | r.Errored | r.Terminated


def what_counts(records: Iterable[r.Record]) -> list[r.Record]:
    """The records without those of steps and events that a restart forgot. Ends that a restart undid are left out."""
    counting: list[r.Record] = []
    received = 0
    for record in records:
        if isinstance(record, r.EventReceived):
            received += 1
            assert record.number == received
        if isinstance(record, r.Restarted):
            counting = _without_what_it_forgot(counting, record)
        counting.append(record)
    return counting


def _without_what_it_forgot(records: list[r.Record], restarted: r.Restarted) -> list[r.Record]:
    cut = _of_completion(records, restarted.kept)
    ended = any(isinstance(record, _Ends) for record in records)
    cancelled = {record.key for record in records if isinstance(record, r.StepCancelled)}
    completed = {record.key for record in records if isinstance(record, _Completes)}
    before = records[:cut]
    kept = {record.key for record in before if isinstance(record, _Completes)}
    asked_before = {key for record in before if (key := getattr(record, "key", None)) is not None}
    open_since = set[r.StepKey]() if ended else asked_before - cancelled - completed - {restarted.step}
    if restarted.step is None:
        kept = open_since = set()

    def counts(place: int, record: r.Record) -> bool:
        if isinstance(record, _Ends | r.RollbackBegun):
            return False
        if isinstance(record, r.EventReceived):
            return record.number <= restarted.events or is_child(record.event_type)
        if isinstance(record, r.CancelRequested):
            return place < cut
        key = getattr(record, "key", None)
        if key is not None and key.kind == "rollback":
            return False
        if key is None or key in open_since:
            return True
        if isinstance(record, r.StepCancelled):
            return key in kept  # its event had crossed the cancelling
        return key in kept and place < cut

    moves = {place: each for place, each in enumerate(records) if isinstance(each, r.RollbackBegun) and each.paused_for}
    return [
        r.Resumed(record.at, moves[place].paused_for, "") if place in moves else record
        for place, record in enumerate(records)
        if place in moves or counts(place, record)
    ]


def _of_completion(records: list[r.Record], number: int) -> int:
    """Where the completion of that number, from 0, stands; behind all where there are no more."""
    places = [place for place, record in enumerate(records) if isinstance(record, _Enters)]
    return places[number] if number < len(places) else len(records)
