from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from loader import messages
from stepwell.errors import StepError
from stepwell.guest.limits import Limits
from tests.replay.fake_host import CREATED_MS, Completion, FakeHost, Key

pytestmark = pytest.mark.usefixtures("in_guest")


def host_of(run: Callable[[Any, Any], Any], **options: Any) -> FakeHost:
    """A host whose instance runs this."""

    class Main:
        async def run(self, event: Any, step: Any) -> Any:
            return await run(event, step)

    return FakeHost(Main, **options).begin()


def named(host: FakeHost) -> list[str]:
    return [type(message).__name__ for message in host.told]


def value(key: Key, payload: bytes = b"1") -> Completion:
    return Completion(key, CREATED_MS, "value", None, payload)


def fired(key: Key, at_ms: int = CREATED_MS) -> Completion:
    return Completion(key, at_ms, "fired", None, b"")


async def one_step(event: Any, step: Any) -> Any:
    async def one(ctx: Any) -> Any:
        if ctx.attempt < 2:
            raise ValueError("not yet")
        return [ctx.attempt, ctx.idempotency_key]

    config = {"retries": {"limit": 2, "delay": 50, "backoff": "linear"}, "timeout": 1000}
    return await step.do("one", config=config)(one)()


def test_a_step_is_tried_sent_and_returned_once_it_is_durable() -> None:
    host = host_of(one_step)
    key: Key = ("do", "one", 1)
    host.run_body(key)
    host.settle()
    failed = host.told[0]
    assert (failed.retryable, failed.limit, failed.delay_ms, failed.backoff) == (True, 2, 50, "linear")
    assert failed.error.message == "not yet"
    assert host.told[1] == messages.Idle(1, 0)
    host.instance.go("do", "one", 1, 2)
    host.run_body(key)
    host.settle()
    assert named(host)[2:] == ["Result"]
    host.enter(value(key), live=True)
    assert host.outcome == ("returned", '[2,"u:one:1"]')
    assert named(host)[3:] == ["Returned", "Closed"]


def test_a_step_that_failed_for_good_raises_what_was_recorded() -> None:
    async def run(event: Any, step: Any) -> str:
        try:
            await one_step(event, step)
        except ValueError as error:
            return f"{type(error).__name__} {error} {error.__cause__!r}"
        return "none"

    host = host_of(run)
    cause = ["builtins", "KeyError", "'c'", "", None]
    host.enter(Completion(("do", "one", 1), 0, "error", ["builtins", "ValueError", "x", "tb", cause], b""), live=False)
    assert host.outcome == ("returned", json.dumps("ValueError x KeyError(\"'c'\")"))


def test_an_uncaught_error_ends_the_instance_with_type_message_and_traceback() -> None:
    async def run(event: Any, step: Any) -> None:
        raise StepError("gone", "Mine") from OSError("why")

    host = host_of(run)
    raised = host.told[0]
    assert (raised.error.module, raised.error.type, raised.error.message) == (
        "stepwell.errors",
        "StepError:Mine",
        "gone",
    )
    assert 'raise StepError("gone", "Mine")' in raised.error.traceback
    assert raised.error.cause.type == "OSError"
    assert named(host) == ["Raised", "Closed"]


def test_sleeps_waits_and_timers_are_asked_for_in_order_and_idle_says_so_once() -> None:
    async def run(event: Any, step: Any) -> Any:
        async with asyncio.timeout(5):
            slept = step.sleep("nap", "1 minute")
            news = step.wait_for_event("news", "kind", timeout=None)
            return await asyncio.gather(slept, news, asyncio.sleep(2))

    host = host_of(run)
    host.settle()
    assert host.told == [
        messages.Timer(1, 1, CREATED_MS + 5000),
        messages.Sleep(1, "nap", 1, 60_000, None),
        messages.Wait(1, "news", 1, "kind", None),
        messages.Timer(1, 2, CREATED_MS + 2000),
        messages.Idle(1, 0),
    ]


def test_cancelling_a_step_cancels_its_attempt_and_tells_the_host() -> None:
    async def run(event: Any, step: Any) -> str:
        task = asyncio.create_task(one_step(event, step))
        await step.sleep("a while", 1)
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else "not"

    host = host_of(run)
    attempt = host.instance._asking.open["do", "one", 1].attempt
    host.enter(fired(("sleep", "a while", 1)), live=True)
    assert attempt is not None
    assert attempt.cancelled
    assert host.outcome == ("returned", '"cancelled"')
    assert named(host) == ["Sleep", "Cancel", "Returned", "Closed"]


