"""What an instance asks of the process that it lives in: a port, of the guest's runtime and of the testing kit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from stepwell.guest.asks import Ask
    from stepwell.guest.instance import Instance


class InstanceHost(Protocol):
    """What an instance needs of the process that it lives in."""

    @property
    def loop(self) -> AbstractEventLoop:
        """The one that asyncio knows: a GuestLoop."""
        ...

    def send(self, envelope: bytes, payload: bytes = b"") -> None:
        """Queue a frame."""
        ...

    def touch(self, instance: Instance) -> None:
        """Call `instance.settle` before the next write."""
        ...

    def start(self, instance: Instance, ask: Ask, number: int) -> None:
        """Begin an attempt, and note it at the ask."""
        ...

    def flush_logs(self, source: Any) -> None:
        """Send the lines that the source has not ended."""
        ...
