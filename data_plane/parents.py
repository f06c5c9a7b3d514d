"""Telling parents of the end of their children: until the parent's journal has the word, or the shard is lost.

The child's end is durable, and so is a wake that leads to it; its journal is marked once its parent has heard. Whatever
dies in between, the next owner tells again, and the parent knows the word by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from data_plane import payloads
from data_plane.binding_calls import end_of
from data_plane.resident import Resident
from stepwell.engine.events import ParentHeard
from stepwell.engine.records import Completed
from stepwell.errors import UnavailableError

if TYPE_CHECKING:
    from data_plane.node import Node

log = structlog.get_logger(__name__)

TELL_AGAIN_DELAY_S: Final = (0.2, 1.0, 5.0)
"""After a parent could not be told, before it is tried again; the last one repeats."""


class Parents:
    """One per shard and epoch. `over` hears that nothing is left to be told of an instance for now."""

    def __init__(self, node: Node, *, serving: Callable[[], bool], over: Callable[[Resident], None]) -> None:
        self._node = node
        self._serving = serving
        self._over = over

    def tell(self, resident: Resident) -> None:
        """Of an instance that has ended, and whose parent may not know."""
        resident.resting = True
        self._try(resident, 0)

    def _try(self, resident: Resident, failures: int) -> None:
        if self._serving() and not resident.lost:
            self._node.spawn(self._tell(resident, failures))
        else:
            resident.resting = False

    async def _tell(self, resident: Resident, failures: int) -> None:
        instance, outcome = resident.instance, resident.instance.outcome
        if not instance.untold or outcome is None:
            self._told(resident)
            return
        try:
            output = b""
            if isinstance(outcome, Completed):
                output = await payloads.fetch(outcome.output, resident.key, instance.uid, resident.store)
            bindings = self._node.bindings
            if bindings is None:
                raise UnavailableError("the server starts")
            await bindings.tell_end(end_of(resident.key, instance, output))
        except Exception as failed:
            if not isinstance(failed, UnavailableError):
                log.exception("the parent of an instance could not be told of its end; it is tried again")
            delay_s = TELL_AGAIN_DELAY_S[min(failures, len(TELL_AGAIN_DELAY_S) - 1)]
            self._node.later(delay_s, lambda: self._try(resident, failures + 1))
            return
        if not resident.lost and instance.outcome is outcome:
            resident.step(ParentHeard(self._node.clock()))
        self._told(resident)

    def _told(self, resident: Resident) -> None:
        resident.resting = False
        resident.settle()
        if not resident.lost and not resident.lane.busy:
            self._over(resident)
