"""The authoring API over a runner in memory, so that nothing but its own rules is seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from stepwell import NonRetryableError, StepDefinitionError, StepValueError, WorkflowStep
from stepwell.calls import Call
from stepwell.config import StepConfig
from stepwell.context import StepContext
from stepwell.rollbacks import Rollback
from stepwell.values import decode, encode


class Runner:
    """Runs each body once, at once."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.ran: list[str] = []
        self.running_max = 0
        self._running = 0
        self.asked: list[Any] = []

    def next_count(self, kind: str, name: str) -> int:
        self.counts[kind, name] += 1
        return self.counts[kind, name]

    async def do(self, name: str, count: int, call: Call, config: StepConfig, rollback: Rollback | None) -> bytes:
        self.ran.append(f"{name} {count}")
        self._running += 1
        self.running_max = max(self.running_max, self._running)
        await asyncio.sleep(0)
        try:
            context = StepContext.of("uid", name, count, 1, config.shown())
            values = [decode(each) if isinstance(each, bytes) else context for each in call.positional]
            keywords = {key: decode(each) if isinstance(each, bytes) else context for key, each in call.keywords}
            result = call.function(*values, **keywords)
            return encode(await result if hasattr(result, "__await__") else result)
        finally:
            self._running -= 1

    async def sleep(self, name: str, count: int, duration_ms: int | None, until_ms: int | None) -> None:
        self.asked.append(("sleep", name, count, duration_ms, until_ms))

    async def wait(self, name: str, count: int, type: str, timeout_ms: int | None) -> tuple[bytes, str, int]:
        self.asked.append(("wait", name, count, type, timeout_ms))
        return b'{"a":1}', type, 1000


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def step(runner: Runner) -> WorkflowStep:
    return WorkflowStep(runner)


async def test_a_step_is_called_by_its_name_or_else_like_its_function(runner: Runner, step: WorkflowStep) -> None:
    @step.do()
    async def first() -> int:
        return 1

    @step.do("the second")
    def second() -> int:
        return 2

    assert [await first(), await second(), await first()] == [1, 2, 1]
    assert runner.ran == ["first 1", "the second 1", "first 2"]


async def test_a_parameter_named_like_a_step_gets_its_result_and_runs_it_first(
    runner: Runner, step: WorkflowStep
) -> None:
    @step.do()
    async def one() -> int:
        return 1

    @step.do()
    async def two(one: int) -> int:
        return one + 1

    @step.do()
    async def three(one: int, *, two: int) -> list[int]:
        return [one, two]

    assert await three() == [1, 2]
    assert runner.ran == ["one 1", "two 1", "three 1"]


async def test_only_dependencies_are_memoised_and_they_take_the_latest_result(
    runner: Runner, step: WorkflowStep
) -> None:
    results = iter([1, 2])

    @step.do()
    async def one() -> int:
        return next(results)

    @step.do()
    async def user(one: int) -> int:
        return one

    await one()
    await one()
    assert await user() == 2
    assert runner.ran == ["one 1", "one 2", "user 1"]


async def test_the_latest_declaration_of_a_name_wins(step: WorkflowStep) -> None:
    @step.do("value")
    async def old() -> str:
        return "old"

    @step.do("value")
    async def new() -> str:
        return "new"

    @step.do()
    async def user(value: str) -> str:
        return value

    assert await user() == "new"


async def test_a_parameter_named_like_a_function_finds_its_step_too(step: WorkflowStep) -> None:
    @step.do("fetch the user")
    async def fetch() -> int:
        return 7

    @step.do()
    async def user(fetch: int) -> int:
        return fetch

    assert await user() == 7


async def test_depends_gives_results_by_position(step: WorkflowStep) -> None:
    @step.do("a b")
    async def one() -> int:
        return 1

    @step.do("c d")
    async def two() -> int:
        return 2

    @step.do(depends=[two, one])
    async def user(x: int, ctx: Any, y: int) -> list[Any]:
        return [x, y, ctx.step.name]

    assert await user() == [2, 1, "user"]


async def test_ctx_beats_a_step_of_that_name_and_a_default_is_kept(step: WorkflowStep) -> None:
    @step.do()
    async def ctx() -> str:
        return "a step"

    @step.do()
    async def user(ctx: Any, other: str = "default") -> list[Any]:
        return [ctx["attempt"], ctx.idempotency_key, ctx.config["retries"]["limit"], other]

    assert await user() == [1, "uid:user:1", 5, "default"]


async def test_dependencies_run_at_once_only_when_concurrent(runner: Runner, step: WorkflowStep) -> None:
    def declare(concurrent: bool) -> Any:
        for name in ("a", "b", "c"):
            step.do(name)(lambda: None)

        @step.do(concurrent=concurrent)
        async def user(a: str, b: str, c: str) -> None:
            return None

        return user

    await declare(False)()
    assert runner.running_max == 1
    await declare(True)()
    assert runner.running_max == 3


async def test_a_diamond_runs_its_shared_step_once(runner: Runner, step: WorkflowStep) -> None:
    @step.do()
    async def top() -> int:
        return 1

    @step.do()
    async def left(top: int) -> int:
        return top

    @step.do()
    async def right(top: int) -> int:
        return top

    @step.do(concurrent=True)
    async def bottom(left: int, right: int) -> int:
        return left + right

    assert await bottom() == 2
    assert sorted(runner.ran) == ["bottom 1", "left 1", "right 1", "top 1"]


