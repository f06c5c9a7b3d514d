"""A test is rerun with a crash after each record, and a failure says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stepwell import DeterminismError
from stepwell.testing import Workflows, WorkflowTestError, crash_at_every_record
from tests.unit.testing import programs


@crash_at_every_record
def test_an_order_survives_every_crash(workflows: Workflows) -> None:
    order = workflows.start(programs.Order, {"card": 1})
    order.send_event("approval", "yes")
    assert order.result() == ["paid 1", "yes"]
    assert [step.attempts for step in order.steps] == [3, 1, 1, 1]


@crash_at_every_record
async def test_an_async_test_is_rerun_too(workflows: Workflows) -> None:
    assert workflows.start(programs.TenSteps).result() == list(range(10))


def test_each_record_has_its_crash() -> None:
    crashes: list[int] = []

    @crash_at_every_record
    def story(workflows: Workflows) -> None:
        assert workflows.start(programs.TenSteps).result() == list(range(10))
        crashes.append(workflows.crash.number if workflows.crash is not None else 0)

    with Workflows() as workflows:
        story(workflows)
        assert crashes == list(range(len(workflows.records) + 1))
        assert len(crashes) == 14


def test_too_many_records_are_refused_and_not_left_out() -> None:
    @crash_at_every_record(crashes_max=3)
    def story(workflows: Workflows) -> None:
        workflows.start(programs.TenSteps).result()

    with Workflows() as workflows, pytest.raises(WorkflowTestError, match="rerun 13 times, over crashes_max of 3"):
        story(workflows)


def test_a_failure_names_the_record_and_how_to_rerun_it() -> None:
    @crash_at_every_record
    def story(workflows: Workflows) -> None:
        programs.Drifts.runs = 0
        drifting = workflows.start(programs.Drifts)
        drifting.modify.disable_sleeps()
        workflows.settle()
        assert drifting.result() is None

    with Workflows() as workflows, pytest.raises(DeterminismError) as failed:
        story(workflows)
    assert "record 3, StepCompleted of step 'step 1' (call 1)" in "\n".join(failed.value.__notes__)


def test_the_plugin_alone_is_enough_and_reruns_one_record(tmp_path: Path) -> None:
    source = """
from stepwell import WorkflowEntrypoint
from stepwell.testing import crash_at_every_record

class Drifts(WorkflowEntrypoint):
    runs = 0
    async def run(self, event, step):
        Drifts.runs += 1
        @step.do(f"step {Drifts.runs}")
        async def one():
            return 1
        return await one()

@crash_at_every_record
def test_it(workflows):
    Drifts.runs = 0
    assert workflows.start(Drifts).result() == 1
"""
    (tmp_path / "test_it.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "stepwell.testing.plugin", "-p", "no:asyncio", "-q", "test_it.py"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "To rerun just this: pytest 'test_it.py::test_it' --stepwell-crash-at 3" in failed.stdout
    passed = subprocess.run([*command, "--stepwell-crash-at", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert passed.returncode == 0, passed.stdout


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    script = "import sys, stepwell.testing.plugin; print([n for n in sys.modules if n.startswith('stepwell.') and "
    script += "n.split('.')[1] in ('guest', 'engine', 'client')])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
