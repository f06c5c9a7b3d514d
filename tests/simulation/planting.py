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


FAULTS: dict[str, Planted] = {}


def planted(name: str, circumstances: Circumstances = MIXED) -> Callable[[Plant], Plant]:
    """Name a fault."""

    def note(plant: Plant) -> Plant:
        FAULTS[name] = Planted(contextmanager(plant), circumstances)
        return plant

    return note


def instead(owner: Any, name: str, new: Any) -> Any:
    return mock.patch.object(owner, name, new)
