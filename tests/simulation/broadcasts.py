"""Broadcasts: events to all instances that wait for their type, over and over, while others begin to wait and give up.

Each is known by its id, in what `run` heard and in the lists of events: nobody has one that was not sent, or that was
over before the first wait; who was counted has it; and so has, once nothing goes wrong, who waited all the time.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from stepwell.v1 import instances_pb2 as pb
from tests.simulation.calls import Calls
from tests.simulation.lines import shown
from tests.simulation.lives import Life
from tests.simulation.machine import WORKFLOW
from tests.simulation.network import STRAY_S
from tests.simulation.programs import CALL_TYPE

if TYPE_CHECKING:
    from tests.simulation.world import World

CALL_EVERY_S: Final = 5.0
"""Between two broadcasts of one tenant, on the average."""

PASSES_MAX: Final = 4
"""A broadcast that could not be sent to all is made again so often, at the most."""

OPEN_S: Final = 8.0
"""So long after it was asked for, once nothing goes wrong, a wait is open, and its instance in the list."""

AGAIN_S: Final = 20.0
"""So long after the last fault, and clocks' errors, every instance has gone on."""

HEARS_MS: Final = (500, 5_000, 30_000, 90_000)


@dataclass
class _Broadcast:
    """It may reach somebody from `since_s` on, until `until_s`: without end while it is being sent."""

    id: str
    tenant: str
    since_s: float
    until_s: float = float("inf")
    sent: int = 0
    """To so many at least, as one pass was told."""
    passes: list[tuple[float, float]] = field(default_factory=list)
    """From when to when it went through all, and reached each that it was to reach."""
    holders: set[str] = field(default_factory=set)
    """By uid: whose lists of events have it."""


