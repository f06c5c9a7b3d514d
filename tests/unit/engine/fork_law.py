"""A fork is what its origin would be after a restart from that step, but for events that no wait had taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from stepwell.engine import fold
from stepwell.engine.forking import Prefix
from stepwell.engine.instance import Instance, Phase, Step
from stepwell.engine.records import Created, Record, StepKey
from stepwell.engine.restarting import restart_from
from stepwell.errors import WrongStateError
from stepwell.names import Digest, InstanceId, InstanceUid
from tests.unit.engine.lives import Life, Moment, due_times, stored
from tests.unit.engine.restarts import check_start


def a_fork_is_its_origins_prefix(life: Life, moment: Moment) -> None:
    """From a step that changes from moment to moment; and so is a fork of the fork."""
    if life.instance.phase in (Phase.ABSENT, Phase.DELETING):
        return
    step = pick(life.replayed(), len(life.records))
    if step is None:
        return
    restarted = restart(life.replayed(), step, life.at)
    if restarted.children or restarted.cancelling is not None:
        with pytest.raises(WrongStateError):
            fork_of(life.records, step, life.at)
        return
    created = fork_of(life.records, step, life.at)
    fork = fold.replay([created])
    check_same(fork, restarted)
    assert (fork.event_at, fork.clock_at) == (restarted.event_at, restarted.clock_at)
    check_start([created], life.at)
    again = pick(fork, len(life.records) // 3)
    if again is not None:
        forks_fork = fold.replay([fork_of([created], again, life.at)])
        check_same(forks_fork, restart(restarted, again, life.at))


def pick(instance: Instance, number: int) -> StepKey | None:
    steps = [key for key in instance.steps if key.kind not in ("timer", "rollback")]
    return steps[number % len(steps)] if steps else None


def restart(instance: Instance, step: StepKey, at: int) -> Instance:
    fold.apply(instance, restart_from(instance, step, at))
    return instance


def fork_of(records: Iterable[Record], step: StepKey, at: int) -> Created:
    """The first record of a fork, as a journal gives it back."""
    prefix = Prefix()
    for record in records:
        prefix.add(record)
    origin = prefix.cut(InstanceId("origin"), step, "", at)
    of = prefix.instance
    created = Created(at, InstanceUid("fork"), Digest("d"), of.entrypoint, of.params, "", origin=origin)
    assert stored(created) == created
    return created


def check_same(fork: Instance, restarted: Instance) -> None:
    assert fork.completions == restarted.completions
    assert fork.completed == len(fork.completions)
    assert [_seen(step) for step in fork.steps.values()] == [_seen(step) for step in restarted.steps.values()]
    assert due_times(fork) == due_times(restarted)
    assert {kind: set(keys) for kind, keys in fork.waits.items() if keys} == {
        kind: set(keys) for kind, keys in restarted.waits.items() if keys
    }
    assert fork.timers == restarted.timers
    assert (fork.phase, fork.runnable, fork.outcome) == (Phase.LIVE, True, None)
    assert [event.number for event in fork.received] == list(range(1, len(fork.received) + 1))
    given_back = {kind: [event.payload for event in queue] for kind, queue in fork.events.items() if queue}
    for kind, payloads in given_back.items():
        left = [event.payload for event in restarted.events[kind]]
        assert all(payload in left for payload in payloads)
    assert not fork.requests


def _seen(step: Step) -> tuple[Step, object]:
    """All but the numbers of events, and when it ended: of what a restart kept last, that is when the fork has it."""
    event = step.event
    return replace(step, events_before=0, event=None, ended_at=None), event and (
        event.at,
        event.event_type,
        event.payload,
    )
