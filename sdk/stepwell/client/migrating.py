"""All of a workflow's instances to another version, one by one."""

from __future__ import annotations

from asyncio import Semaphore, TaskGroup
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from stepwell.client.resource_names import id_in
from stepwell.client.sampling import PAGE_SIZE
from stepwell.errors import ApiError, ConflictError, NotFoundError, ReplayMismatchError, WrongStateError
from stepwell.v1 import instances_pb2 as pb

REFUSALS_MAX = 1_000
"""Of which it is told why; more are counted."""

Page = Callable[[int, str], Awaitable[pb.ListInstancesResponse]]
"""Of the list, by its size and token."""


@dataclass(slots=True)
class MigratedAll:
    """How many are migrated now, and how many are not since their own journal, or haste, does not allow it."""

    migrated: int = 0
    refused: int = 0
    refusals: list[tuple[str, ApiError]] = field(default_factory=list)
    """By name, of the first 1,000."""


async def migrate_all(
    page: Page, migrate: Callable[[str], Awaitable[pb.Instance]], version: str, *, at_once: int
) -> MigratedAll:
    """Pass over what runs the version by now, and what is deleted meanwhile."""
    done, turns, token = MigratedAll(), Semaphore(at_once), ""

    async def one(name: str) -> None:
        async with turns:
            try:
                await migrate(name)
            except NotFoundError as error:
                if "version" in error.metadata:
                    raise
            except (ReplayMismatchError, WrongStateError, ConflictError) as error:
                done.refused += 1
                if len(done.refusals) < REFUSALS_MAX:
                    done.refusals.append((name, error))
            else:
                done.migrated += 1

    async def all_of(instances: Collection[pb.Instance]) -> None:
        try:
            async with TaskGroup() as tasks:
                for each in instances:
                    if id_in(each.version, "versions") != version:
                        tasks.create_task(one(each.name))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    while True:
        answer = await page(PAGE_SIZE, token)
        await all_of(answer.instances)
        token = answer.next_page_token
        if not token:
            return done
