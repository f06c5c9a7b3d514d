"""Events that came for a wait that `run` had given up by then: they are given back, for the next wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.replay.fake_host import CREATED_MS, Completion, FakeHost, Said

pytestmark = pytest.mark.usefixtures("in_guest")

GIVEN_UP = ("waitForEvent", "maybe", 1)
TIMER_FIRED = Completion(("timer", "", 1), CREATED_MS + 500, "fired", None, b"")
EVENT_CAME = Completion(GIVEN_UP, CREATED_MS + 600, "event", ["go", CREATED_MS + 600], b'"one"')


class GivesUpAndWaitsAgain:
    async def run(self, event: Any, step: Any) -> Any:
        try:
            await asyncio.wait_for(step.wait_for_event("maybe", "go", timeout=None), 0.5)
        except TimeoutError:
            return (await step.wait_for_event("news", "go", timeout=None)).payload


def test_an_event_that_came_once_run_had_given_up_is_given_back_before_the_next_wait() -> None:
    """The journal has it so when the guest was away as the event came: nobody could say that the wait was cancelled."""
    host = FakeHost(GivesUpAndWaitsAgain, recorded=2).begin()
    host.enter(TIMER_FIRED, live=False)
    host.enter(EVENT_CAME, live=False)
    assert host.said == [Said("cancel", GIVEN_UP, ()), Said("ask", ("waitForEvent", "news", 1), ("go", None))]


def test_an_event_that_came_once_run_had_given_up_is_given_back_once() -> None:
    host = FakeHost(GivesUpAndWaitsAgain).begin()
    host.enter(TIMER_FIRED, live=True)
    host.enter(EVENT_CAME, live=True)
    assert [each for each in host.said if each.verb == "cancel"] == [Said("cancel", GIVEN_UP, ())]
