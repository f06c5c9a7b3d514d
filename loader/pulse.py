"""Finds guests whose event loop is stuck: one in which instances run and that says nothing, though it is asked.

Whatever a guest says is a sign of life, so a busy one is asked for nothing but the answer to one small frame a second.
What is counted is beats, not time: a host that was itself held up for long has missed one beat, and blames nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

BEAT_S_MAX: Final = 1.0
BEATS_MIN: Final = 4


class Pulse:
    """`beat` is called once a beat and answers whether the guest is asked and has to answer; `stalled` ends it.

    Set `heard` at each sign of life.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stall_ms: int,
        beat: Callable[[], bool],
        stalled: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._beat_s = min(BEAT_S_MAX, stall_ms / 1000 / BEATS_MIN)
        self._silent_max = math.ceil(stall_ms / 1000 / self._beat_s)
        self._beat = beat
        self._stalled = stalled
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self.heard = True

    def start(self) -> None:
        """Something runs in the guest. Idempotent."""
        if self._timer is None:
            self._silent, self.heard = 0, True
            self._timer = self._loop.call_later(self._beat_s, self._on_beat)

    def stop(self) -> None:
        """Ask no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_beat(self) -> None:
        self._silent = 0 if self.heard else self._silent + 1
        if self._silent >= self._silent_max:
            self._timer = None
            self._stalled()
            return
        self._timer = self._loop.call_later(self._beat_s, self._on_beat)
        self.heard = not self._beat()
