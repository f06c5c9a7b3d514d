from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from stepwell.errors import RunRestrictionError, WorkflowStalledError
from stepwell.guest import closing
from stepwell.guest.determinism import as_completed
from stepwell.guest.scheduler import RunLoop, RunTimer
from tests.replay.fake_host import guest_loop

pytestmark = pytest.mark.usefixtures("in_guest")


class Timers:
    """Keeps timers for the test to fire."""

    def __init__(self) -> None:
        self.asked: list[tuple[RunTimer, int]] = []
        self.cancelled: list[RunTimer] = []

    def ask_timer(self, timer: RunTimer, when_ms: int) -> None:
        self.asked.append((timer, when_ms))

    def cancel_timer(self, timer: RunTimer) -> None:
        self.cancelled.append(timer)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def loop(timers: Timers) -> Iterator[RunLoop]:
    loop = RunLoop(timers, guest_loop(), 1_000_000, 10_000)
    yield loop
    closing.close(loop)


def run(loop: RunLoop, function: Callable[[], Any]) -> asyncio.Task[Any]:
    """Run a coroutine function until nothing is ready."""
    tasks: list[Any] = []
    loop.drain(lambda: tasks.append(loop.create_task(function())))
    return tasks[0]  # type: ignore[no-any-return]


def test_what_is_ready_runs_in_order_until_nothing_is(loop: RunLoop) -> None:
    order: list[int] = []

    async def each(number: int) -> None:
        order.append(number)
        await asyncio.sleep(0)
        order.append(number + 10)

    async def main() -> Any:
        return await asyncio.gather(each(1), each(2))

    assert list(run(loop, main).result()) == [None, None]
    assert order == [1, 2, 11, 12]


def test_the_loop_that_ran_before_a_drain_runs_after_it(loop: RunLoop) -> None:
    async def outer() -> None:
        mine = asyncio.get_running_loop()
        mine.call_soon(lambda: loop.drain(lambda: seen.append(asyncio.get_running_loop())))
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is mine

    seen: list[object] = []
    asyncio.run(outer())
    assert seen == [guest_loop()]


def test_garbage_is_not_collected_while_draining(loop: RunLoop) -> None:
    seen: list[bool] = []
    loop.drain(lambda: seen.append(gc.isenabled()))
    assert (seen, gc.isenabled()) == ([False], True)


def test_sets_of_tasks_and_futures_iterate_in_an_order_of_their_own(loop: RunLoop) -> None:
    async def nothing() -> None:
        return None

    async def main() -> list[str]:
        tasks = [asyncio.create_task(nothing()) for _ in range(5)]
        futures = [loop.create_future() for _ in range(3)]
        gathered = [asyncio.gather(*futures), asyncio.gather(*futures)]
        numbers = [hash(each) for each in (*tasks, *futures, *gathered)]
        assert numbers == list(range(2, 12))
        for future in futures:
            future.set_result(None)
        await asyncio.wait(gathered)
        return [task.get_name() for task in sorted(asyncio.all_tasks() | set(tasks), key=hash)]

    assert run(loop, main).result() == [f"Task-{number}" for number in range(1, 7)]


def test_as_completed_starts_its_coroutines_in_the_order_given(loop: RunLoop) -> None:
    order: list[int] = []

    async def each(number: int) -> int:
        order.append(number)
        return number

    async def main() -> list[int]:
        return [await result for result in asyncio.as_completed([each(number) for number in range(20)])]

    assert asyncio.as_completed is as_completed
    assert run(loop, main).result() == order == list(range(20))


def test_as_completed_times_out(loop: RunLoop, timers: Timers) -> None:
    async def main() -> str:
        try:
            for result in asyncio.as_completed([asyncio.Event().wait()], timeout=5):
                await result
        except TimeoutError:
            return "timeout"
        return "none"

    task = run(loop, main)
    loop.drain(timers.asked[0][0].fire)
    assert task.result() == "timeout"