class Broadcasts:
    """Of one run."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._all: dict[str, _Broadcast] = {}

    async def at_rest(self, world: World) -> None:
        """Return once nothing goes wrong any more: then some begin that wait for broadcasts, and for nothing else."""
        while not world.oracle.calm:  # noqa: ASYNC110
            await asyncio.sleep(1)

    def plan(self, plan: list[Any], world: World) -> list[Any]:
        """The same, and some of them wait for broadcasts."""
        if world.oracle.calm:
            return [[self._chance.choice(("hear", "hear or give up")), HEARS_MS[-1]]]
        plan = list(plan)
        for _ in range(self._chance.choice((0, 1, 1, 2))):
            kind = self._chance.choice(("hear", "hear or give up"))
            plan.insert(self._chance.randint(0, len(plan)), [kind, self._chance.choice(HEARS_MS)])
        return plan

    def check_list(self, world: World, life: Life, listed: list[pb.ReceivedEvent], heard: set[str]) -> None:
        """Broadcasts that it has: each is one that was sent, while it waited for any; and whether it has all."""
        which = f"{life.name} ({life.uid})"
        began_s = min((since_s for since_s, _ in _hears(life)), default=float("inf"))
        held = {json.loads(each.payload): each for each in listed if each.type == CALL_TYPE}
        for id, each in held.items():
            broadcast = self._all.get(id)
            if broadcast is None or broadcast.id != each.event_id or broadcast.tenant != life.name.split("/")[1]:
                world.oracle.violated(f"{which} has the broadcast {shown(each)}, which nobody sent")
            elif began_s > broadcast.until_s:
                world.oracle.violated(f"{which} has the broadcast {id}, and first waited for one at {began_s:.3f} s")
            else:
                broadcast.holders.add(life.uid)
        for id in heard:
            if id not in held or held[id].state != pb.EVENT_STATE_TAKEN:
                has = shown(held[id]) if id in held else "none"
                world.oracle.violated(f"{which} heard {id} at {life.heard[id]}, and has {has} of it")
        for since_s, until_s in self._open(world, life, heard):
            for id in self._due(world, life.name.split("/")[1], since_s, until_s):
                if id not in held:
                    world.oracle.violated(f"{which} waited from {since_s:.3f} s to {until_s:.3f} s, and has no {id}")
        world.oracle.counted["broadcasts listed"] += len(held)

    def _open(self, world: World, life: Life, heard: set[str]) -> Iterator[tuple[float, float]]:
        """Of waits that are over: from when to when each was open all the time."""
        for place in life.unheard:
            since_s, until_s = life.hears[place]
            yield since_s, until_s - world.oracle.clock_error_s - 1.0
        for id in heard & self._all.keys():
            if life.heard[id] in life.hears:
                yield life.hears[life.heard[id]][0], self._all[id].since_s

    def _due(self, world: World, tenant: str, since_s: float, until_s: float) -> Iterator[str]:
        """What must have reached a wait that was open all the time between."""
        oracle = world.oracle
        if not oracle.calm:
            return
        if since_s <= world.last_fault_s:  # what was not durable by then is asked for again
            since_s = world.last_fault_s + oracle.clock_error_s + AGAIN_S
        since_s += OPEN_S
        for each in self._all.values():
            if each.tenant == tenant and any(since_s < asked and done < until_s for asked, done in each.passes):
                oracle.counted["broadcasts that were due"] += 1
                yield each.id

    async def call_out(self, world: World, tenant: str) -> None:
        """One broadcast after the other, until cancelled; some of them once more, and some twice at once."""
        calls = Calls(world, tenant)
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / CALL_EVERY_S))
            before = [each for each in self._all.values() if each.tenant == tenant]
            if before and self._chance.random() < 0.25:
                broadcast = self._chance.choice(before)
            else:
                id = f"call-{tenant}-{len(before) + 1}"
                broadcast = self._all[id] = _Broadcast(id, tenant, world.loop.now_s)
            times = self._chance.choice((1, 1, 2))
            broadcast.until_s = float("inf")
            tasks = [world.loop.world.spawn(self._called(calls, world, broadcast)) for _ in range(times)]
            await asyncio.wait(tasks)
            for task in tasks:
                task.result()
            broadcast.until_s = world.loop.now_s + STRAY_S

    async def _called(self, calls: Calls, world: World, broadcast: _Broadcast) -> None:
        """To all; where it could not be sent to some, again."""
        for _ in range(PASSES_MAX):
            asked_s, sent, failures = world.loop.now_s, 0, list[Any]()
            async for page in self._pages(calls, broadcast):
                sent += page.sent
                failures += page.failures
            broadcast.sent = max(broadcast.sent, sent)
            if not failures:
                broadcast.passes.append((asked_s, world.loop.now_s))
                world.oracle.counted["broadcasts sent to all"] += 1
                return
            if any(each.error.reason != "UNAVAILABLE" for each in failures):
                world.oracle.violated(f"{broadcast.id} was refused: {failures}")
            world.oracle.counted["broadcasts sent to some"] += 1

    async def _pages(self, calls: Calls, broadcast: _Broadcast) -> AsyncIterator[pb.BroadcastEventResponse]:
        token, size = "", self._chance.choice((2, 5, 0))
        while True:
            request = pb.BroadcastEventRequest(
                parent=f"tenants/{broadcast.tenant}/workflows/{WORKFLOW}",
                type=CALL_TYPE,
                payload=json.dumps(broadcast.id).encode(),
                event_id=broadcast.id,
                page_size=size,
                page_token=token,
            )
            page: pb.BroadcastEventResponse = await calls.answered("BroadcastEvent", request)
            yield page
            token = page.next_page_token
            if not token:
                return

    def check(self, world: World, looked_through: set[str]) -> None:
        """At the end of all: nobody heard what was not sent, and who was counted has it."""
        unknown: dict[str, int] = defaultdict(int)
        for life in world.oracle.lives.values():
            _, tenant, _, workflow, *_ = life.name.split("/")
            if workflow == WORKFLOW:
                unknown[tenant] += life.uid not in looked_through
                self._check_heard(world, life)
        for each in self._all.values():
            if each.sent > len(each.holders) + unknown[each.tenant]:
                world.oracle.violated(
                    f"{each.id} was sent to {each.sent}; {len(each.holders)} have it, {unknown[each.tenant]} may"
                )

    def _check_heard(self, world: World, life: Life) -> None:
        for id, place in life.heard.items():
            broadcast = self._all.get(id)
            if broadcast is None or broadcast.tenant != life.name.split("/")[1]:
                world.oracle.violated(f"{life.name} ({life.uid}) heard {id} at {place}, which nobody sent")


def _hears(life: Life) -> Iterator[tuple[float, float]]:
    """Of all its lives, and of what it is a fork of: from when to when it waited for broadcasts, at most."""
    each: Life | None = life
    while each is not None:
        yield from each.hears.values()
        if each.origin is not None:
            yield from _hears(each.origin)
        each = each.before
