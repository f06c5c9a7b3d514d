"""The port to what authors printed: lines by instance, in the order in which they were printed.

Shaped for a replicated store: one partition an instance, keyed by its uid, so that an id that is used again begins with
nothing; a line is written once and never changed, but for what is told to be missing before it. Nothing waits for these
writes: a crash may lose the last of them. One contract suite holds every adapter and an oracle in memory to this page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from data_plane.logs.limits import LINE_OVERHEAD_BYTES
from stepwell.names import InstanceUid, TenantUid

Stream = Literal[0, 1, 2]


class LogKey(NamedTuple):
    """Names an instance for ever: a uid is never used again."""

    tenant: TenantUid
    instance: InstanceUid


@dataclass(frozen=True, slots=True)
class Line:
    """One line that was printed: by a step, or by `run`, whose name is empty and whose numbers are 0.

    `stream` is 1 for stdout and 2 for stderr; 0 says that there is no line, and only tells of those that are missing.
    `dropped` lines directly before this one are missing.
    """

    at: int
    """ms since the epoch."""

    step: str
    count: int
    attempt: int
    stream: Stream
    text: str
    dropped: int = 0

    def size(self) -> int:
        """What it counts as, in bytes."""
        text, step = self.text, self.step
        return (
            (len(text) if text.isascii() else len(text.encode()))
            + (len(step) if step.isascii() else len(step.encode()))
            + LINE_OVERHEAD_BYTES
        )


class NumberedLine(NamedTuple):
    """A line as it is kept. Numbers are from 1 within the instance, and count those that are missing."""

    number: int
    line: Line


class LogStore(Protocol):
    """Safe to use from one event loop. Every call may raise what the store raises when it can't be reached.

    Where two owners of an instance write at once, or within a second of each other, their lines may take the same
    numbers, and one of two is kept.
    """

    async def append(self, batch: Sequence[tuple[LogKey, Sequence[Line]]]) -> None:
        """Add each instance's lines behind those that it has, then make room: within an instance its oldest lines go,
        within a tenant all lines of the instances that have been quiet longest; some at a time, where they are very
        many. An instance is in a batch once.

        Whoever reads next sees the batch; a crash of the machine may lose it. After an error some of it may be there,
        and what the caller then counts as missing too. Where several nodes write for one tenant, each may write another
        eighth of its limit before it notices what the others wrote.
        """
        ...

    async def read(self, key: LogKey, *, after: int, step: str, limit: int) -> Sequence[NumberedLine]:
        """Up to `limit` lines above the number `after`, in order; only this step's, unless it is empty.

        `dropped` of each says how many lines, of any step, are missing directly before it and above `after`.
        """
        ...

    async def delete(self, keys: Sequence[LogKey]) -> None:
        """Forget these instances. Idempotent."""
        ...

    async def expire(self, before: int) -> bool:
        """Remove lines that were printed before that time; some of them at a time, and True while there may be more.

        A store whose lines go by themselves once they are as old as its limits allow does nothing here: to look for old
        lines of all tenants from every node, over and over, would cost more than all that is written.
        """
        ...

    async def close(self) -> None:
        """Wait for what was begun."""
        ...
