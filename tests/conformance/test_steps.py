"""`step.do` in Python: names, counts, what is kept, what a body is given."""

from __future__ import annotations

import base64

from stepwell.client.resource_names import id_in
from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, Calls

pytestmark = ONE_SERVER


async def test_a_step_is_called_by_its_name_or_like_its_function(calls: Calls) -> None:
    name = await calls.create("steps.named")
    assert await calls.instances.result(name) == ["a", "b"]
    assert [each.step_name for each in await calls.steps(name)] == ["my first step", "my_second_step"]


async def test_a_declared_step_does_not_run_until_it_is_called(calls: Calls) -> None:
    name = await calls.create("steps.declared")
    assert await calls.instances.result(name) == "done"
    assert await calls.steps(name) == []


async def test_each_call_of_a_name_is_a_step_of_its_own_counted_from_one(calls: Calls) -> None:
    assert await calls.output("steps.repeated") == [[1, 2, 3], 4]


async def test_counts_are_apart_for_each_kind(calls: Calls) -> None:
    name = await calls.create("steps.kinds")
    assert await calls.instances.result(name) == 1
    assert [(each.step_name, each.kind, each.count) for each in await calls.steps(name)] == [
        ("same", pb.STEP_KIND_SLEEP, 1), ("same", pb.STEP_KIND_DO, 1),
    ]  # fmt: skip


async def test_a_result_is_kept_over_hibernation(calls: Calls) -> None:
    name = await calls.create("steps.remembered")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "go")
    drawn, seen = await calls.instances.result(name)
    assert drawn == seen
    assert [each.attempts for each in await calls.steps(name) if each.step_name == "draw"] == [1]


async def test_a_body_may_be_a_plain_function(calls: Calls) -> None:
    assert await calls.output("steps.threaded") is True


async def test_ctx_has_attempt_step_and_config(calls: Calls) -> None:
    attempt, name, count, config, attribute = await calls.output("steps.context")
    assert (attempt, name, count, attribute) == (1, "look", 1, 1)
    assert config == {"retries": {"limit": 3, "delay": 5_000, "backoff": "exponential"}, "timeout": 60_000}


async def test_the_default_config_is_five_retries_from_ten_seconds_and_ten_minutes(calls: Calls) -> None:
    assert await calls.output("steps.defaults") == {
        "retries": {"limit": 5, "delay": 10_000, "backoff": "exponential"}, "timeout": 600_000,
    }  # fmt: skip


async def test_steps_that_are_gathered_run_at_once(calls: Calls) -> None:
    assert await calls.output("steps.gathered") == ["one", "two"]


async def test_results_are_json_and_tuples_come_back_as_lists(calls: Calls) -> None:
    assert await calls.output("steps.copied") == {"tuple": [1, 2], "nothing": None, "text": "ü", "deep": [{"a": 1.5}]}


async def test_bytes_and_datetimes_come_back_as_themselves(calls: Calls) -> None:
    found = await calls.output("steps.binary")
    assert found == [b"\x00\xff", "2026-01-01T00:00:00+00:00"]
    assert base64.b64encode(found[0]) == b"AP8="


async def test_a_result_that_cant_be_kept_fails_the_step_without_retries(calls: Calls) -> None:
    failure = await calls.failure("steps.unserializable")
    assert failure.type == "StepValueError"
    assert "step 'bad'" in failure.message


async def test_a_step_within_a_step_is_an_error(calls: Calls) -> None:
    failure = await calls.failure("steps.nested")
    assert failure.type == "RunRestrictionError"


async def test_the_event_has_payload_timestamp_instance_and_workflow(calls: Calls) -> None:
    name = await calls.create("steps.event_given", kept=1)
    keys, id, workflow, aware, changed, kept = await calls.instances.result(name)
    assert keys == ["instanceId", "payload", "schedule", "timestamp", "workflowName"]
    assert (id, workflow, aware) == (id_in(name, "instances"), "steps", True)
    assert (changed, kept) == (True, 1)


async def test_what_a_body_changes_in_the_event_is_not_kept(calls: Calls) -> None:
    name = await calls.create("steps.mutated", text="as sent")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "go")
    assert await calls.instances.result(name) == "as sent"


async def test_vars_are_in_env_of_the_class_and_of_the_module(calls: Calls) -> None:
    assert await calls.output("steps.outside") == ["green", "green"]
