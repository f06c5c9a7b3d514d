"""Which class an error has in `run`, and what its caller sees."""

from __future__ import annotations

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, Calls

pytestmark = ONE_SERVER


@pytest.mark.parametrize("kind", ["TypeError", "ValueError"])
async def test_type_error_and_value_error_are_caught_as_themselves(calls: Calls, kind: str) -> None:
    assert await calls.output("failures.caught", kind=kind) == [kind, "on purpose"]


async def test_other_builtin_errors_are_caught_as_themselves(calls: Calls) -> None:
    assert await calls.output("failures.caught", kind="KeyError") == ["KeyError", "'on purpose'"]


async def test_the_bundles_own_errors_are_caught_as_themselves(calls: Calls) -> None:
    assert await calls.output("failures.caught", kind="OutOfStock") == ["OutOfStock", "on purpose"]


async def test_an_error_of_a_class_that_cant_be_found_is_a_step_error(calls: Calls) -> None:
    assert await calls.output("failures.hidden") == ["StepError", "nobody can import it"]


async def test_a_step_that_failed_for_good_is_not_tried_again_after_a_hibernation(calls: Calls) -> None:
    name = await calls.create("failures.for_good")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "go")
    assert await calls.instances.result(name) == "no tea"
    failed = (await calls.steps(name))[0]
    assert (failed.status, failed.attempts) == (pb.STEP_STATUS_ERRORED, 1)


async def test_what_run_does_not_catch_is_the_instances_error(calls: Calls) -> None:
    failure = await calls.failure("failures.uncaught")
    assert (failure.status, failure.type, failure.message) == ("errored", "OutOfStock", "no tea")
    assert 'raise OutOfStock("no tea")' in failure.traceback


async def test_what_is_not_served_of_workers_says_so(calls: Calls) -> None:
    failure = await calls.failure("failures.http_handler")
    assert failure.type == "NotServedError"
    assert "serves no HTTP" in failure.message


async def test_rollback_handlers_run_last_first_once_run_has_failed(calls: Calls) -> None:
    name = await calls.create("failures.rolled_back")
    ended = await calls.until(name, pb.INSTANCE_STATUS_ERRORED)
    undone = [each for each in await calls.steps(name) if each.kind == pb.STEP_KIND_ROLLBACK]
    undone.sort(key=lambda each: each.end_time.ToNanoseconds())
    assert [each.step_name for each in undone] == ["two", "one"]
    assert ended.rollback.outcome == pb.ROLLBACK_OUTCOME_COMPLETE


async def test_the_handler_of_the_step_that_failed_runs_without_an_output(calls: Calls) -> None:
    name = await calls.create("failures.fails_itself")
    ended = await calls.until(name, pb.INSTANCE_STATUS_ERRORED)
    assert ended.rollback.outcome == pb.ROLLBACK_OUTCOME_COMPLETE
    assert [each.step_name for each in await calls.steps(name) if each.kind == pb.STEP_KIND_ROLLBACK] == ["fails"]


async def test_with_rollback_of_the_older_sdk_is_not_there(calls: Calls) -> None:
    failure = await calls.failure("failures.with_rollback")
    assert failure.type == "AttributeError"
