"""The engine as a whole: random lives, and that its work does not grow with the journal."""

from __future__ import annotations

import copy
import random
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import engine
from stepwell.engine import events as e
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Kind, Record, StepKey
from stepwell.names import Digest, InstanceUid
from tests.unit.engine.dice import PARENT
from tests.unit.engine.driven import BOOM, REFUSALS, Driven

LIMITS = EngineLimits(steps_max=12, buffered_events_max=3, delay_max_ms=60_000)
KINDS: tuple[Kind, ...] = ("do", "do", "sleep", "waitForEvent", "timer")
POLICIES = (
    e.RetryPolicy(0, 10, "constant"),
    e.RetryPolicy(2, 500, "linear"),
    e.RetryPolicy(5, 3_000, "exponential"),
)


def random_event(dice: random.Random, run: Driven) -> e.Event:
    """Anything that anybody could say; now and then just what is expected."""
    at, instance = run.at, run.instance
    request_id = dice.choice(("", "", "r1", "r2"))
    key = StepKey(dice.choice(KINDS), dice.choice("ab"), dice.randint(1, 3))
    if instance.steps and dice.random() < 0.3:
        key = dice.choice(list(instance.steps))
    step = instance.steps.get(key)
    attempt = dice.choice((1, 2, step.attempts + 1)) if step is not None else dice.choice((1, 1, 1, 2))
    do = key._replace(kind=dice.choice(("do", "do", "do", "rollback")))
    said: list[e.Event] = [
        e.StepStarted(at, do, attempt, dice.choice((0, 1_000, 60_000))),
        e.StepSucceeded(at, do, attempt, dice.randint(0, 50), b"1"),
        e.StepAttemptFailed(at, do, attempt, 5, dice.random() < 0.8, dice.choice(POLICIES), BOOM),
        e.SleepAsked(at, key._replace(kind=dice.choice(("sleep", "timer"))), dice.choice((0, 400, 5_000)), None),
        e.WaitAsked(at, key._replace(kind="waitForEvent"), dice.choice("xy"), dice.choice((None, 300, 9_000))),
        e.KeyCancelled(at, key),
        e.GuestIdle(at, instance.live.told if instance.live is not None and dice.random() < 0.8 else 1),
        e.Tick(at),
        e.EventSent(at, dice.choice("xy"), dice.choice((b"1", b"2")), request_id),
        e.GuestQuiet(at, instance.live.holds if instance.live is not None and dice.random() < 0.8 else 1),
        e.PauseRequested(at, request_id),
        e.ResumeRequested(at, request_id),
    ]
    rare: list[e.Event] = [
        e.RunReturned(at, b"null"),
        e.RunRaised(at, BOOM),
        e.GuestLost(at, "gone"),
        e.GuestLost(at, "gone"),
        e.Suspended(at, BOOM),
        e.ReplayMismatched(at, 0, "this", "that"),
        e.DrainRequested(at),
        e.RestartRequested(at, dice.choice((None, *instance.steps)), request_id),
        e.ChildAsked(at, "c/1"),
        e.ChildEnded(at, "c/1", b"1", "end"),
        e.ParentHeard(at),
        e.CancelInstanceRequested(at, dice.choice(("", "why")), request_id),
        e.MigrateRequested(at, Digest(dice.choice("de")), "m:C", request_id),
        e.TerminateRequested(at, request_id),
        e.TerminateRequested(at, request_id, rollback=True),
        e.DeleteRequested(at, request_id),
        e.CreateRequested(at, InstanceUid("u"), Digest("d"), "m:C", b"null", request_id, b"", PARENT, 1),
    ]
    if instance.phase is Phase.ABSENT:
        return rare[-1] if dice.random() < 0.8 else dice.choice(said)
    if instance.live is None and instance.phase is Phase.LIVE and dice.random() < 0.5:
        return e.ActivationStarted(at, "cpython-3.11")
    if instance.phase is Phase.FINISHED and dice.random() < 0.2:
        return e.DeleteRequested(at, request_id)
    return dice.choice(rare) if dice.random() < 0.08 else dice.choice(said)


