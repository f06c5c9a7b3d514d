"""Steps: attempts that start, succeed, fail and are tried again."""

from __future__ import annotations

import pytest

from stepwell.engine import fold
from stepwell.engine.actions import TellGo
from stepwell.engine.events import RetryPolicy, StepAttemptFailed, StepStarted, StepSucceeded
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import AttemptFailed, StepCompleted, StepFailed
from stepwell.engine.steps import retry_delay_ms
from tests.unit.engine.driven import BOOM, RETRY_IN_10_S, T0, Driven, appended, key, names, only, told


def test_a_result_is_recorded_before_the_guest_is_told_that_it_is_durable() -> None:
    run = Driven().running()
    run.at += 20
    actions = run.succeed("fetch", result=b'"page"')
    assert names(actions) == ["StepCompleted", "TellCompletion"]
    assert appended(actions) == [StepCompleted(T0 + 20, key("fetch"), 1, T0 + 13, b'"page"')]


def test_a_result_that_the_guest_sent_is_not_sent_back() -> None:
    (tell,) = told(Driven().running().succeed("fetch"))
    assert tell.held
    assert tell.completion.outcome == "value"


def test_a_second_result_of_a_key_is_illegal() -> None:
    run = Driven().running()
    run.succeed("fetch")
    run.illegal(StepSucceeded(run.at, key("fetch"), 1, 0, b"2"), "complete already")


def test_nothing_may_be_said_of_a_step_that_failed_for_good() -> None:
    run = Driven().running()
    run.fail("fetch", retryable=False)
    run.illegal(StepSucceeded(run.at, key("fetch"), 2, 0, b"2"), "errored already")
    run.illegal(StepStarted(run.at, key("fetch"), 2, 0), "errored already")
    run.illegal(StepAttemptFailed(run.at, key("fetch"), 2, 0, True, RETRY_IN_10_S, BOOM), "errored already")


@pytest.mark.parametrize("attempt", [2, 7])
def test_the_first_attempt_has_number_one(attempt: int) -> None:
    run = Driven().running()
    run.illegal(StepStarted(run.at, key("fetch"), attempt, 0), "1 is next")
    run.illegal(StepSucceeded(run.at, key("fetch"), attempt, 0, b"1"), "1 is next")
    run.illegal(StepAttemptFailed(run.at, key("fetch"), attempt, 0, True, RETRY_IN_10_S, BOOM), "1 is next")


def test_an_attempt_that_failed_can_not_succeed_later() -> None:
    run = Driven().running()
    run.fail("fetch")
    run.illegal(StepSucceeded(run.at, key("fetch"), 1, 0, b"1"))


def test_the_next_attempt_may_not_start_before_its_delay_is_over() -> None:
    run = Driven().running()
    run.fail("fetch")
    run.illegal(StepStarted(run.at, key("fetch"), 2, 0), "before it was told to")
    run.illegal(StepSucceeded(run.at, key("fetch"), 2, 0, b"1"), "before it was told to")


def test_an_attempt_begins_once_so_that_its_deadline_can_not_be_put_off() -> None:
    run = Driven().running()
    run.start("spin", timeout_ms=60_000)
    run.at += 59_000
    run.illegal(StepStarted(run.at, key("spin"), 1, 60_000), "attempt 1 began twice")
    assert run.instance.next_tick() == T0 + 65_000


def test_a_retry_begins_once_after_it_was_told_to() -> None:
    run = Driven().running()
    run.fail("fetch")
    run.at += 10_000
    run.tick()
    run.start("fetch", attempt=2, timeout_ms=60_000)
    run.illegal(StepStarted(run.at, key("fetch"), 2, 60_000), "attempt 2 began twice")


def test_the_record_of_a_failed_attempt_says_nothing_of_the_activation() -> None:
    run = Driven().running()
    (record,) = appended(run.fail("fetch"))
    assert run.instance.live is not None
    run.instance.live.gone.add(key("fetch"))
    fold.apply(run.instance, record)
    assert run.instance.live.gone == {key("fetch")}


def test_a_step_outside_an_activation_is_illegal() -> None:
    run = Driven()
    run.create()
    run.illegal(StepStarted(run.at, key("fetch"), 1, 0), "outside an activation")
    run.illegal(StepSucceeded(run.at, key("fetch"), 1, 0, b"1"), "outside an activation")
    run.illegal(StepAttemptFailed(run.at, key("fetch"), 1, 0, True, RETRY_IN_10_S, BOOM), "outside an activation")


