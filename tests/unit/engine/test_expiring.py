"""How long an instance is kept once it has ended: from its create to its deletion."""

from __future__ import annotations

from stepwell.engine.events import (
    CreateRequested,
    DeleteRequested,
    Event,
    GuestLost,
    MigrateRequested,
    RestartRequested,
    RunRaised,
    RunReturned,
    StepSucceeded,
    TerminateRequested,
    Tick,
)
from stepwell.engine.instance import Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Completed, Created, Deleting, Errored, Terminated
from stepwell.names import Digest, InstanceUid
from stepwell.retention import NOT_SAID, Retention
from tests.unit.engine.driven import BOOM, T0, Driven, appended, key, names

WEEK_MS, MONTH_MS = 7 * 86_400_000, 30 * 86_400_000
BOTH = Retention(WEEK_MS, MONTH_MS)


def created(retention: Retention, limits: EngineLimits | None = None) -> Driven:
    run = Driven(limits)
    run.handle(
        CreateRequested(T0, InstanceUid("uid-1"), Digest("sha256-1"), "main:Flow", b"null", "", retention=retention)
    )
    return run


def ended(event: Event, retention: Retention = BOTH) -> Driven:
    run = created(retention)
    run.activate()
    run.handle(event)
    return run


def test_it_says_from_the_create_on_how_long_it_is_kept() -> None:
    run = created(Retention(WEEK_MS, None))
    (record,) = (each for each in run.records if isinstance(each, Created))
    assert record.retention == Retention(WEEK_MS, None)
    assert run.replayed().retention == Retention(WEEK_MS, None)
    assert run.instance.expires_at is None


def test_each_end_says_when_it_expires() -> None:
    assert ended(RunReturned(T0, b"1")).records[-1] == Completed(T0, b"1", T0 + WEEK_MS)
    assert ended(RunRaised(T0, BOOM)).records[-1] == Errored(T0, BOOM, None, T0 + MONTH_MS)
    assert ended(TerminateRequested(T0, "r")).records[-1] == Terminated(T0, "r", None, T0 + MONTH_MS)


def test_the_end_of_a_rollback_does() -> None:
    run = ended(TerminateRequested(T0, "r", rollback=True))
    run.activate()
    run.handle(RunRaised(T0 + 5, BOOM))
    assert run.records[-1] == Terminated(T0 + 5, "", None, T0 + 5 + MONTH_MS)


def test_an_end_that_the_engine_makes_does() -> None:
    dead = created(Retention(error_ms=1_000))
    for _ in range(dead.limits.sandbox_deaths_max):
        dead.activate()
        dead.handle(GuestLost(T0, "exit 137"))
    large = created(Retention(error_ms=1_000), EngineLimits(instance_bytes_max=1_000))
    large.activate()
    large.handle(StepSucceeded(T0, key("large"), 1, 7, b"x" * 1_001))
    for run in (dead, large):
        assert isinstance(run.records[-1], Errored)
        assert run.instance.expires_at == T0 + 1_000


def test_what_says_nothing_is_kept_for_ever() -> None:
    for run in (ended(RunReturned(T0, b"1"), NOT_SAID), ended(RunReturned(T0, b"1"), Retention(error_ms=MONTH_MS))):
        assert run.records[-1] == Completed(T0, b"1")
        assert (run.instance.next_due(), run.instance.next_tick()) == (None, None)
        run.at = T0 + 10**15
        run.no_effect(Tick(run.at))


def test_it_is_due_when_it_expires_and_not_before() -> None:
    run = ended(RunReturned(T0, b"1"))
    assert run.instance.next_due() == run.instance.next_tick() == T0 + WEEK_MS
    run.at = T0 + WEEK_MS - 1
    run.no_effect(Tick(run.at))
    run.at = T0 + WEEK_MS
    actions = run.tick()
    assert names(actions) == ["WakeNow", "Deleting"]
    assert appended(actions) == [Deleting(run.at, InstanceUid("uid-1"), T0, "")]
    assert (run.instance.phase, run.instance.next_due(), run.instance.next_tick()) == (Phase.DELETING, 0, None)
    run.no_effect(Tick(run.at))


def test_a_crash_between_end_and_expiry_changes_nothing_of_it() -> None:
    run = ended(RunReturned(T0, b"1"))
    run.crash()
    assert run.instance.next_due() == T0 + WEEK_MS
    run.at = T0 + WEEK_MS
    run.tick()
    run.crash()
    assert run.instance.phase is Phase.DELETING


def test_a_restart_keeps_it_and_its_next_end_begins_anew() -> None:
    run = ended(RunReturned(T0, b"1"))
    run.at = T0 + WEEK_MS - 1
    run.handle(RestartRequested(run.at, None, ""))
    assert run.instance.expires_at is None
    run.at = T0 + 2 * WEEK_MS
    assert run.tick() == []
    run.activate()
    run.handle(RunRaised(run.at, BOOM))
    assert run.instance.expires_at == run.at + MONTH_MS


def test_a_migration_does_not_change_it() -> None:
    run = created(Retention(WEEK_MS))
    run.handle(MigrateRequested(T0, Digest("sha256-2"), "main:Flow", ""))
    assert run.instance.retention == Retention(WEEK_MS)


def test_a_call_may_delete_it_before() -> None:
    run = ended(RunReturned(T0, b"1"))
    run.handle(DeleteRequested(T0, "r"))
    assert run.instance.phase is Phase.DELETING
    run.at = T0 + WEEK_MS
    run.no_effect(Tick(run.at))
