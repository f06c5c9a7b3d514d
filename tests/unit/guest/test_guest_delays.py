"""A step's retry delay as a function: what it is given, and what comes of one that fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.replay.fake_host import FakeHost

pytestmark = pytest.mark.usefixtures("in_guest")


def host_of(run: Callable[[Any, Any], Any]) -> FakeHost:
    """A host whose instance runs this."""

    class Main:
        async def run(self, event: Any, step: Any) -> Any:
            return await run(event, step)

    return FakeHost(Main).begin()


def delayed(delay: Callable[..., Any], **retries: Any) -> FakeHost:
    """A step whose delay is a function, and whose first attempt has failed."""

    async def run(event: Any, step: Any) -> Any:
        return await step.do("one", config={"retries": {"delay": delay, **retries}})(body)()

    async def body() -> None:
        raise ValueError("come again")

    host = host_of(run)
    host.run_body(("do", "one", 1))
    return host


def test_a_delay_function_says_how_long_of_error_and_context() -> None:
    failed = delayed(lambda ctx, error: f"{len(str(error)) * ctx.attempt} seconds", limit=1, backoff="linear").told[-1]
    assert (failed.retryable, failed.delay_ms, failed.backoff) == (True, 10_000, "linear")


def test_a_delay_function_is_not_asked_where_there_is_no_further_attempt() -> None:
    failed = delayed(lambda: 1 // 0, limit=0).told[-1]
    assert (failed.error.type, failed.error.message) == ("ValueError", "come again")


@pytest.mark.parametrize(
    ("delay", "says"),
    [
        (lambda: 1 // 0, "modulo by zero"),
        (lambda: "soon", "'soon' is not a duration"),
        (lambda: "366 days", "not a duration from 0 to 365 days"),
        (lambda: sys.exit("over"), "over"),
    ],
)
def test_a_delay_function_that_fails_fails_the_step(delay: Callable[..., Any], says: str) -> None:
    failed = delayed(delay).told[-1]
    assert failed.retryable is False
    assert failed.error.type == "StepDefinitionError"
    assert says in failed.error.message
    assert "after attempt 1 (come again)" in failed.error.message


def test_a_delay_function_may_not_call_a_step() -> None:
    asked: list[Any] = []

    async def run(event: Any, step: Any) -> Any:
        def delay() -> int:
            asked.append(step.sleep("nap", 1))
            return 1

        return await step.do("one", config={"retries": {"delay": delay}})(body)()

    async def body() -> None:
        raise ValueError("come again")

    host = host_of(run)
    host.run_body(("do", "one", 1))
    assert "was called from outside of run" in host.told[-1].error.message
    assert asked == []
