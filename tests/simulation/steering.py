"""Which instances are restarted, moved to other versions and cancelled, and when: in some seeds, by a chance of their
own, so that others stay as they are."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.circumstances import Circumstances
from tests.simulation.lives import Life
from tests.simulation.programs import VERSIONS, marked_plan


class Steering:
    """Of one run."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def plan(self, plan: list[Any]) -> list[Any]:
        """Half of all instances may be restarted."""
        return marked_plan(plan) if self._chance.random() < 0.5 else plan

    over = False
    """None is begun any more: the longest life must end within the run."""

    def is_due(self, life: Life) -> bool:
        """Whether it is restarted now that it has ended, or was broken off for that."""
        if not life.status:
            return True
        return not self.over and life.mark is not None and self._chance.random() < 0.6

    def is_due_early(self, life: Life) -> bool:
        """Whether somebody restarts it in the middle of its life. Whoever asked for a pause or a rollback has that."""
        if self.over:
            return False
        able = life.mark is not None and not life.paused and life.rolls_back_since_s is None
        return able and self._chance.random() < 0.1

    def cancels(self, life: Life) -> bool:
        """Whether somebody cancels it now; its code lets that out, and so it ends."""
        able = not self.over and life.rolls_back_since_s is None and life.cancelled_s is None
        return able and self._chance.random() < 0.03

    def version(self, life: Life) -> int:
        """The number of the version that it is to be moved to now; mostly 0, for none."""
        if self.over or life.rolls_back_since_s is not None or self._chance.random() >= 0.1:
            return 0
        return self._chance.randint(1, VERSIONS)


def drawn(seed: int, circumstances: Circumstances) -> Steering | None:
    """None where there are none: in most seeds, and where instances are poison."""
    chance = Random(f"restarts {seed}")
    return Steering(chance) if chance.random() < 0.3 and not circumstances.poisonous else None