async def test_a_dependency_that_fails_fails_those_that_wait_for_it_and_is_tried_again_later(
    step: WorkflowStep,
) -> None:
    fails = [True]

    @step.do()
    async def shaky() -> int:
        if fails.pop() if fails else False:
            raise NonRetryableError("no")
        return 1

    @step.do()
    async def user(shaky: int) -> int:
        return shaky

    with pytest.raises(NonRetryableError):
        await user()
    assert await user() == 1


async def test_one_that_waits_for_a_cancelled_call_runs_the_step_itself(runner: Runner, step: WorkflowStep) -> None:
    @step.do()
    async def shared() -> int:
        return 1

    @step.do()
    async def user(shared: int) -> int:
        return shared

    call = asyncio.create_task(shared())
    waiting = asyncio.create_task(user())
    await asyncio.sleep(0)
    call.cancel()
    assert await waiting == 1
    assert runner.ran == ["shared 1", "shared 2", "user 1"]


async def test_a_count_is_taken_when_the_call_is_made(runner: Runner, step: WorkflowStep) -> None:
    @step.do()
    async def one() -> None:
        return None

    first, second = one(), one()
    await second
    await first
    assert runner.ran == ["one 2", "one 1"]


async def test_an_unknown_parameter_is_an_error_naming_step_and_parameter(step: WorkflowStep) -> None:
    @step.do("charge")
    async def charge(card: str) -> None:
        return None

    with pytest.raises(TypeError, match="step 'charge': no step is called 'card'"):
        await charge()


def delayed(delay: Any) -> Any:
    return {"retries": {"delay": delay}}


async def waits() -> int:
    return 1


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda step: step.do(lambda: 1), "with parentheses"),
        (lambda step: step.do("")(print), "1 to 256 characters"),
        (lambda step: step.do("x" * 257)(print), "this one 257"),
        (lambda step: step.do("\ud800")(print), "lone surrogate"),
        (lambda step: step.do(5)(print), "a int; give the step a text"),
        (lambda step: step.do("x")(5), "a int is no function"),
        (lambda step: step.do("x", config={"timeout": "soon"})(print), "step 'x': config"),
        (lambda step: step.do("x", config=delayed(lambda attempt: 1))(print), "takes 'attempt', but is given 'error'"),
        (
            lambda step: step.do("x", config=delayed(waits))(print),
            r"step 'x': config\['retries'\]\['delay'\] is an async",
        ),
        (lambda step: step.do("x", depends=[print])(print), "was not declared with @step.do"),
        (lambda step: step.sleep("x", "soon"), "sleep 'x': 'soon' is not a duration"),
        (lambda step: step.sleep_until("x", "tomorrow"), "is no time"),
        (lambda step: step.sleep_until("x", 1e18), "past the year 9999"),
        (lambda step: step.wait_for_event("x", "a b"), "wait_for_event 'x': 'a b' is not an event type"),
        (lambda step: step.call("x", 5), "a int is no function"),
    ],
)
def test_a_declaration_that_cant_work_says_why(step: WorkflowStep, declare: Any, says: str) -> None:
    with pytest.raises(StepDefinitionError, match=says):
        declare(step)


async def test_depends_of_the_wrong_length_is_refused(step: WorkflowStep) -> None:
    one = step.do("one")(lambda: 1)
    with pytest.raises(StepDefinitionError, match="`depends` has 1 steps, but none for the parameter 'y'"):
        await step.do("user", depends=[one])(lambda x, y: 1)()
    with pytest.raises(StepDefinitionError, match="`depends` has 2 steps, but the function takes only 1"):
        await step.do("user", depends=[one, one])(lambda ctx, x: 1)()


async def test_call_gives_copies_of_its_arguments_and_the_context(step: WorkflowStep) -> None:
    async def body(items: list[int], scale: int, ctx: Any) -> list[Any]:
        items.append(scale)
        return [items, ctx.step["count"]]

    items = [1]
    assert await step.call("scaled", body, items, 3) == [[1, 3], 1]
    assert items == [1]
    with pytest.raises(
        StepValueError, match=r"step 'scaled': an argument can't be given to it: value is a builtins.object"
    ):
        await step.call("scaled", body, object(), 1)


async def test_a_time_without_a_zone_is_as_python_has_it(runner: Runner, step: WorkflowStep) -> None:
    naive = datetime(2026, 1, 1)
    await step.sleep_until("a", naive)
    assert runner.asked == [("sleep", "a", 1, None, naive.timestamp() * 1000)]


async def test_sleeps_and_waits_carry_what_was_asked(runner: Runner, step: WorkflowStep) -> None:
    await step.sleep("a", "2 seconds")
    await step.sleep_until("a", datetime(2026, 1, 1, tzinfo=UTC))
    event = await step.wait_for_event("b", "approval")
    await step.wait_for_event("b", "approval", timeout=None)
    assert runner.asked == [
        ("sleep", "a", 1, 2000, None),
        ("sleep", "a", 2, None, 1_767_225_600_000),
        ("wait", "b", 1, "approval", 86_400_000),
        ("wait", "b", 2, "approval", None),
    ]
    assert event == {"payload": {"a": 1}, "type": "approval", "timestamp": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}
    assert event.payload == event["payload"]
