"""Replays of several instances: some at once, and those that are gone left out."""

from __future__ import annotations

from asyncio import Semaphore, TaskGroup
from collections.abc import Awaitable, Callable, Iterable, Sequence

from stepwell.errors import NotFoundError
from stepwell.v1 import instances_pb2 as pb


async def replay_all(
    replay: Callable[[str], Awaitable[pb.Replay]], names: Iterable[str], *, at_once: int
) -> Sequence[pb.Replay]:
    """What each came to, in their order. One that is deleted meanwhile is left out."""
    turns = Semaphore(at_once)

    async def one(name: str) -> pb.Replay | None:
        async with turns:
            try:
                return await replay(name)
            except NotFoundError as error:
                if "version" in error.metadata:
                    raise
                return None

    try:
        async with TaskGroup() as tasks:
            asked = [tasks.create_task(one(name)) for name in names]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [found for each in asked if (found := each.result()) is not None]