FOLDED = [field.name for field in fields(Instance) if field.name not in ("live", "deadlines", "retry_due")]


def check(run: Driven) -> None:
    """What the journal says is what the state says, and what is due next is what is open and due first."""
    instance, replayed = run.instance, run.replayed()
    for each in (instance, replayed):
        each.rearm()  # deadlines move when they are asked for next
    for name in FOLDED:
        assert getattr(instance, name) == getattr(replayed, name), name
    if instance.retry_due and instance.phase is Phase.LIVE:
        assert instance.live is None
        assert instance.next_due() == 0
        assert any(key.kind in ("do", "rollback") and (ask.due or 0) <= run.at for key, ask in instance.open.items())
    else:
        gone = instance.live.gone if instance.live is not None else set()
        dues = [ask.due for key, ask in instance.open.items() if ask.due is not None and key not in gone]
        expected = min(dues, default=None) if instance.phase is Phase.LIVE else None
        assert instance.next_deadline() == expected
        if instance.live is None:
            assert instance.next_due() == replayed.next_due()
    if instance.phase in (Phase.FINISHED, Phase.DELETING, Phase.ABSENT):
        assert instance.live is None
        assert not instance.open
    open_waits = {key for keys in instance.waits.values() for key in keys}
    assert open_waits == {key for key in instance.open if key.kind == "waitForEvent"}
    assert instance.buffered_events == sum(map(len, instance.events.values()))
    for queue in instance.events.values():
        numbers = [event.number for event in queue]
        assert numbers == sorted(set(numbers)), "events stand in the order in which they came"
    for event_type, waiting in instance.waits.items():
        if instance.live is not None or not instance.runnable:
            assert not (waiting and instance.events.get(event_type)), "no event lies beside a wait for it"


def live_through(dice: random.Random, run: Driven, count: int) -> Counter[type[Record]]:
    for _ in range(count):
        run.at += dice.choice((0, 0, 1, 100, 700, 5_000))
        if dice.random() < 0.03:
            run.crash()
        before = copy.deepcopy(run.instance)
        event = random_event(dice, run)
        try:
            run.handle(event)
        except REFUSALS:
            assert run.instance == before, f"{event} was refused and yet changed something"
        check(run)
    return Counter(type(record) for record in run.records)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dice=st.randoms(use_true_random=False), count=st.integers(1, 60))
def test_memory_never_differs_from_the_journal(dice: random.Random, count: int) -> None:
    live_through(dice, Driven(LIMITS), count)


def test_random_lives_meet_every_record() -> None:
    met: Counter[type[Record]] = Counter()
    for seed in range(40):
        met += live_through(random.Random(seed), Driven(LIMITS), 80)
    assert set(get_args(Record)) == set(met), "what is missing was never tested at random"


def test_step_1_000_costs_what_step_10_costs() -> None:
    run = Driven().running()
    costs = [lines_run(lambda number=number: a_step(run, number)) for number in range(1, 1_001)]
    assert costs[999] == costs[9]


def test_a_wait_after_1_000_waits_costs_what_the_tenth_cost() -> None:
    run = Driven().running()

    def served(number: int) -> None:
        run.wait(f"wait {number}", "approve", 86_400_000)
        run.send("approve")
        run.tick()

    costs = [lines_run(lambda number=number: served(number)) for number in range(1, 1_001)]
    assert costs[999] == costs[9]


def a_step(run: Driven, number: int) -> None:
    run.start(f"step {number}", timeout_ms=600_000)
    run.succeed(f"step {number}")
    run.tick()


def lines_run(work: Any) -> int:
    """How many lines of the engine run: its work, counted."""
    home = str(Path(engine.__file__).parent)
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(home):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
