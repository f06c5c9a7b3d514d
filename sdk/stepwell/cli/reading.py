"""An instance with its steps, page by page, up to as many as one document holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stepwell.client.connection import Client
    from stepwell.v1.instances_pb2 import Instance, Step

STEPS_MAX = 1000


class Reading(NamedTuple):
    """What was read."""

    instance: Instance
    steps: list[Step] | None
    """None where they were not asked for."""
    more: str
    """The token of the steps after these; empty when there are none."""


async def read(client: Client, name: str, steps_page_token: str) -> Reading:
    """The instance, then its steps: so the steps may be newer than the status, never older."""
    instance = await client.instances.get(name)
    return Reading(instance, *await steps_of(client, name, steps_page_token))


async def steps_of(client: Client, name: str, page_token: str) -> tuple[list[Step], str]:
    """At most STEPS_MAX steps from there on, and the token of what follows them."""
    steps: list[Step] = []
    while True:
        page = await client.instances.list_steps(name, page_size=STEPS_MAX - len(steps), page_token=page_token)
        steps += page.steps
        page_token = page.next_page_token
        if not page_token or len(steps) >= STEPS_MAX:
            return steps, page_token
