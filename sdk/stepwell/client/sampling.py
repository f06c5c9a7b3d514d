"""Which of a workflow's instances stand for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from stepwell.client.resource_names import id_in
from stepwell.v1 import instances_pb2 as pb

SAMPLED_FROM_MAX = 10_000
"""Instances that are looked at, newest first."""

PAGE_SIZE = 1_000

Page = Callable[[Iterable[pb.InstanceStatus.ValueType], str], Awaitable[pb.ListInstancesResponse]]
"""Of the list, by statuses and token."""


async def first(
    page: Page, statuses: Iterable[pb.InstanceStatus.ValueType], most: int, versions: Collection[str]
) -> list[pb.Instance]:
    """The newest of those statuses, and of those versions where any are named."""
    found, seen, token = list[pb.Instance](), 0, ""
    while len(found) < most and seen < SAMPLED_FROM_MAX:
        answer = await page(statuses, token)
        seen += len(answer.instances)
        found += [each for each in answer.instances if not versions or id_in(each.version, "versions") in versions]
        token = answer.next_page_token
        if not token:
            break
    return found[:most]


def spread(instances: Sequence[pb.Instance], size: int) -> list[pb.Instance]:
    """So many of them, at even distances."""
    if len(instances) <= size:
        return list(instances)
    return [instances[number * len(instances) // size] for number in range(size)]
