"""The one loop that asyncio knows in a guest: `run`'s during a drain, the bodies' otherwise."""

from __future__ import annotations

import asyncio
from contextvars import Context
from pathlib import Path

import pytest

from stepwell.errors import RunRestrictionError
from stepwell.guest.scheduler import SCHEDULER, RunFuture, RunLoop, RunTask
from tests.replay.fake_host import guest_loop
from tests.replay.guest_process import GuestProcess


class NoTimers:
    def ask_timer(self, timer: object, when_ms: int) -> None:
        raise AssertionError("nothing here sets a timer")

    def cancel_timer(self, timer: object) -> None:
        raise AssertionError("nothing here sets a timer")


@pytest.fixture
def scheduler() -> RunLoop:
    return RunLoop(NoTimers(), guest_loop(), 1_000_000, 10_000)


def body_context() -> Context:
    context = Context()
    context.run(SCHEDULER.set, None)
    return context


def run_program(guest: GuestProcess, bundle: Path, *lines: str) -> bytes:
    code = "\n        ".join(lines)
    (bundle / "main.py").write_text(
        "import asyncio, contextvars\nfrom stepwell import WorkflowEntrypoint\n"
        f"class Main(WorkflowEntrypoint):\n    async def run(self, event, step):\n        {code}\n"
    )
    guest.load(bundle, "main:Main")
    guest.start()
    last, output = guest.serve()
    return output or f"{last.error.type}: {last.error.message}".encode()


def test_what_is_made_in_run_is_runs_and_what_is_made_outside_is_ordinary(scheduler: RunLoop) -> None:
    made: list[object] = []
    scheduler.drain(lambda: made.append(asyncio.get_running_loop().create_future()))
    made.append(guest_loop().create_future())
    assert [type(each) is RunFuture for each in made] == [True, False]


@pytest.mark.parametrize("context", [Context(), body_context()], ids=["empty", "a body's"])
def test_a_task_of_run_is_runs_whatever_context_it_is_given(scheduler: RunLoop, context: Context) -> None:
    made: list[asyncio.Future[int]] = []

    async def wait() -> int:
        made.append(asyncio.get_running_loop().create_future())
        return await made[0]

    tasks: list[asyncio.Task[int]] = []
    scheduler.drain(lambda: tasks.append(asyncio.get_running_loop().create_task(wait(), context=context)))
    assert type(tasks[0]) is RunTask
    with pytest.raises(RunRestrictionError):
        made[0].set_result(1)
    assert scheduler.spoiled is not None
    scheduler.drain(lambda: tasks[0].cancel())


def test_one_run_can_not_wake_another(scheduler: RunLoop) -> None:
    other = RunLoop(NoTimers(), guest_loop(), 1_000_000, 10_000)
    event = asyncio.Event()
    tasks: list[asyncio.Task[bool]] = []
    scheduler.drain(lambda: tasks.append(scheduler.create_task(event.wait())))
    with pytest.raises(RunRestrictionError):
        other.drain(event.set)
    assert scheduler.spoiled is not None
    scheduler.drain(lambda: tasks[0].cancel())


def test_a_body_sees_the_tasks_of_no_run_and_run_sees_its_own(guest: GuestProcess, bundle: Path) -> None:
    output = run_program(
        guest,
        bundle,
        "async def look(): return sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())",
        "own = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())",
        "return [own, await step.call('look', look)]",
    )
    assert output == b'[["Instance._run"],["Attempt.run"]]'


def test_a_body_that_has_runs_future_settled_later_by_the_loop_ends_the_instance(
    guest: GuestProcess, bundle: Path
) -> None:
    output = run_program(
        guest,
        bundle,
        "future = asyncio.get_running_loop().create_future()",
        "async def wake():",
        "    asyncio.get_running_loop().call_soon(future.set_result, 1)",
        "    await asyncio.sleep(0.01)",
        "return await asyncio.gather(step.call('wake', wake), future)",
    )
    assert output.startswith(b"RunRestrictionError: the body of a step woke something that run waits for")


def test_a_callback_of_a_body_that_is_cancelled_by_run_stays_the_bodys(guest: GuestProcess, bundle: Path) -> None:
    output = run_program(
        guest,
        bundle,
        "async def slow():",
        "    await asyncio.sleep(60)",
        "try:",
        "    async with asyncio.timeout(None) as limit:",
        "        task = asyncio.create_task(step.call('slow', slow))",
        "        await asyncio.sleep(0)",
        "        task.cancel()",
        "        await task",
        "except asyncio.CancelledError:",
        "    return 'cancelled'",
    )
    assert output == b'"cancelled"'