def test_a_result_that_was_recorded_for_a_cancelled_step_is_dropped() -> None:
    async def run(event: Any, step: Any) -> Any:
        try:
            async with asyncio.timeout(1):
                await one_step(event, step)
        except TimeoutError:
            await step.sleep("after", 1)
            return asyncio.get_running_loop().time()

    host = host_of(run)
    host.enter(fired(("timer", "", 1), CREATED_MS + 1000), live=True)
    host.enter(value(("do", "one", 1))._replace(at_ms=CREATED_MS + 9000), live=False)
    host.enter(fired(("sleep", "after", 1), CREATED_MS + 2000), live=True)
    assert host.outcome == ("returned", str((CREATED_MS + 2000) / 1000))


def test_a_wait_times_out_as_an_error_of_its_own_that_is_a_timeout_error_too() -> None:
    async def run(event: Any, step: Any) -> str:
        try:
            await step.wait_for_event("news", "kind", timeout=5)
        except TimeoutError as error:
            return type(error).__name__
        return "none"

    host = host_of(run)
    host.enter(Completion(("waitForEvent", "news", 1), 0, "timeout", None, b""), live=True)
    assert host.outcome == ("returned", '"EventTimeoutError"')


def test_each_run_gets_its_own_event() -> None:
    async def run(event: Any, step: Any) -> Any:
        event["payload"]["seen"] = True
        return [event.payload, event["instanceId"], event.workflowName, event.schedule, event.timestamp.isoformat()]

    for _ in range(2):
        host = host_of(run, params=b'{"n":1}')
        assert host.outcome is not None
        assert json.loads(host.outcome[1])[:4] == [{"n": 1, "seen": True}, "i", "w", None]
        assert json.loads(host.outcome[1])[4].endswith("+00:00")


def test_waiting_for_nothing_that_can_come_is_an_error() -> None:
    async def run(event: Any, step: Any) -> None:
        await asyncio.Event().wait()

    host = host_of(run)
    assert host.outcome is not None
    assert host.outcome[1][1] == "WorkflowStalledError"


def test_spinning_is_an_error() -> None:
    async def run(event: Any, step: Any) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    host = host_of(run, limits=Limits(drainTurns=500))
    assert host.outcome is not None
    assert host.outcome[1][1:] == (
        "WorkflowStalledError",
        "run did 500 turns without waiting for a step, a sleep or an event: it spins, such as on asyncio.sleep(0); "
        "await a step or step.sleep instead",
    )


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_would_end_a_process_ends_the_instance_alone(error: BaseException) -> None:
    async def run(event: Any, step: Any) -> None:
        raise error

    host = host_of(run)
    assert host.outcome is not None
    assert host.outcome[1][:2] == ("builtins", type(error).__name__)


@pytest.mark.parametrize(
    ("output", "says"), [({1, 2}, "can't be kept: value is a builtins.set"), ("x" * 2000, "over the limit of 1000")]
)
def test_an_output_that_cant_be_kept_is_an_error(output: object, says: str) -> None:
    async def run(event: Any, step: Any) -> object:
        return output

    host = host_of(run, limits=Limits(payloadBytes=1000))
    assert host.outcome is not None
    assert host.outcome[1][1] == "StepValueError"
    assert says in host.outcome[1][2]


@pytest.mark.parametrize(
    ("result", "says"), [(object(), "its result can't be kept"), ("x" * 2000, "over the limit of 1000")]
)
def test_a_result_that_cant_be_kept_fails_the_step_without_a_retry(result: object, says: str) -> None:
    async def run(event: Any, step: Any) -> Any:
        return await step.do("big")(body)()

    async def body() -> object:
        return result

    host = host_of(run, limits=Limits(payloadBytes=1000))
    host.run_body(("do", "big", 1))
    failed = host.told[-1]
    assert failed.retryable is False
    assert failed.error.message.startswith("step 'big': its result")
    assert says in failed.error.message


@pytest.mark.parametrize(("steps", "steps_max"), [(2, None), (9, 2), (2, 9)], ids=["sandbox", "workflow", "both"])
def test_too_many_steps_are_an_error(steps: int, steps_max: int | None) -> None:
    async def run(event: Any, step: Any) -> None:
        for _ in range(3):
            await step.sleep("nap", 1)

    host = host_of(run, limits=Limits(steps=steps), steps_max=steps_max)
    host.enter(fired(("sleep", "nap", 1)), live=True)
    host.enter(fired(("sleep", "nap", 2)), live=True)
    assert host.outcome is not None
    assert "over the limit of 2" in host.outcome[1][2]


def test_a_body_may_not_call_a_step() -> None:
    async def run(event: Any, step: Any) -> None:
        async def outer() -> Any:
            return await step.do("inner")(print)()

        await step.do("outer")(outer)()

    host = host_of(run)
    host.run_body(("do", "outer", 1))
    failed = host.told[-1]
    assert failed.error.type == "RunRestrictionError"
    assert failed.error.message.startswith("'inner' was called from outside of run")
    assert failed.retryable is False


