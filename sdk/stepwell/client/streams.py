"""Streams that outlive their connection: one that breaks is taken up again after its last item."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from stepwell.client.patience import Patience
from stepwell.errors import ApiError, NotFoundError

RESUME_S_MAX = 120.0
"""For how long a stream that had begun is taken up again in vain, where the caller sets nothing else: a server that is
started again is not the end of a watch."""

WORKED_S = 10.0
"""A stream that stood for so long worked, though nothing may have happened meanwhile."""


class WithCursor(Protocol):
    """An item, and where the stream goes on after it."""

    @property
    def cursor(self) -> str: ...


E = TypeVar("E", bound=WithCursor)


async def resumed(
    begin: Callable[[str], AsyncGenerator[E]],
    cursor: str,
    patience: Patience,
    *,
    resume_s: float,
    begun: bool = False,
    over_once_gone: Callable[[E | None], bool],
) -> AsyncGenerator[E]:
    """What `begin(cursor)` gives after the cursor, whole: each item once, none left out.

    Until it has begun it is tried as any call is; then again for `resume_s` in a row, whenever it breaks with an error
    whose class says so. What is gone by then is over where `over_once_gone(last item)` says so. Raises the last
    ApiError.
    """
    last: E | None = None
    failures = 0
    failing_since = patience.clock()
    while True:
        began = patience.clock()
        try:
            async with aclosing(begin(cursor)) as items:
                async for item in items:
                    begun, failures, last, cursor = True, 0, item, item.cursor
                    yield item
            return
        except NotFoundError:
            if begun and over_once_gone(last):
                return
            raise
        except ApiError as error:
            now = patience.clock()
            if failures == 0 or now - began >= WORKED_S:
                failures, failing_since = 0, now if begun else failing_since
            failures += 1
            delay_s = patience.delay_s(failures, error)
            left_s = failing_since + (resume_s if begun else patience.seconds()) - now
            tired = not begun and failures >= patience.tries_max
            if not error.retryable or tired or delay_s > left_s:
                raise
        await patience.sleep(delay_s)
