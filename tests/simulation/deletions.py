"""Which instances are deleted in the middle of their lives, by callers and by their parents: in some seeds, by a chance
of their own, so that others stay as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.circumstances import Circumstances
from tests.simulation.lives import Life

if TYPE_CHECKING:
    from tests.simulation.world import World


class Deletions:
    """Of one run."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    over = False
    """None is begun any more."""

    def is_due(self) -> bool:
        """Whether somebody deletes it now, whatever it is at."""
        return not self.over and self._chance.random() < 0.03

    def is_of_a_child(self) -> bool:
        """Whether a parent that would terminate it deletes it."""
        return self._chance.random() < 0.7


async def early(world: World, life: Life, delete: Callable[[Life], Awaitable[None]]) -> None:
    """It goes on, as far as its caller knows; nobody else looks at it meanwhile."""
    await world.network.without_strays(life.name)
    world.oracle.terminates(life)
    life.status = "GONE"
    await delete(life)
    await world.network.without_strays(life.name)
    world.oracle.counted["deleted early"] += 1


def drawn(seed: int, circumstances: Circumstances, *, restarts: bool) -> Deletions | None:
    """None where there are none: in most seeds, where instances are poison, and where parents are restarted, which
    create anew what is gone."""
    chance = Random(f"deletions {seed}")
    return Deletions(chance) if chance.random() < 0.4 and not circumstances.poisonous and not restarts else None
