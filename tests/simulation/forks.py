"""Forks: which instances are forked, in some seeds, by a chance of their own, so that others stay as they are; and what
must hold of what they are copies of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from stepwell.v1 import instances_pb2 as pb
from tests.simulation.circumstances import Circumstances

if TYPE_CHECKING:
    from tests.simulation.calls import Calls
    from tests.simulation.lives import Life, Place
    from tests.simulation.oracle import Oracle
    from tests.simulation.world import World


class Forks:
    """Of one run."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def is_due(self) -> bool:
        """Whether one that has ended is forked now."""
        return self._chance.random() < 0.4

    def is_due_early(self) -> bool:
        """Whether somebody forks one in the middle of its life."""
        return self._chance.random() < 0.05

    async def made(self, calls: Calls, world: World, life: Life, waits: set[Place]) -> Life | None:
        """A fork of it, whose plan has those waits; None where it has no step yet. Raises Refused."""
        steps: pb.ListStepsResponse = await calls.answered("ListSteps", pb.ListStepsRequest(parent=life.name))
        seen: pb.Instance = await calls.answered("GetInstance", pb.GetInstanceRequest(name=life.name))
        chosen = self._chosen(life, steps.steps)
        if chosen is None:
            return None
        (step, place), nonce = chosen, json.loads(seen.params)["nonce"]
        before = list(life.seen)
        # Completions enter `run` one by one, in the order of the journal: what it saw before that one is copied.
        copied = {each: life.seen[each] for each in before[: before.index(place)]}
        world.oracle.forking[nonce] = (life, copied, len(copied.keys() & waits))
        request = pb.ForkInstanceRequest(
            name=life.name, step_name=step.step_name, step_count=step.count, request_id=world.mint()
        )
        forked: pb.Instance = await calls.answered("ForkInstance", request)
        fork = world.oracle.life(forked.uid, forked.name)
        world.oracle.made(fork, nonce)
        if forked.version.rpartition("/")[2] != life.version or forked.forked_from.uid != life.uid:
            world.oracle.violated(f"{fork.name} is a fork of {life.name} {life.uid}, and is {forked}")
        world.expected[fork.uid] = world.expected[life.uid]
        fork.touched_s = world.loop.now_s
        return fork

    def _chosen(self, life: Life, steps: Iterable[pb.Step]) -> tuple[pb.Step, Place] | None:
        """One of the steps that were listed, and where that is."""
        places = {str(value).encode(): place for place, value in life.seen.items() if isinstance(value, int)}
        choices = [(step, places[step.output]) for step in steps if step.output in places]
        return self._chance.choice(choices) if choices else None


def drawn(seed: int, circumstances: Circumstances) -> Forks | None:
    """None where there are none: in most seeds, and where instances are poison."""
    chance = Random(f"forks {seed}")
    return Forks(chance) if chance.random() < 0.4 and not circumstances.poisonous else None


def is_one(oracle: Oracle, life: Life, nonce: str) -> bool:
    """Whether what runs with the params of that create is a fork of what it made: the one that was asked for last."""
    if life.origin is None and nonce in oracle.forking:
        life.origin, life.copied, waits = oracle.forking.pop(nonce)
        life.began, life.spare = dict(life.origin.began), -waits
        oracle.counted["forks"] += 1
    return life.origin is not None


def compares(oracle: Oracle, life: Life, place: Place, value: Any) -> None:
    """A fork sees what its origin saw, up to the step that it begins from; that one and later ones run anew."""
    if place in life.copied:
        oracle.counted["copied results seen"] += 1
        if life.copied[place] != value:
            oracle.violated(f"{life.name} ({life.uid}) saw {value!r} at {place}, and {life.copied[place]!r} is copied")
    elif life.origin is not None and isinstance(value, int) and life.origin.seen.get(place) == value:
        oracle.violated(f"{life.name} ({life.uid}) saw {value!r} at {place}, which is its origin's")


def is_an_origins(life: Life, uid: str) -> bool:
    """Of an event: one that a wait of the origin's had, and gave back as it was cancelled, is copied with that wait."""
    return life.origin is not None and (uid == life.origin.uid or is_an_origins(life.origin, uid))
