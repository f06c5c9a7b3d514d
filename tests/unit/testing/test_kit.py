"""The kit runs workflows as the server does, in memory, on skipped time."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell import DeterminismError, EventTimeoutError, RunRestrictionError, StepTimeoutError
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, WrongStateError
from stepwell.testing import Workflows, WorkflowTestError
from tests.unit.testing import programs
from tests.unit.testing.programs import Declined


def test_time_is_skipped_by_exactly_what_is_waited_for() -> None:
    with Workflows(now=datetime(2030, 1, 1, tzinfo=UTC)) as workflows:
        order = workflows.start(programs.Order, {"card": 1})
        assert order.status == "queued"
        order.send_event("approval", "yes")
        assert order.result() == ["paid 1", "yes"]
        assert workflows.now - datetime(2030, 1, 1, tzinfo=UTC) < timedelta(days=14, seconds=81)
        assert workflows.now - datetime(2030, 1, 1, tzinfo=UTC) >= timedelta(days=14, seconds=80)
        assert [(step.name, step.kind, step.attempts, step.status) for step in order.steps] == [
            ("charge", "do", 3, "complete"),
            ("cool", "sleep", 1, "complete"),
            ("approval", "waitForEvent", 1, "complete"),
            ("ship", "do", 1, "complete"),
        ]


def test_what_run_prints_again_on_a_replay_is_dropped(workflows: Workflows, capsys: Any) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.send_event("approval")
    order.result()
    printed = "run\ncharging 1\ncharging 2\ncharging 3\n"
    assert [line.text for line in order.printed if line.step == "charge"] == printed.splitlines(keepends=True)[1:]
    assert order.printed[0].text == "run\n"
    assert capsys.readouterr().out == "".join(line.text for line in order.printed)


def test_time_moves_by_hand_and_no_further(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    workflows.settle()
    assert (order.status, order.step("charge").attempts) == ("waiting", 1)
    workflows.advance("9 seconds")
    assert order.step("charge").attempts == 1
    workflows.advance("1 second")
    assert order.step("charge").attempts == 2
    assert order.wait_for_step_result("charge") == "paid 1"
    workflows.advance("13 days")
    assert order.step("cool").status == "waiting"


def test_an_error_is_rebuilt(workflows: Workflows) -> None:
    failed = workflows.start(programs.Fails)
    with pytest.raises(Declined, match="no"):
        failed.result()
    assert isinstance(failed.error(), Declined)
    assert failed.status == "errored"
    with pytest.raises(Declined):
        failed.wait_for_step_result("charge")


def test_pauses_and_ends_are_the_servers(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.wait_for_step_result("charge")
    order.pause()
    order.wait_for_status("paused")
    workflows.advance("20 days")
    assert order.step("cool").status != "complete"
    order.resume()
    order.wait_for_step_result("cool")
    order.terminate()
    assert order.status == "terminated"
    with pytest.raises(WrongStateError):
        order.send_event("approval")
    with pytest.raises(WorkflowTestError, match="was terminated"):
        order.result()


def test_several_instances_share_the_clock(workflows: Workflows) -> None:
    first, second = (workflows.start(programs.Order, {"card": number}) for number in (1, 2))
    for each in (first, second):
        each.send_event("approval", each.id)
    assert second.result() == ["paid 2", "instance-2"]
    assert first.result() == ["paid 1", "instance-1"]
    with pytest.raises(AlreadyExistsError):
        workflows.start(programs.Order, id="instance-1")
    with pytest.raises(TypeError, match="is no workflow"):
        workflows.start(object)


def test_a_body_that_never_ends_times_out_on_skipped_time(workflows: Workflows) -> None:
    began = workflows.now
    with pytest.raises(StepTimeoutError):
        workflows.start(programs.Hangs).result()
    assert workflows.now - began >= timedelta(minutes=4, seconds=59)


def test_threads_and_processes_of_bodies_are_waited_for(workflows: Workflows) -> None:
    workflows.set_vars({"REGION": "eu"})
    assert workflows.start(programs.Threads).result() == ["done", 0, "eu"]


def test_processes_are_waited_for_where_the_loop_that_watched_them_is_over(workflows: Workflows) -> None:
    if sys.version_info < (3, 12):  # later ones have no such watcher
        before = asyncio.get_child_watcher()
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
        try:
            test_threads_and_processes_of_bodies_are_waited_for(workflows)
        finally:
            asyncio.set_child_watcher(before)


def test_time_is_not_skipped_under_a_thread_that_just_ends(workflows: Workflows) -> None:
    for _ in range(20):
        instance = workflows.start(programs.Threaded)
        assert instance.result() == list(range(20))
        assert {step.attempts for step in instance.steps} == {1}


def test_run_is_restricted_as_in_a_sandbox(workflows: Workflows) -> None:
    with pytest.raises(RunRestrictionError, match="socket"):
        workflows.start(programs.OpensASocket).result()


def test_code_that_does_something_else_on_a_replay_is_found(workflows: Workflows) -> None:
    programs.Drifts.runs = 0
    with pytest.raises(DeterminismError, match=r"step 'step 1'.*but run waits for step 'step 2'"):
        workflows.start(programs.Drifts).result()


def test_what_can_not_come_is_said(workflows: Workflows) -> None:
    forever = workflows.start(programs.Forever)
    with pytest.raises(WorkflowTestError, match=r"event 'approval'.*which nobody sent; it waits for ever"):
        forever.result()
    order = workflows.start(programs.Order, {"card": 1})
    with pytest.raises(WorkflowTestError, match="it waits for sleep 'cool'"):
        order.result(within="1 hour")
    with pytest.raises(WorkflowTestError, match="which nobody sent; it would time out at"):
        order.result(within="15 days")
    with pytest.raises(EventTimeoutError):
        order.result()
    with pytest.raises(WorkflowTestError, match="it is errored"):
        order.wait_for_step_result("ship")


def test_code_that_holds_up_the_loop_is_interrupted() -> None:
    with Workflows(real_seconds_max=0.2) as workflows, pytest.raises(WorkflowTestError, match="held up its event loop"):
        workflows.start(programs.Spins).result()


def test_a_crash_by_hand_loses_what_ran_and_nothing_else(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.wait_for_step_result("charge")
    workflows.kill()
    order.send_event("approval", 1)
    assert order.result() == ["paid 1", 1]
    assert order.step("charge").attempts == 3


def test_a_crash_runs_no_finally_block_and_the_body_runs_again(workflows: Workflows) -> None:
    programs.Stops.seen.clear()
    slow = workflows.start(programs.Stops)
    workflows.advance("1 second")
    workflows.kill()
    assert slow.result() == "done"
    assert programs.Stops.seen == ["begun", "begun", "finally"]
    assert slow.step("slow").attempts == 1


def test_a_body_that_outlives_its_timeout_costs_the_sandbox_and_in_the_end_the_instance(workflows: Workflows) -> None:
    error = workflows.start(programs.Clings).error()
    assert type(error).__name__ == "SandboxDiedError"
    assert [record.kind for record in workflows.records].count("SandboxDied") == 3


async def test_it_runs_within_an_async_test(workflows: Workflows) -> None:
    await asyncio.sleep(0)
    assert workflows.start(programs.TenSteps).result() == list(range(10))
    await asyncio.sleep(0)


def test_modifiers_leave_the_clock_where_it_is(workflows: Workflows) -> None:
    began = workflows.now
    order = workflows.start(programs.Order, {"card": 1})
    order.modify.disable_sleeps()
    order.modify.disable_retry_delays("charge")
    order.modify.mock_step_error("charge", Declined("mocked"), times=1)
    order.modify.force_step_timeout("charge", times=1)
    order.modify.mock_step_result("charge", "free")
    order.modify.mock_event("approval", "mocked")
    assert order.result() == ["free", "mocked"]
    assert order.step("charge").attempts == 3
    assert workflows.now - began < timedelta(seconds=5)


def test_a_forced_timeout_ignores_the_event_that_is_there(workflows: Workflows) -> None:
    workflows.modify_all.mock_event("approval", 1)
    workflows.modify_all.force_event_timeout("approval")
    order = workflows.start(programs.Order, {"card": 1})
    with pytest.raises(EventTimeoutError):
        order.result()


def test_errors_without_a_number_come_on_every_attempt(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.modify.force_step_timeout("charge")
    assert isinstance(order.error(), StepTimeoutError)
    assert order.step("charge").attempts == 4
    other = workflows.start(programs.Order, {"card": 1})
    other.modify.mock_step_error(("charge", 1), Declined("always"))
    assert str(other.error()) == "always"


def test_a_restart_keeps_what_came_before_the_step(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.send_event("approval", {"address": "Quay 9"})
    before = order.result()
    first = {step.name: step for step in order.steps}
    order.restart()
    order.send_event("approval", {"address": "Quay 10"})
    assert order.result() != before
    last = order.steps[-1].name
    order.restart(last)
    assert order.result()
    assert [step.name for step in order.steps] == [*first]


def test_a_fork_goes_on_by_itself_from_before_the_step(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.send_event("approval", {"address": "Quay 9"})
    before = order.result()
    fork = order.fork("ship", id="two")
    fork.modify.mock_step_result("ship", "by hand")
    workflows.kill()
    assert fork.result() == "by hand"
    assert order.result() == before
    assert [step.started_at for step in fork.steps[:-1]] == [step.started_at for step in order.steps[:-1]]
    assert fork.printed == [], "nothing is charged again"
    with pytest.raises(AlreadyExistsError):
        order.fork("ship", id="two")
    with pytest.raises(InvalidArgumentError):
        order.fork("nobody")


def test_an_event_comes_once_by_its_own_id(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.send_event("approval", "yes", event_id="delivery-1")
    order.send_event("approval", "yes", event_id="delivery-1")
    with pytest.raises(InvalidArgumentError, match="delivery-1"):
        order.send_event("approval", "no", event_id="delivery-1")
    assert order.result() == ["paid 1", "yes"]
    order.send_event("approval", "yes", event_id="delivery-1")
    with pytest.raises(WrongStateError):
        order.send_event("approval", "yes", event_id="delivery-2")
    with pytest.raises(ValueError, match="event id"):
        order.send_event("approval", event_id="a b")
