"""An event loop whose time is virtual: when nothing is ready, it is at once the time of the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at a round number of seconds since the epoch, so that `clock` can be read from it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1_000_000.0

    def time(self) -> float:
        return self._now

    def clock(self) -> int:
        """ms since the epoch."""
        return round(self._now * 1000)

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it to its end, in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test())


async def until(condition: Callable[[], object], within_s: float = 600.0) -> None:
    """Let virtual time pass until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        assert loop.time() < deadline, "the condition never held"
        await asyncio.sleep(0.01)