def test_a_failed_attempt_is_tried_again_after_its_delay() -> None:
    run = Driven().running()
    (record,) = appended(run.fail("fetch"))
    assert record == AttemptFailed(T0, key("fetch"), 1, T0 - 7, BOOM, T0 + 10_000)
    assert run.instance.steps[key("fetch")].status == "retrying"
    run.at += 9_999
    assert run.tick() == []
    run.at += 1
    assert only(run.tick()) == TellGo(key("fetch"), 2)
    run.start("fetch", attempt=2)
    (completed,) = appended(run.succeed("fetch", attempt=2))
    assert isinstance(completed, StepCompleted)
    assert completed.attempt == 2


def test_a_failed_attempt_is_no_news_for_run() -> None:
    assert told(Driven().running().fail("fetch")) == []


def test_a_limit_of_two_retries_makes_three_attempts() -> None:
    run = Driven().running()
    policy = RetryPolicy(2, 10, "constant")
    for attempt in (1, 2):
        assert names(run.fail("fetch", attempt, policy)) == ["AttemptFailed"]
        run.at += 10
        run.tick()
    actions = run.fail("fetch", 3, policy)
    assert names(actions) == ["StepFailed", "TellCompletion"]
    assert appended(actions) == [StepFailed(run.at, key("fetch"), 3, run.at - 7, BOOM)]
    assert told(actions)[0].completion.failure == BOOM


def test_a_failure_that_says_so_is_final_at_once() -> None:
    assert names(Driven().running().fail("fetch", retryable=False)) == ["StepFailed", "TellCompletion"]


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [100, 100, 100, 100]), ("linear", [100, 200, 300, 400]), ("exponential", [100, 200, 400, 800])],
)
def test_each_backoff_has_its_delays(backoff: str, delays: list[int]) -> None:
    policy = RetryPolicy(9, 100, backoff)  # type: ignore[arg-type]
    assert [retry_delay_ms(policy, attempt, 10**9) for attempt in (1, 2, 3, 4)] == delays


def test_a_delay_never_outgrows_the_limit() -> None:
    assert retry_delay_ms(RetryPolicy(9, 10**15, "exponential"), 100_000, 1_000) == 1_000


def test_the_deadline_of_an_attempt_kills_its_sandbox_after_a_grace() -> None:
    run = Driven().running()
    run.start("spin", timeout_ms=60_000)
    assert run.instance.next_tick() == T0 + 65_000
    run.at += 64_999
    assert run.tick() == []
    run.at += 1
    assert names(run.tick()) == ["EndGuest"]
    assert run.tick() == [], "once is enough"


def test_an_attempt_without_a_timeout_has_no_deadline() -> None:
    run = Driven().running()
    run.start("long")
    assert run.instance.next_tick() is None


def test_a_step_that_ended_has_no_deadline_any_more() -> None:
    run = Driven().running()
    run.start("fetch", timeout_ms=60_000)
    run.succeed("fetch")
    assert run.instance.next_tick() is None


def test_of_several_deadlines_the_earliest_is_next() -> None:
    run = Driven().running()
    run.start("slow", timeout_ms=60_000)
    run.start("quick", timeout_ms=1_000)
    assert run.instance.next_tick() == T0 + 6_000
    run.succeed("quick")
    assert run.instance.next_tick() == T0 + 65_000


def test_more_steps_than_the_limit_are_illegal() -> None:
    run = Driven(EngineLimits(steps_max=2)).running()
    run.succeed("one")
    run.sleep("two", 5)
    run.illegal(StepSucceeded(run.at, key("three"), 1, 0, b"1"), "more than 2 steps")
    run.illegal(StepStarted(run.at, key("three"), 1, 0), "more than 2 steps")


def test_no_more_bodies_run_at_once_than_there_may_be_steps() -> None:
    run = Driven(EngineLimits(steps_max=2)).running()
    run.start("one")
    run.start("two")
    run.illegal(StepStarted(run.at, key("three"), 1, 0), "more than 2 steps run at once")
    run.succeed("two")


def test_a_step_that_is_retried_needs_no_more_room() -> None:
    run = Driven(EngineLimits(steps_max=1)).running()
    run.fail("only")
    run.at += 10_000
    run.tick()
    assert names(run.succeed("only", attempt=2)) == ["StepCompleted", "TellCompletion"]
