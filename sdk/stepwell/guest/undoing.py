"""Rolling an instance back, once its `run` has failed for good: handlers as steps, the last step's first.

Which handlers there are, and what their steps returned, follows from the completions that entered `run`: a replay
comes to the same. Whether the body of a step that did not complete had begun is not known; its handler runs, and is
given no output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.guest.failures import described

if TYPE_CHECKING:
    from stepwell.guest.asking import Asking
    from stepwell.guest.asks import Ask
    from stepwell.rollbacks import Rollback


class Undo:
    """The rollback of one call of a step."""

    __slots__ = ("context", "key", "output", "rollback")

    def __init__(self, ask: Ask, rollback: Rollback) -> None:
        assert ask.context is not None
        self.key = ask.key
        self.rollback = rollback
        self.context = ask.context
        self.output: bytes | None = None
        """What the step returned, as JSON."""


async def undo_all(asking: Asking, error: str) -> str | None:
    """Run all handlers; `error` is the ERROR that `run` failed with. What one of them fails with for good ends it: that
    ERROR is returned."""
    while asking.undos:
        try:
            await asking.roll_back(asking.undos.pop(), error)
        except Exception as failure:
            return described(failure)
    return None
