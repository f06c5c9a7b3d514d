"""Another version for an instance that goes on: what is given up, what stays, and what is refused."""

from __future__ import annotations

from stepwell.engine.events import (
    DeleteRequested,
    MigrateRequested,
    PauseRequested,
    ResumeRequested,
    StepSucceeded,
    TerminateRequested,
)
from stepwell.engine.instance import Phase
from stepwell.engine.records import Migrated
from stepwell.errors import InvalidArgumentError, WrongStateError
from stepwell.names import Digest
from tests.unit.engine.driven import T0, Driven, appended, key, names

OLD, NEW = Digest("sha256-1"), Digest("sha256-2")


def migrate(run: Driven, digest: Digest = NEW, request_id: str = "") -> list[str]:
    entrypoint = "main:Flow" if digest == OLD else "other:Flow"
    return names(run.handle(MigrateRequested(run.at, digest, entrypoint, request_id)))


def test_one_that_runs_is_stopped_and_begins_on_the_new_version() -> None:
    run = Driven().running()
    run.succeed("reserve")
    run.start("charge")
    assert migrate(run) == ["WakeNow", "Migrated", "TellStop", "Activate"]
    assert (run.instance.digest, run.instance.entrypoint) == (NEW, "other:Flow")
    run.illegal(StepSucceeded(run.at, key("charge"), 1, 7, b"1"), "outside an activation")
    assert names(run.activate()) == ["Activated", "TellStart"]
    assert [completion.key for completion in run.instance.completions] == [key("reserve")], "what is recorded stays"
    run.succeed("charge")


def test_one_that_hibernates_sleeps_on() -> None:
    run = Driven().running()
    run.sleep("a day", 86_400_000)
    run.idle()
    assert migrate(run) == ["WakeNow", "Migrated"]
    assert run.instance.next_due() == T0 + 86_400_000
    run.at += 86_400_000
    assert names(run.tick()) == ["SleepFired", "Activate"]


def test_one_that_is_paused_stays_so_and_resumes_on_the_new_version() -> None:
    run = Driven().running()
    run.start("reserve")
    run.handle(PauseRequested(run.at, ""))
    assert migrate(run) == ["WakeNow", "Migrated", "TellStop"]
    assert run.instance.phase is Phase.PAUSED
    assert names(run.handle(ResumeRequested(run.at, ""))) == ["WakeNow", "Resumed", "Activate"]
    assert run.instance.digest == NEW


def test_to_the_version_that_it_runs_nothing_is_given_up() -> None:
    run = Driven().running()
    run.start("reserve")
    run.no_effect(MigrateRequested(run.at, OLD, "main:Flow", ""))
    assert migrate(run, OLD, "call-1") == ["WakeNow", "Migrated"], (
        "it may come again when there would be something to do"
    )
    run.succeed("reserve")


def test_a_call_that_comes_again_migrates_once_and_its_id_names_no_other() -> None:
    run = Driven().running()
    migrate(run, NEW, "call-1")
    migrate(run, OLD)
    run.no_effect(MigrateRequested(run.at, NEW, "other:Flow", "call-1"))
    assert run.instance.digest == OLD
    run.refused(MigrateRequested(run.at, OLD, "main:Flow", "call-1"), InvalidArgumentError, "another version")
    run.refused(TerminateRequested(run.at, "call-1"), InvalidArgumentError, "another call")


def test_what_has_ended_is_refused() -> None:
    run = Driven()
    run.refused(MigrateRequested(run.at, NEW, "other:Flow", ""), WrongStateError)
    run.running()
    run.handle(TerminateRequested(run.at, ""))
    run.refused(MigrateRequested(run.at, NEW, "other:Flow", ""), WrongStateError, "can't be migrated")
    run.handle(DeleteRequested(run.at, ""))
    run.refused(MigrateRequested(run.at, NEW, "other:Flow", ""), WrongStateError)


def test_wherever_the_node_dies_it_is_on_one_of_the_two() -> None:
    run = Driven().running()
    run.start("reserve")
    migrate(run)
    (record,) = [each for each in run.records if isinstance(each, Migrated)]
    for lost, digest in ((0, NEW), (1, OLD)):
        again = Driven()
        again.records = run.records[: len(run.records) - lost]
        again.crash()
        assert (again.instance.digest, again.instance.next_due()) == (digest, 0)
    assert record == Migrated(run.at, NEW, "other:Flow", "")
    assert appended(run.activate())
