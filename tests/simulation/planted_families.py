"""Faults of instances that create others, put in on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from data_plane.binding_calls import Caller
from data_plane.bindings import Bindings
from data_plane.parents import Parents
from data_plane.resident import Resident
from stepwell.engine import forgetting
from stepwell.engine.events import ParentHeard
from tests.simulation.planting import instead, planted


@planted("a parent that is told of an end once, whether it hears or not", first=29)
def a_parent_that_is_told_of_an_end_once() -> Iterator[None]:
    real = Parents._tell

    async def tell(parents: Parents, resident: Resident, failures: int) -> None:
        if failures and not resident.lost:
            resident.step(ParentHeard(resident.now()))
        await real(parents, resident, failures)

    with instead(Parents, "_tell", tell):
        yield


@planted("a call through a binding that is another one in each attempt", first=4)
def a_call_through_a_binding_that_is_another_one_in_each_attempt() -> Iterator[None]:
    numbers = count()
    with instead(Caller, "request_id", property(lambda caller: f"{caller.instance.uid}-{next(numbers)}")):
        yield


@planted("a child that is created before its parent's journal has it", first=4)
def a_child_that_is_created_before_its_parents_journal_has_it() -> Iterator[None]:
    async def add_child(*_: Any) -> None:
        pass

    with instead(Bindings, "_add_child", add_child):
        yield


@planted("a restart that forgets the ends of children", first=20)
def a_restart_that_forgets_the_ends_of_children() -> Iterator[None]:
    with instead(forgetting, "is_child", lambda event_type: False):
        yield
