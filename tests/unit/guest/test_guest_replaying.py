"""A journal against code that may be another's: no body runs, nothing is asked, and each difference is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from loader import messages
from tests.replay.fake_host import CREATED_MS, Completion, FakeHost, Key

pytestmark = pytest.mark.usefixtures("in_guest")


def replay(
    run: Callable[[Any, Any], Any], *completions: Completion, opened: list[Key] | None = None, ended: str = ""
) -> FakeHost:
    class Main:
        async def run(self, event: Any, step: Any) -> Any:
            return await run(event, step)

    host = FakeHost(Main, recorded=len(completions), opened=opened, replay_of=ended).begin()
    for completion in completions:
        host.enter(completion, live=False)
    return host


def value(name: str, count: int = 1) -> Completion:
    return Completion(("do", name, count), CREATED_MS, "value", None, b"1")


async def do(step: Any, name: str) -> Any:
    async def body() -> int:
        raise AssertionError("no body runs")

    return await step.do(name)(body)()


async def order(event: Any, step: Any) -> str:
    await do(step, "reserve")
    await step.sleep("a day", 86_400_000)
    await do(step, "charge")
    return "done"


NAP = Completion(("sleep", "a day", 1), CREATED_MS, "fired", None, b"")
ALL = (value("reserve"), NAP, value("charge"))
ASLEEP = "run waits for sleep 'a day' (call 1)"
OPEN: list[Key] = [("sleep", "a day", 1)]


@pytest.mark.parametrize(
    ("completions", "opened", "ended", "next"),
    [
        ((), [], "", "run waits for step 'reserve' (call 1)"),
        ((value("reserve"),), OPEN, "", ASLEEP),
        ((value("reserve"), NAP), [], "", "run waits for step 'charge' (call 1)"),
        ((value("reserve"), NAP), [("do", "charge", 1)], "", "run waits for step 'charge' (call 1)"),
        (ALL, [], "", "run returned"),
        (ALL, [], "returned", "run returned"),
    ],
)
def test_code_that_does_what_the_journal_says_matches_and_does_nothing(
    completions: tuple[Completion, ...], opened: list[Key], ended: str, next: str
) -> None:
    host = replay(order, *completions, opened=opened, ended=ended)
    assert host.told == [messages.Replayed(1, next), messages.Closed(1)]
    assert host.said == [], "no body began, and nothing was asked"


@pytest.mark.parametrize(
    ("completions", "opened", "ended", "position", "expected", "got"),
    [
        ((value("book"),), [], "", 0, "step 'book' (call 1)", "run waits for step 'reserve' (call 1)"),
        ((value("reserve"), value("charge")), [], "", 1, "step 'charge' (call 1)", ASLEEP),
        ((value("reserve"),), [("waitForEvent", "go", 1)], "", 1, "wait_for_event 'go' (call 1)", ASLEEP),
        ((value("reserve"),), [], "returned", 1, "run returned", ASLEEP),
        (ALL, [], "raised", 3, "run raised", "run returned"),
        ((*ALL, value("charge", 2)), [], "", 3, "step 'charge' (call 2)", "run returned"),
    ],
)  # fmt: skip
def test_a_difference_is_told_with_its_place(
    completions: tuple[Completion, ...], opened: list[Key], ended: str, position: int, expected: str, got: str
) -> None:
    host = replay(order, *completions, opened=opened, ended=ended)
    assert host.told == [messages.Mismatch(1, position, expected, got), messages.Closed(1)]


def test_what_run_raises_is_told_whether_it_was_to_be_expected_or_not() -> None:
    async def broken(event: Any, step: Any) -> None:
        await do(step, "reserve")
        raise LookupError("no such order")

    assert replay(broken, value("reserve"), ended="raised").told[0].next == "run raised LookupError: no such order"
    assert replay(broken, value("reserve")).told[0].next == "run raised LookupError: no such order"
    told = replay(broken, value("reserve"), ended="returned").told[0]
    assert (told.expected, told.got) == ("run returned", "run raised LookupError: no such order")


def test_what_run_had_cancelled_may_be_open_in_the_journal() -> None:
    async def first(event: Any, step: Any) -> None:
        async with asyncio.timeout(60):
            await do(step, "reserve")
        await do(step, "charge")

    host = replay(first, value("reserve"), opened=[("timer", "", 1)])
    assert type(host.told[0]) is messages.Replayed
    assert host.told[1:] == [messages.Closed(1)]


def test_nothing_that_it_prints_is_said() -> None:
    host = replay(order, value("reserve"))
    assert host.instance.silent


async def booked(event: Any, step: Any) -> str:
    await do(step, "CHILD.create")
    try:
        await step.wait_for_event("CHILD one", "w.one")
    except asyncio.CancelledError:
        await do(step, "CHILD.cancel")
        raise
    return "done"


WAITS: list[Key] = [("waitForEvent", "CHILD one", 1)]
CANCELLED = Completion(("cancel", "", 1), CREATED_MS, "cancelled", "enough", b"")


@pytest.mark.parametrize(
    ("completions", "opened", "next"),
    [
        ((value("CHILD.create"),), WAITS, "run waits for wait_for_event 'CHILD one' (call 1)"),
        ((value("CHILD.create"), CANCELLED), [], "run waits for step 'CHILD.cancel' (call 1)"),
        (
            (value("CHILD.create"), CANCELLED, value("CHILD.cancel")),
            [],
            "run raised CancelledError: the instance was cancelled: enough",
        ),
    ],
)
def test_a_cancel_is_replayed_as_it_was_heard(
    completions: tuple[Completion, ...], opened: list[Key], next: str
) -> None:
    host = replay(booked, *completions, opened=opened)
    assert host.told == [messages.Replayed(1, next), messages.Closed(1)]
    assert host.said == [], "no body began, and nothing was asked"
