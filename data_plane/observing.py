"""The port to whoever counts and traces what instances do. Nothing depends on it: a node without one does the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from data_plane.journal.store import InstanceKey
from stepwell.engine.instance import Instance
from stepwell.engine.records import Record


class InstanceObserver(Protocol):
    """Called on the event loop, in the path of every step: it returns at once and raises nothing."""

    def activating(self, key: InstanceKey, instance: Instance, at: int) -> bytes:
        """The instance has a guest. Gives the trace that the record of its activation is to carry, or nothing."""

    def appended(self, key: InstanceKey, records: Sequence[Record]) -> None:
        """These are durable, in order, and the shard is still owned. Each comes once: what is read back never does."""

    def left(self, key: InstanceKey) -> None:
        """The instance is in memory no more: nothing is left to do for it here, or its shard was lost."""
