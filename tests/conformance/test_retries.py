"""How a step is tried again, how long it waits, how long it may take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.calls import ONE_SERVER, Calls

pytestmark = ONE_SERVER

TRIES = 5
"""On a busy machine an attempt may be late, but never early."""


async def test_a_step_is_tried_again_until_it_works(calls: Calls) -> None:
    name = await calls.create("retries.until_it_works")
    assert await calls.instances.result(name) == 3
    assert [each.attempts for each in await calls.steps(name)] == [3]


@pytest.mark.parametrize(("limit", "attempts"), [(0, 1), (1, 2), (3, 4)])
async def test_the_limit_counts_retries_after_the_first_attempt(calls: Calls, limit: int, attempts: int) -> None:
    assert (await calls.failure("retries.limited", limit=limit)).message == f"attempt {attempts}"


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [100, 100, 100]), ("linear", [100, 200, 300]), ("exponential", [100, 200, 400])],
)
async def test_delays_grow_by_the_backoff(calls: Calls, backoff: str, delays: list[int]) -> None:
    for _ in range(TRIES):
        found = await calls.output("retries.paced", retries={"limit": 3, "delay": 100, "backoff": backoff})
        late = [waited - delay for waited, delay in zip(found, delays, strict=True)]
        assert min(late) >= 0, found
        if max(late) < 80:
            return
    pytest.fail(f"too late, again and again: {found}")


async def test_a_delay_may_be_a_function_of_error_and_ctx(calls: Calls) -> None:
    found = await calls.output("retries.delayed_by_a_function")
    assert all(0 <= waited - delay < 3_000 for waited, delay in zip(found, [200, 400], strict=True)), found


@pytest.mark.parametrize("answer", ["raises", "no duration", "negative"])
async def test_a_delay_function_that_fails_fails_the_step(calls: Calls, answer: str) -> None:
    failure = await calls.failure("retries.undelayed", answer=answer)
    assert failure.type == "StepDefinitionError"
    assert "after attempt 1 (come again in 0.2 s)" in failure.message


async def test_backoff_is_exponential_where_none_is_given(calls: Calls) -> None:
    config = {"retries": {"limit": 2, "delay": "1 second"}}
    found = await calls.output("retries.configured", config=config)
    assert found == {"retries": {"limit": 2, "delay": 1_000, "backoff": "exponential"}, "timeout": 600_000}


async def test_non_retryable_error_fails_the_step_at_once(calls: Calls) -> None:
    failure = await calls.failure("retries.final")
    assert (failure.type, failure.message) == ("NonRetryableError", "attempt 1")


async def test_run_goes_on_where_it_catches_non_retryable_error(calls: Calls) -> None:
    assert await calls.output("retries.final_caught") == "went on after: no such account"


async def test_non_retryable_error_outside_steps_ends_the_instance(calls: Calls) -> None:
    failure = await calls.failure("retries.outside_steps")
    assert (failure.status, failure.message) == ("errored", "not in a step")


async def test_a_timeout_is_that_of_one_attempt_and_is_tried_again(calls: Calls) -> None:
    assert await calls.output("retries.too_long") == 2


async def test_the_last_timeout_is_the_steps_error(calls: Calls) -> None:
    failure = await calls.failure("retries.always_too_long")
    assert failure.type == "StepTimeoutError"
    assert "timeout of 100 ms" in failure.message


@pytest.mark.parametrize(
    "config",
    [
        {"retries": {"limit": -1}},
        {"retries": {"delay": "soon"}},
        {"retries": {"backoff": "random"}},
        {"timeout": 0},
        {"retry": {"limit": 1}},
    ],
    ids=["limit", "delay", "backoff", "timeout", "unknown key"],
)
async def test_a_bad_config_is_an_error_before_the_body_runs(calls: Calls, config: dict[str, Any]) -> None:
    failure = await calls.failure("retries.configured", config=config)
    assert failure.type == "StepDefinitionError"
    assert "config" in failure.message
