"""Programs that are hard to replay, by name: each runs live in many orders, and again from a crash at every record."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.replay.fake_host import install, recorded_live, replayed

Log = Callable[..., Any]


@pytest.fixture(autouse=True)
def _in_guest() -> Iterator[None]:
    hooks = sys.get_asyncgen_hooks()
    install()
    yield
    sys.set_asyncgen_hooks(*hooks)


async def ok(step: Any, name: str, value: Any) -> Any:
    async def body() -> Any:
        return value

    return await step.do(name)(body)()


async def bad(step: Any, name: str) -> Any:
    async def body() -> Any:
        raise ValueError(name)

    return await step.do(name)(body)()


async def the_first_of_two_steps(step: Any, log: Log) -> None:
    tasks = [asyncio.create_task(ok(step, name, name)) for name in "ab"]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    log([task.result() for task in done], len(pending))
    await ok(step, "after", 1)


async def a_wait_that_times_out_while_its_event_arrives(step: Any, log: Log) -> None:
    for _ in range(3):
        try:
            async with asyncio.timeout(5):
                log((await step.wait_for_event("news", "kind", timeout=None)).payload)
        except TimeoutError:
            log("timeout")


async def repeated_names_in_parallel_branches(step: Any, log: Log) -> None:
    async def branch(letter: str) -> None:
        for number in range(3):
            log(letter, await ok(step, "same", f"{letter}{number}"))

    await asyncio.gather(branch("a"), branch("b"))


async def caught_errors_and_finally_blocks(step: Any, log: Log) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(bad(step, "bad"))
            group.create_task(step.sleep("long", "1 hour"))
    except* ValueError as caught:
        log(len(caught.exceptions))
    finally:
        log(await ok(step, "cleanup", "clean"))


async def a_shielded_step_outlives_its_timeout(step: Any, log: Log) -> None:
    inner = asyncio.ensure_future(ok(step, "shielded", 1))
    try:
        log(await asyncio.wait_for(asyncio.shield(inner), 1))
    except TimeoutError:
        log("timeout", inner.done())
    log(await inner)


async def a_queue_between_producers_and_a_consumer(step: Any, log: Log) -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue(1)

    async def produce(name: str) -> None:
        await queue.put(await ok(step, name, name))

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(produce(name))
        for _ in range(3):
            log(await queue.get())


async def a_generator_that_is_left_early(step: Any, log: Log) -> None:
    async def pages() -> Any:
        try:
            for number in range(3):
                yield await ok(step, "page", number)
        finally:
            log("closed", await ok(step, "close", "x"))

    async with aclosing(pages()) as several:
        async for page in several:
            log(page)
            if page == 1:
                break


async def dependencies_at_once(step: Any, log: Log) -> None:
    for name in ("a", "b"):
        step.do(name)(lambda: 1)

    async def total(a: int, b: int) -> int:
        return a + b

    log(await step.do(concurrent=True)(total)())


async def a_return_that_leaves_steps_running(step: Any, log: Log) -> str:
    tasks = [asyncio.create_task(ok(step, name, name)) for name in "abc"]
    for each in asyncio.as_completed(tasks):
        return str(await each)
    return "none"


CASES = [
    the_first_of_two_steps,
    a_wait_that_times_out_while_its_event_arrives,
    repeated_names_in_parallel_branches,
    caught_errors_and_finally_blocks,
    a_shielded_step_outlives_its_timeout,
    a_queue_between_producers_and_a_consumer,
    a_generator_that_is_left_early,
    dependencies_at_once,
    a_return_that_leaves_steps_running,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_comes_out_the_same_after_a_crash_at_every_record(case: Any) -> None:
    outcomes = set()
    for seed in range(25):
        live = recorded_live(case, seed)
        outcomes.add((tuple(live.trace), live.outcome))
        for count in range(len(live.completions) + 1):
            assert replayed(case, live, count, random.Random(seed)) is None
    assert all(outcome is not None for _, outcome in outcomes)