def test_timers_are_asked_for_and_time_is_that_of_the_last_completion(loop: RunLoop, timers: Timers) -> None:
    async def main() -> float:
        await asyncio.sleep(0.25)
        return loop.time()

    task = run(loop, main)
    ((timer, when_ms),) = timers.asked
    assert (when_ms, task.done()) == (1_000_250, False)
    loop.now_ms = 1_000_300
    loop.drain(timer.fire)
    assert task.result() == 1000.3
    assert timers.cancelled == []


def test_a_timer_that_is_not_needed_is_cancelled_once(loop: RunLoop, timers: Timers) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.sleep(0), 10)

    run(loop, main).result()
    assert timers.cancelled == [timer for timer, _ in timers.asked]
    assert len(timers.cancelled) == 2


def test_a_timer_beyond_a_year_is_refused(loop: RunLoop) -> None:
    with pytest.raises(ValueError, match="365 days at most"):
        run(loop, lambda: asyncio.sleep(float("inf"))).result()


def test_spinning_is_an_error(loop: RunLoop) -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(WorkflowStalledError, match="10000 turns without waiting"):
        run(loop, spin)


def test_nothing_outside_a_drain_can_wake_it_and_the_loop_remembers_the_try(loop: RunLoop) -> None:
    async def main() -> None:
        await event.wait()

    event = asyncio.Event()
    task = run(loop, main)
    with pytest.raises(RunRestrictionError, match="return a value from the step instead"):
        event.set()
    assert isinstance(loop.spoiled, RunRestrictionError)
    assert not task.done()


def test_a_callback_that_raises_is_told_and_stops_nothing(loop: RunLoop, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("in a callback")

    seen: list[int] = []
    loop.drain(lambda: (loop.call_soon(fail), loop.call_soon(seen.append, 1)))
    assert seen == [1]
    assert "ValueError: in a callback" in capsys.readouterr().err


def test_system_exit_leaves_the_drain_and_the_process_goes_on(loop: RunLoop) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(loop, leave)


def test_tasks_that_nobody_refers_to_are_held(loop: RunLoop) -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("closed")

    async def main() -> None:
        asyncio.create_task(background())  # noqa: RUF006

    run(loop, main)
    gc.collect()
    assert seen == []
    closing.close(loop)
    assert seen == ["closed"]


def test_many_short_tasks_leave_nothing_behind(loop: RunLoop) -> None:
    async def main() -> None:
        for _ in range(1000):
            await asyncio.create_task(asyncio.sleep(0))

    run(loop, main).result()
    assert len(loop._tasks) < 100


def test_async_generators_end_when_the_instance_does_in_order_of_their_beginning(loop: RunLoop) -> None:
    seen: list[str] = []

    async def letters(name: str) -> AsyncIterator[str]:
        try:
            yield name
            yield name
        finally:
            await asyncio.sleep(0)
            seen.append(name)

    async def main() -> None:
        for name in ("b", "a"):
            async for _ in letters(name):
                break
        async for _ in letters("exhausted"):
            pass

    run(loop, main).result()
    gc.collect()
    assert seen == ["exhausted"]
    closing.close(loop)
    assert seen == ["exhausted", "b", "a"]


def test_closing_cancels_in_order_of_creation_and_outlasts_a_task_that_will_not_end(loop: RunLoop) -> None:
    seen: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("no")

    async def polite(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(name)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for work in (polite("first"), stubborn(), polite("second")):
                group.create_task(work)

    run(loop, main)
    closing.close(loop)
    assert seen[:3] == ["first", "no", "second"]
    assert len(seen) == 2 + closing.ROUNDS_MAX


def test_a_timeout_in_a_finally_block_while_closing_disturbs_nobody_else(loop: RunLoop) -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            async with asyncio.timeout(0):
                seen.append("cleaning")
                await asyncio.sleep(0)
                seen.append("cleaned")

    run(loop, main)

    async def outer() -> str:
        asyncio.get_running_loop().call_soon(closing.close, loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "undisturbed"

    assert asyncio.run(outer()) == "undisturbed"
    assert seen[0] == "cleaning"
