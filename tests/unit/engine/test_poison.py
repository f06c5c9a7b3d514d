"""The poison rule: what kills those who run it is given up, whatever else is done to it meanwhile."""

from __future__ import annotations

from stepwell.engine.events import (
    DrainRequested,
    ResumeRequested,
)
from stepwell.engine.instance import Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import ActivationEnded, Paused
from tests.unit.engine.driven import T0, Driven, appended, names

LIMITS = EngineLimits()


def test_progress_forgives_the_deaths_before_it() -> None:
    run = Driven().running()
    for _ in range(2):
        run.lose()
        run.activate()
    run.succeed("fetch")
    assert names(run.lose()) == ["SandboxDied", "Activate"]


def test_events_that_come_meanwhile_are_no_progress() -> None:
    run = Driven().running()
    for death in range(3):
        run.send("news", b"1", f"request-{death}")
        actions = run.lose("exit 137")
        if death < 2:
            run.activate()
    assert names(actions) == ["SandboxDied", "Errored"]


def test_what_time_does_meanwhile_is_no_progress() -> None:
    run = Driven().running()
    run.sleep("a while", 1_000)
    run.wait("news", "news", 2_000)
    for death in range(3):
        run.at += 1_000
        run.tick()
        actions = run.lose("exit 137")
        if death < 2:
            run.activate()
    assert names(actions) == ["SandboxDied", "Errored"]


def test_an_event_that_a_wait_gets_is_no_progress() -> None:
    run = Driven().running()
    for number in range(3):
        run.wait(f"news {number}", "news")
    for death in range(3):
        actions = run.lose("exit 137")
        if death < 2:
            run.activate()
            assert "EventMatched" in names(run.send("news", b"1", f"request-{death}"))
    assert names(actions) == ["SandboxDied", "Errored"]


def test_the_fifth_death_of_a_node_pauses_the_instance() -> None:
    run = Driven()
    run.create()
    for deaths in range(LIMITS.node_deaths_max):
        assert run.instance.node_deaths == deaths
        assert (run.instance.node_deaths >= LIMITS.node_deaths_alone) is (deaths >= 3)
        assert names(run.activate()) == ["Activated", "TellStart"]
        run.crash()
    (paused,) = appended(run.activate())
    assert isinstance(paused, Paused)
    assert paused.failure is not None
    assert paused.failure.type == "NodeDiedError"
    run.crash()
    assert run.instance.next_due() is None


def test_a_resume_gives_an_instance_that_killed_nodes_new_chances() -> None:
    run = Driven()
    run.create()
    for _ in range(LIMITS.node_deaths_max):
        run.activate()
        run.crash()
    run.activate()
    run.handle(ResumeRequested(run.at, ""))
    assert names(run.activate()) == ["Activated", "TellStart"]


def test_deaths_of_sandboxes_are_no_deaths_of_nodes() -> None:
    run = Driven().running()
    run.lose()
    run.activate()
    run.lose()
    assert run.instance.node_deaths == 0


def test_a_node_that_drains_is_no_death() -> None:
    run = Driven().running()
    actions = run.handle(DrainRequested(run.at))
    assert appended(actions) == [ActivationEnded(T0, runnable=True)]
    assert names(actions)[-1] == "TellStop"
    run.crash()
    assert run.instance.node_deaths == 0
    assert run.instance.next_due() == 0


def test_a_node_that_drains_is_no_progress_either() -> None:
    """Or an instance that takes down sandbox after sandbox would go on for ever, as long as its shard moves."""
    run = Driven().running()
    run.lose()
    run.activate()
    run.lose()
    run.activate()
    run.handle(DrainRequested(run.at))
    assert (run.instance.sandbox_deaths, run.instance.node_deaths) == (2, 0)
    run.activate()
    run.lose()
    assert run.instance.phase is Phase.FINISHED


def test_deaths_of_nodes_before_a_drain_still_count() -> None:
    run = Driven().running()
    run.crash()
    run.activate()
    run.handle(DrainRequested(run.at))
    assert run.instance.node_deaths == 1
