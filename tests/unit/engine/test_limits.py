"""What a workflow says of how much its instances may do, beside what the operator says."""

from __future__ import annotations

from stepwell.engine.events import CreateRequested, MigrateRequested, SleepAsked
from stepwell.engine.limits import EngineLimits
from stepwell.names import Digest, InstanceUid
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits
from tests.unit.engine.driven import T0, Driven, key


def limited(limits: WorkflowLimits, steps_max: int = 10) -> Driven:
    run = Driven(EngineLimits(steps_max=steps_max))
    run.handle(CreateRequested(T0, InstanceUid("u"), Digest("d"), "main:Flow", b"null", "", limits=limits))
    run.activate()
    return run


def test_more_steps_than_its_workflow_allows_are_against_the_protocol() -> None:
    run = limited(WorkflowLimits(steps=2))
    run.succeed("one")
    run.sleep("nap", 10)
    run.illegal(SleepAsked(run.at, key("more", kind="sleep"), 10, None), "more than 2 steps")
    run.crash()
    assert run.instance.limits == WorkflowLimits(steps=2)


def test_the_operators_limit_holds_beside_it() -> None:
    run = limited(WorkflowLimits(steps=100), steps_max=1)
    run.succeed("one")
    run.illegal(SleepAsked(run.at, key("more", kind="sleep"), 10, None), "more than 1 steps")


def test_timers_and_handlers_are_not_steps() -> None:
    run = limited(WorkflowLimits(steps=1))
    for count in (1, 2, 3):
        run.handle(SleepAsked(run.at, key("", count, kind="timer"), None, run.at + 10))
    run.succeed("one")
    assert len(run.instance.steps) == 4


def test_another_version_brings_its_own() -> None:
    run = limited(WorkflowLimits(steps=1))
    run.succeed("one")
    run.handle(MigrateRequested(run.at, Digest("e"), "main:Flow", "", WorkflowLimits(steps=2)))
    run.activate()
    run.succeed("two")
    run.illegal(SleepAsked(run.at, key("more", kind="sleep"), 10, None), "more than 2 steps")
    run.handle(MigrateRequested(run.at, Digest("f"), "main:Flow", ""))
    assert run.instance.limits == run.replayed().limits == UNLIMITED
