"""A start from a journal, whole or cut off at some record: it is not lost, and an honest guest, or ordinary calls, lead
it to its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.engine import fold
from stepwell.engine.events import (
    DeleteRequested,
    ParentHeard,
    PauseRequested,
    ResumeRequested,
    RunRaised,
    RunReturned,
    StepStarted,
    StepSucceeded,
    TerminateRequested,
)
from stepwell.engine.instance import Instance, Live, Phase
from stepwell.engine.records import Deleting, Record, RolledBack
from tests.unit.engine.driven import BOOM, Driven

TURNS_MAX = 200


class Restart(Driven):
    """A node that reads these records, at a time that has nothing to do with theirs."""

    def __init__(self, records: Sequence[Record], at: int) -> None:
        super().__init__()
        self.records = list(records)
        self.instance = self.replayed()
        self.at = at


def check_start(records: Sequence[Record], at: int) -> None:
    """Any refusal in here is a fault: all that happens is legal."""
    instance = fold.replay(records)
    check_not_lost(instance)
    if isinstance(records[-1], Deleting):
        left = fold.replay(records[-1:])
        assert (left.phase, left.uid, left.created_at) == (Phase.DELETING, instance.uid, instance.created_at)
    _end_by_running(Restart(records, at))
    _end_by_running(_paused_and_resumed(Restart(records, at)))
    _end_by_call(Restart(records, at))


def check_not_lost(instance: Instance) -> None:
    """Something leads here in time, unless it is somebody's call: paused, ended, or a wait without end.

    Raises AssertionError.
    """
    if instance.phase is not Phase.LIVE:
        return
    due = instance.next_due()
    for key, ask in instance.open.items():
        assert due is not None or (key.kind, ask.due) == ("waitForEvent", None), f"nothing wakes it for {key}"
        assert due == 0 or not instance.events.get(ask.event_type), f"{key} is not given its event"
    assert due is not None or instance.open, "nothing wakes it, and it waits for nothing"


def _end_by_running(run: Restart) -> None:
    """Until it has returned. What `run` has had before stays as it was."""
    before = list(run.instance.completions)
    for _ in range(TURNS_MAX):
        match run.instance:
            case Instance(phase=Phase.LIVE, live=None):
                _wake(run)
            case Instance(phase=Phase.LIVE, live=Live() as live):
                _work(run, live)
            case Instance(phase=Phase.PAUSED):
                run.handle(ResumeRequested(run.at, ""))
            case _:
                break
    assert run.instance.phase not in (Phase.LIVE, Phase.PAUSED), "it comes to no end"
    assert run.instance.completions[: len(before)] == before


def _wake(run: Restart) -> None:
    """What a node does: wait until it is due; look, and activate it. What waits without end gets its event."""
    due = run.instance.next_due()
    if due is None:
        check_not_lost(run.instance)
        run.send(next(ask.event_type for ask in run.instance.open.values()))
    else:
        run.at = max(run.at, due)
        run.tick()
    if run.instance.runnable or run.instance.retry_due:
        run.activate()


def _work(run: Restart, live: Live) -> None:
    """What an honest guest says next."""
    instance = run.instance
    if live.gone:
        for key in sorted(live.gone):
            attempt = instance.steps[key].attempts + 1
            run.handle(StepStarted(run.at, key, attempt, 0))
            run.handle(StepSucceeded(run.at, key, attempt, 0, b"1"))
    elif not instance.open:
        over = RunReturned(run.at, b"null") if instance.terminating is None else RunRaised(run.at, BOOM, RolledBack())
        run.handle(over)
    elif (due := instance.next_tick()) is not None and due <= run.at:
        run.tick()
    else:
        run.idle()
        if run.instance.live is not None:
            assert due is not None, "it stays awake for nothing"
            run.at = due
            run.tick()


def _paused_and_resumed(run: Restart) -> Restart:
    if run.instance.phase is Phase.LIVE:
        run.handle(PauseRequested(run.at, "pause again"))
        assert (run.instance.next_due(), run.instance.next_tick()) == (None, None)
        run.at += 7
        run.handle(ResumeRequested(run.at, "resume again"))
        assert run.instance.next_due() == 0
    return run


def _end_by_call(run: Restart) -> None:
    if run.instance.phase in (Phase.LIVE, Phase.PAUSED):
        run.handle(TerminateRequested(run.at, "terminate now"))
    if run.instance.untold:
        assert run.instance.next_due() == 0
        run.handle(ParentHeard(run.at))
    if run.instance.phase is Phase.FINISHED:
        assert run.instance.next_due() == run.instance.next_tick() == run.instance.expires_at
        run.handle(DeleteRequested(run.at, ""))
    assert run.instance.phase is Phase.DELETING
    assert run.instance.next_due() == 0
