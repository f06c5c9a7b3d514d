"""How a fault is put into the program on purpose, while a block runs; and which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.simulation.circumstances import MIXED, Circumstances

Plant = Callable[[], Iterator[None]]


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault: it is there within `plant`, and shows in runs under these circumstances."""

    plant: Callable[[], AbstractContextManager[None]]
    circumstances: Circumstances
    first: int | None
    """A seed that showed it when this was written, and is worth trying first: others come late."""


FAULTS: dict[str, Planted] = {}


def planted(name: str, circumstances: Circumstances = MIXED, *, first: int | None = None) -> Callable[[Plant], Plant]:
    """Name a fault."""

    def note(plant: Plant) -> Plant:
        FAULTS[name] = Planted(contextmanager(plant), circumstances, first)
        return plant

    return note


def instead(owner: Any, name: str, new: Any) -> Any:
    return mock.patch.object(owner, name, new)
