"""How often and for how long one call is tried: by its error's class, never by its text.

A call is made again when its error's class says that the same call may succeed later (`retryable`), after the delay
that the server named, or else after ever longer ones. All tries of a call are the same request, with the same
request_id, so that however many of them arrive, one takes effect.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from stepwell.errors import ApiError

CALL_S_MAX = 30.0
"""For a call with all of its tries and the pauses between them, where the caller sets nothing else."""

DEPLOY_S_MAX = 600.0
"""The same for a deploy: the upload and the check in a sandbox; a cold sandbox alone may take seconds."""

TRIES_MAX = 20
DELAY_S_FIRST = 0.1
DELAY_S_MAX = 5.0
"""To which delays double from the first, where the server named none."""

JITTER = 0.5
"""Each delay is longer by up to this part of it, by chance: those who failed together don't come back together."""

A = TypeVar("A")


def retryable(error: ApiError) -> bool:
    """Of a call that takes effect once, however often it arrives: it reads, or it has a request_id."""
    return error.retryable


def uncommitted(error: ApiError) -> bool:
    """Of a call that would take effect twice: it is made again only where it certainly had no effect."""
    return error.retryable and error.committed == "no"


@dataclass(frozen=True, slots=True)
class Patience:
    """What a client's calls have of it. The clock is monotonic, in seconds."""

    within_s: float | None = None
    """For one call with all of its tries; None is CALL_S_MAX, for a deploy DEPLOY_S_MAX."""
    tries_max: int = TRIES_MAX
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    """From 0 to 1."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def call(
        self,
        attempt: Callable[[float], Awaitable[A]],
        *,
        usual_s: float = CALL_S_MAX,
        repeats: Callable[[ApiError], bool] = retryable,
    ) -> A:
        """What an attempt gives, each of which is told how many seconds are left. Raises the last one's ApiError."""
        deadline = self.clock() + self.seconds(usual_s)
        failures = 0
        while True:
            try:
                return await attempt(max(deadline - self.clock(), 0.0))
            except ApiError as error:
                failures += 1
                delay_s = self.delay_s(failures, error)
                if failures >= self.tries_max or not repeats(error) or self.clock() + delay_s >= deadline:
                    raise
            await self.sleep(delay_s)

    def seconds(self, usual_s: float = CALL_S_MAX) -> float:
        """How long a call has."""
        return usual_s if self.within_s is None else self.within_s

    def delay_s(self, failures: int, error: ApiError) -> float:
        """Before the next try, after so many failures in a row."""
        doubled = min(DELAY_S_FIRST * 2 ** min(failures - 1, 16), DELAY_S_MAX)
        delay_s = doubled if error.retry_delay_s is None else error.retry_delay_s
        return delay_s * (1 + JITTER * self.chance())
