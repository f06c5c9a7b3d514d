"""From the driver's thread to the event loop: what became ready together crosses together.

`call_soon_threadsafe` wakes the loop by a byte through a socket each time; under load one crossing has many answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Bridge:
    """`tell` from any thread; what it was given is called on the loop, in that order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._told: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._waking = False

    def tell(self, call: Callable[..., object], *of: Any) -> None:
        """Never raises: once the loop is closed, nobody is left to be told."""
        self._told.append((call, of))
        if not self._waking:  # set after the append: whoever clears it looks at what was appended before
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                self._told.clear()

    def _deliver(self) -> None:
        self._waking = False
        for _ in range(len(self._told)):
            call, of = self._told.popleft()
            try:
                call(*of)
            except Exception as error:
                self._loop.call_exception_handler({"message": "an answer of Cassandra's", "exception": error})