def test_a_body_that_wakes_run_ends_the_instance_with_an_error() -> None:
    async def run(event: Any, step: Any) -> None:
        happened = asyncio.Event()

        async def body() -> None:
            happened.set()

        await asyncio.gather(happened.wait(), step.do("sets")(body)())

    host = host_of(run)
    host.run_body(("do", "sets", 1))
    host.settle()
    assert host.outcome is not None
    assert host.outcome[1][1] == "RunRestrictionError"


def test_steps_asked_for_while_an_instance_is_closed_raise_and_are_not_sent() -> None:
    seen: list[str] = []

    async def run(event: Any, step: Any) -> None:
        try:
            await step.sleep("long", "1 day")
        finally:
            for ask in (lambda: step.sleep("again", 1), lambda: asyncio.sleep(1)):
                try:
                    await ask()
                except Exception as error:
                    seen.append(type(error).__name__)

    host = host_of(run)
    host.instance.stop()
    host.settle()
    assert seen == ["WorkflowClosedError", "WorkflowClosedError"]
    assert named(host) == ["Sleep", "Idle", "Closed"]


def test_hold_lets_bodies_end_and_starts_none_until_release() -> None:
    async def run(event: Any, step: Any) -> Any:
        first = await step.do("one")(body)()
        return [first, await step.do("two")(body)()]

    async def body() -> int:
        return 1

    host = host_of(run)
    host.instance.hold(7)
    host.settle()
    assert named(host) == []
    host.run_body(("do", "one", 1))
    host.settle()
    assert named(host) == ["Result", "Quiet"]
    assert host.told[-1] == messages.Quiet(1, 7)
    host.enter(value(("do", "one", 1)), live=True)
    assert host.instance._asking.open["do", "two", 1].attempt is None
    assert named(host) == ["Result", "Quiet"]
    host.instance.release()
    host.run_body(("do", "two", 1))
    host.enter(value(("do", "two", 1)), live=True)
    assert host.outcome == ("returned", "[1,1]")


def test_open_asks_are_not_asked_for_again_and_an_open_step_waits_for_go() -> None:
    async def run(event: Any, step: Any) -> Any:
        return await asyncio.gather(one_step(event, step), step.sleep("nap", 5), step.sleep("new", 5))

    host = host_of(run, opened=[("do", "one", 1), ("sleep", "nap", 1)])
    assert host.told == [messages.Sleep(1, "new", 1, 5, None), messages.Idle(1, 0)]
    host.instance.go("do", "one", 1, 4)
    host.run_body(("do", "one", 1))
    host.settle()
    assert host.told[2] == messages.Result(1, "one", 1, 4, host.told[2].elapsed_us)


def test_a_recorded_completion_that_nobody_asked_for_is_a_mismatch_with_its_position() -> None:
    async def run(event: Any, step: Any) -> Any:
        await step.sleep("nap", 1)
        await one_step(event, step)

    host = host_of(run, recorded=2)
    host.enter(fired(("sleep", "nap", 1)), live=False)
    host.enter(value(("do", "other", 3)), live=False)
    assert host.told == [
        messages.Mismatch(1, 1, "step 'other' (call 3)", "run waits for step 'one' (call 1)"),
        messages.Closed(1),
    ]


@pytest.mark.parametrize("recorded", [0, 1])
def test_an_open_ask_that_the_code_no_longer_makes_is_a_mismatch(recorded: int) -> None:
    host = host_of(one_step, recorded=recorded, opened=[("sleep", "gone", 1)])
    if recorded:
        host.enter(value(("do", "one", 1)), live=False)
    got = "run returned" if recorded else "run waits for step 'one' (call 1)"
    assert host.outcome == ("mismatch", (recorded, "sleep 'gone' (call 1)", got))


def test_completions_after_the_end_are_fine_if_they_were_asked_for() -> None:
    async def run(event: Any, step: Any) -> str:
        tasks = [asyncio.create_task(step.sleep(name, 1)) for name in "ab"]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return "first"

    host = host_of(run, recorded=2)
    host.enter(fired(("sleep", "b", 1)), live=False)
    assert named(host) == []
    host.enter(fired(("sleep", "a", 1)), live=False)
    assert host.outcome == ("returned", '"first"')

    host = host_of(run, recorded=2)
    host.enter(fired(("sleep", "b", 1)), live=False)
    host.enter(fired(("sleep", "c", 1)), live=False)
    assert host.outcome == ("mismatch", (1, "sleep 'c' (call 1)", "run returned"))


def test_a_cancellation_that_the_journal_missed_is_told_again() -> None:
    async def run(event: Any, step: Any) -> None:
        async with asyncio.timeout(60):
            await step.sleep("nap", 1)
        await step.sleep("next", 1)

    host = host_of(run, recorded=1, opened=[("timer", "", 1)])
    host.enter(fired(("sleep", "nap", 1)), live=False)
    assert host.told == [messages.Sleep(1, "next", 1, 1, None), messages.Cancel(1, "timer", "", 1), messages.Idle(1, 1)]
