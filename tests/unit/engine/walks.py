"""Lives at random: whatever may happen to an instance, mostly what makes sense at that point, now and then anything.

A walk is a text, one character a step: Hypothesis draws it in one piece, so that no two walks are alike, and can leave
out its steps. What a guest says is said in an activation: one begins first where none is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from hypothesis import note
from hypothesis import strategies as st

from stepwell.engine import events as e
from stepwell.engine import records as r
from stepwell.engine.family import Parent, is_child
from stepwell.engine.instance import Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Kind, StepKey
from stepwell.names import Digest, InstanceUid
from stepwell.retention import Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits
from tests.unit.engine.dice import (
    CHILDREN,
    EVENT_IDS,
    LENGTHS,
    PARENT,
    PAYLOADS,
    POLICIES,
    REQUEST_IDS,
    RETENTIONS,
    TYPES,
    Dice,
)
from tests.unit.engine.driven import BOOM, LET_OUT
from tests.unit.engine.lives import Life, Moment

Judge = Callable[[Life, Moment], None]

ROOMY: Final = EngineLimits(
    steps_max=12,
    children_max=2,
    depth_max=1,
    buffered_events_max=3,
    delay_max_ms=60_000,
    sandbox_deaths_alone=1,
    sandbox_deaths_max=2,
    node_deaths_alone=1,
    node_deaths_max=2,
)
FEW_RECORDS: Final = replace(ROOMY, steps_max=3, records_max=22)
FEW_BYTES: Final = replace(ROOMY, instance_bytes_max=2_400)

MIDDLE_AGE: Final = 12
"""Records that an instance has before it ends of itself or by a call: those that die young show little."""

PASSED: Final = (0, 0, 1, 100, 999, 1_000, 5_000, 61_000, -1, -3_000)
"""What the clock says after the step before, in ms; clocks are set back too."""

PLACES: Final = (0, 0, 0, 1, 2, 3, 5, 7)
"""In what there is to choose from."""

FIRST_STEP: Final = 2**16
"""The character of the simplest step, which does nothing."""

STEPS: Final = st.characters(min_codepoint=FIRST_STEP, max_codepoint=FIRST_STEP + 2**20 - 1)
WALKS: Final = st.text(STEPS, min_size=25, max_size=75)


def walk(steps: str, judge: Judge) -> None:
    """Lead an instance through all steps, and have each moment judged. The first says what kind of life it is."""
    dice = Dice(ord(steps[0]) - FIRST_STEP)
    life = Life(dice.pick((ROOMY, FEW_RECORDS, FEW_BYTES)), asked=dice.pick((True, False)))
    walker = Walker(life, judge, dice.pick(RETENTIONS), dice.pick((UNLIMITED, UNLIMITED, WorkflowLimits(steps=5))))
    walker.happens(dice.event(life.at))
    walker.is_created(dice.pick((None, PARENT)))
    for step in steps[1:]:
        dice = Dice(ord(step) - FIRST_STEP)
        move = dice.pick(MOVES)
        life.at += dice.pick(PASSED)
        move(walker, dice)


class Walker:
    """Makes of what shall happen an event of the present state."""

    def __init__(self, life: Life, judge: Judge, retention: Retention, limits: WorkflowLimits) -> None:
        self.life = life
        self._judge = judge
        self._retention = retention
        self._limits = limits

    def happens(self, event: e.Event) -> None:
        note(event)
        self._judge(self.life, self.life.meet(event))

    def is_created(self, parent: Parent | None = None) -> None:
        uid, digest, depth = InstanceUid("u"), Digest("d"), 1 if parent is not None else 0
        create = e.CreateRequested(self.life.at, uid, digest, "main:Flow", b"null", "create", b"", parent, depth)
        self.happens(replace(create, retention=self._retention, limits=self._limits))

    def nothing_happens(self, dice: Dice) -> None:
        pass

    def anything_happens(self, dice: Dice) -> None:
        self.happens(dice.event(self.life.at))

    # ---------------------------------------------------------------- a guest speaks
    def bodies_start(self, dice: Dice) -> None:
        for _ in range(dice.pick((1, 1, 2, 4))):
            if self._awake(dice):
                key, attempt = self._attempt(dice, begun=False)
                self.happens(e.StepStarted(self.life.at, key, attempt, dice.pick(LENGTHS)))

    def a_step_succeeds(self, dice: Dice) -> None:
        if self._awake(dice):
            key, attempt = self._attempt(dice, begun=True)
            self.happens(e.StepSucceeded(self.life.at, key, attempt, 7, dice.pick(PAYLOADS)))

    def an_attempt_fails(self, dice: Dice) -> None:
        """Now and then nothing happens until its next one is due."""
        if self._awake(dice):
            key, attempt = self._attempt(dice, begun=True)
            retryable, policy = dice.pick((True, True, True, False)), dice.pick(POLICIES)
            self.happens(e.StepAttemptFailed(self.life.at, key, attempt, 7, retryable, policy, BOOM))
            if dice.pick((False, True)):
                self._tick_at(self.life.due().get(key) or self.life.at)

    def it_sleeps(self, dice: Dice) -> None:
        if self._awake(dice):
            at, kind, length = self.life.at, dice.pick(_SLEEPS), dice.pick(LENGTHS)
            duration_ms, until = (None, at + length - dice.pick((0, 500))) if kind == "timer" else (length, None)
            self.happens(e.SleepAsked(at, self._new(kind, dice), duration_ms, until))

    def it_waits(self, dice: Dice) -> None:
        if self._awake(dice):
            event_type, timeout_ms = dice.pick((*TYPES, *CHILDREN)), dice.pick((None, *LENGTHS))
            self.happens(e.WaitAsked(self.life.at, self._new("waitForEvent", dice), event_type, timeout_ms))

    def something_is_cancelled(self, dice: Dice) -> None:
        """A wait whose event crossed the cancelling, what is open, or what runs."""
        if self._awake(dice):
            instance = self.life.instance
            crossed = [step.key for step in instance.steps.values() if step.event is not None]
            asked = [key for key in instance.open if key != r.CANCEL]  # which no guest can name
            keys = [*crossed, *asked, *self._running()]
            if keys:
                self.happens(e.KeyCancelled(self.life.at, keys[dice.pick(PLACES) % len(keys)]))

    def it_is_idle(self, dice: Dice) -> None:
        """Or says so before it has entered all that it was told."""
        if self._awake(dice):
            self.happens(e.GuestIdle(self.life.at, max(0, len(self.life.heard) - dice.pick((0, 0, 1)))))

    def it_is_quiet(self, dice: Dice) -> None:
        """Or still answers the pause before the present one."""
        live = self.life.instance.live
        if live is not None and live.holds:
            self.happens(e.GuestQuiet(self.life.at, live.holds - dice.pick((0, 0, 0, 1))))

    # ---------------------------------------------------------------- callers
    def an_event_comes(self, dice: Dice) -> None:
        """Now and then its node dies before it is durable that a wait has it."""
        event_type, payload, request_id = dice.pick(TYPES), dice.pick(PAYLOADS), dice.pick(REQUEST_IDS)
        event_id, only_if_waiting = dice.pick(EVENT_IDS), dice.pick((False, False, True))
        sent = e.EventSent(self.life.at, event_type, payload, request_id, event_id, only_if_waiting)
        self._is_called(sent, dice)
        if isinstance(self.life.newest()[-1], r.EventMatched) and dice.pick((False, True)):
            self._node_dies(lost=1)

    def it_is_paused_or_resumed(self, dice: Dice) -> None:
        resumes = self.life.instance.phase is Phase.PAUSED
        call = (e.ResumeRequested if resumes else e.PauseRequested)(self.life.at, dice.pick(REQUEST_IDS))
        self._is_called(call, dice)

    def a_call_comes_again(self, dice: Dice) -> None:
        """With its request_id, as it was."""
        at = self.life.at
        calls = [record for record in self.life.newest() if getattr(record, "request_id", "")]
        match calls[-1 - dice.pick(PLACES) % len(calls)] if calls else None:
            case r.EventReceived() as sent if is_child(sent.event_type):
                self.happens(e.ChildEnded(at, sent.event_type, sent.payload, sent.request_id))
            case r.EventReceived() as sent:
                self.happens(e.EventSent(at, sent.event_type, sent.payload, sent.request_id, sent.event_id))
            case r.Paused() as paused:
                self.happens(e.PauseRequested(at, paused.request_id))
            case r.Resumed() as resumed:
                self.happens(e.ResumeRequested(at, resumed.request_id))
            case r.NothingToDo() as before:
                if before.cancel:
                    self.happens(e.CancelInstanceRequested(at, "gone", before.request_id))
                else:
                    again = e.ResumeRequested if before.resume else e.PauseRequested
                    self.happens(again(at, before.request_id))
            case r.Restarted() as restarted:
                self.happens(e.RestartRequested(at, restarted.step, restarted.request_id))
            case r.CancelRequested() as cancelled:
                self.happens(e.CancelInstanceRequested(at, cancelled.reason, cancelled.request_id))
            case r.RollbackBegun() as begun:
                self.happens(e.TerminateRequested(at, begun.request_id, rollback=True))
            case r.Migrated() as migrated:
                self.happens(e.MigrateRequested(at, migrated.digest, migrated.entrypoint, migrated.request_id))
            case r.Terminated() as terminated:
                self.happens(e.TerminateRequested(at, terminated.request_id))
            case _:
                pass

    def a_child_comes_or_ends(self, dice: Dice) -> None:
        """And the owner of one that ended may say so again. Its own parent hears of it, if it has ended."""
        child, end = dice.pick(CHILDREN), dice.pick(("end 1", "end 2"))
        if child not in self.life.instance.children:
            self.happens(e.ChildAsked(self.life.at, child))
        if dice.pick((True, True, False)):
            self._is_called(e.ChildEnded(self.life.at, child, dice.pick(PAYLOADS), f"{child} {end}"), dice)
        self.happens(e.ParentHeard(self.life.at))

    def an_event_comes_again(self, dice: Dice) -> None:
        """With its own id, by another call."""
        sent = [record for record in self.life.newest() if isinstance(record, r.EventReceived) and record.event_id]
        if sent:
            one = sent[-1 - dice.pick(PLACES) % len(sent)]
            self.happens(e.EventSent(self.life.at, one.event_type, one.payload, "", one.event_id))

    def it_is_restarted(self, dice: Dice) -> None:
        """Whole, or from a step that it has; mostly once it has done something."""
        steps = [key for key in self.life.instance.steps if key.kind != "timer"]
        if len(self.life.newest()) >= MIDDLE_AGE:
            step = dice.pick((*steps, None))
            self._is_called(e.RestartRequested(self.life.at, step, dice.pick(REQUEST_IDS)), dice)

    def it_is_cancelled(self, dice: Dice) -> None:
        """At any age; now and then it lets the cancel out, or takes its time."""
        self._is_called(e.CancelInstanceRequested(self.life.at, "gone", dice.pick(REQUEST_IDS)), dice)
        what = dice.pick(("lets out", "fails to clean up", "goes on", "takes long"))
        undo = StepKey("do", "undo", 1)
        if what == "fails to clean up" and self._awake(dice) and undo not in self.life.instance.steps:
            self.happens(e.StepSucceeded(self.life.at, undo, 1, 7, b"1"))
            self._is_called(e.RestartRequested(self.life.at, undo, dice.pick(REQUEST_IDS)), dice)
        if what == "lets out" and self._awake(dice):
            self.happens(e.RunRaised(self.life.at, LET_OUT))
        elif what == "takes long":
            self._tick_at(self.life.due().get(r.CANCEL) or self.life.at)

    def it_is_migrated(self, dice: Dice) -> None:
        """To the version that it runs, or to another."""
        digest = dice.pick((Digest("other"), Digest("d")))
        self._is_called(e.MigrateRequested(self.life.at, digest, "m:C", dice.pick(REQUEST_IDS)), dice)

    def it_ends(self, dice: Dice) -> None:
        if len(self.life.newest()) >= MIDDLE_AGE:
            how, request_id = dice.pick(("terminated", "returned", "raised")), dice.pick(REQUEST_IDS)
            if how == "terminated":
                self._is_called(e.TerminateRequested(self.life.at, request_id), dice)
            elif self._awake(dice):
                at, rolled_back = self.life.at, dice.pick((None, r.RolledBack(), r.RolledBack(BOOM)))
                self.happens(e.RunReturned(at, b"null") if how == "returned" else e.RunRaised(at, BOOM, rolled_back))
            for child in self.life.instance.children if dice.pick((True, False)) else ():
                self.happens(e.ChildEnded(self.life.at, child, b"1", f"{child} end 1"))

    def it_is_rolled_back(self, dice: Dice) -> None:
        """By a call, mostly once it has done something."""
        if len(self.life.newest()) >= MIDDLE_AGE:
            self._is_called(e.TerminateRequested(self.life.at, dice.pick(REQUEST_IDS), rollback=True), dice)

    def it_is_created_again(self, dice: Dice) -> None:
        if self.life.instance.phase in (Phase.FINISHED, Phase.DELETING):
            if self.life.instance.untold:
                self.happens(e.ParentHeard(self.life.at))
            self.happens(e.DeleteRequested(self.life.at, dice.pick(REQUEST_IDS)))
            self.life.vanish(rows_stay=dice.pick((False, True)))
            self.is_created(dice.pick((None, PARENT)))

    # ---------------------------------------------------------------- the clock and the node
    def the_clock_ticks(self, dice: Dice) -> None:
        self.happens(e.Tick(self.life.at))

    def a_deadline_comes(self, dice: Dice) -> None:
        """Mostly the next one, of what is open, of a body or of what has ended."""
        live = self.life.instance.live
        bodies = [body.deadline for body in live.running.values()] if live is not None else []
        expires_at = self.life.instance.expires_at
        due = sorted(then for then in (*self.life.due().values(), *bodies, expires_at) if then is not None)
        if due:
            self._tick_at(due[dice.pick(PLACES) % len(due)])

    def it_expires(self, dice: Dice) -> None:
        """Where it has ended, and is not kept for ever."""
        if (expires_at := self.life.instance.expires_at) is not None:
            self._tick_at(expires_at)

    def its_activation_ends(self, dice: Dice) -> None:
        if self._awake(dice):
            at = self.life.at
            ends: list[e.Event] = [
                e.DrainRequested(at),
                e.Suspended(at, BOOM),
                e.ReplayMismatched(at, 0, "this", "that"),
            ]
            self.happens(dice.pick(ends))

    def its_node_dies(self, dice: Dice) -> None:
        """And some records, which were not durable, with it."""
        self._node_dies(lost=dice.pick((0, 1, 2, 3)))

    def it_makes_no_progress(self, dice: Dice) -> None:
        """Its sandboxes die, or its nodes, as soon as they run it."""
        for _ in range(dice.pick((1, 2, 3))):
            if self._awake(dice):
                if dice.pick((False, True)):
                    self._node_dies(lost=0)
                else:
                    self.happens(e.GuestLost(self.life.at, "exit 137"))

    # ---------------------------------------------------------------- how it is done
    def _is_called(self, call: e.Event, dice: Dice) -> None:
        """Now and then twice: the answer got lost."""
        for _ in range(dice.pick((1, 1, 1, 2))):
            self.happens(call)

    def _node_dies(self, *, lost: int) -> None:
        note(f"its node dies, and {lost} records with it")
        self._judge(self.life, self.life.lose_node(lost))

    def _tick_at(self, due: int) -> None:
        self.life.at = max(self.life.at, due)
        self.happens(e.Tick(self.life.at))

    def _awake(self, dice: Dice) -> bool:
        """Whether a guest can speak now. On the way there, what has ended is created again, what is paused resumed."""
        if self.life.instance.live is None:
            self.it_is_created_again(dice)
            if self.life.instance.phase is Phase.PAUSED:
                self.happens(e.ResumeRequested(self.life.at, ""))
            if self.life.instance.phase is Phase.LIVE:
                self.happens(e.ActivationStarted(self.life.at, "cpython-3.11"))
        return self.life.instance.live is not None

    def _running(self) -> tuple[StepKey, ...]:
        live = self.life.instance.live
        return tuple(live.running) if live is not None else ()

    def _new(self, kind: Kind, dice: Dice) -> StepKey:
        """A key that was not asked for before; now and then the last one that was."""
        used = [key.count for key in (*self.life.instance.steps, *self._running()) if key[:2] == (kind, "a")]
        return StepKey(kind, "a", max(1, max(used, default=0) + dice.pick((1, 1, 1, 1, 1, 0))))

    def _attempt(self, dice: Dice, *, begun: bool) -> tuple[StepKey, int]:
        """Of a step whose body runs, with `begun`, or was told to; of a new one; or of one that may not."""
        instance, live = self.life.instance, self.life.instance.live
        kind: Kind = "rollback" if instance.terminating is not None else "do"
        running = live.running if live is not None else {}
        may = {key: body.attempt for key, body in running.items() if begun or not body.begun}
        may_not = [(key, body.attempt) for key, body in running.items() if key not in may]
        may_not += [(key, instance.steps[key].attempts + 1) for key in instance.open if key.kind == kind]
        steps = sorted(may.items(), key=lambda step: -step[1])
        steps += [(self._new(kind, Dice(0)), 1), *may_not]
        return steps[dice.pick(PLACES) % len(steps)]


_SLEEPS: Final[tuple[Kind, ...]] = ("sleep", "timer")

_WEIGHTS: Final = {
    Walker.nothing_happens: 1,
    Walker.bodies_start: 4,
    Walker.a_step_succeeds: 3,
    Walker.an_attempt_fails: 5,
    Walker.it_sleeps: 2,
    Walker.it_waits: 4,
    Walker.something_is_cancelled: 4,
    Walker.it_is_idle: 5,
    Walker.it_is_quiet: 2,
    Walker.an_event_comes: 4,
    Walker.it_is_paused_or_resumed: 3,
    Walker.a_child_comes_or_ends: 3,
    Walker.it_is_restarted: 2,
    Walker.it_is_cancelled: 2,
    Walker.it_is_migrated: 3,
    Walker.a_call_comes_again: 2,
    Walker.an_event_comes_again: 1,
    Walker.it_ends: 2,
    Walker.it_is_rolled_back: 2,
    Walker.it_is_created_again: 1,
    Walker.the_clock_ticks: 1,
    Walker.a_deadline_comes: 5,
    Walker.it_expires: 1,
    Walker.its_activation_ends: 1,
    Walker.its_node_dies: 2,
    Walker.it_makes_no_progress: 2,
    Walker.anything_happens: 4,
}
MOVES: Final = tuple(move for move, weight in _WEIGHTS.items() for _ in range(weight))
