"""Ids, names, batches and sizes."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.client.payloads import Json
from stepwell.client.resource_names import id_in
from stepwell.errors import AlreadyExistsError, ApiError, InvalidArgumentError, LimitExceededError, NotFoundError
from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, TENANT, Calls

pytestmark = ONE_SERVER

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "id", ["a", "_-", "0", "A-b_9", "x" * 100], ids=["letter", "underscore", "digit", "mixed", "100"]
)
async def test_an_id_is_up_to_100_of_letters_digits_underscores_and_dashes(calls: Calls, id: str) -> None:
    assert id_in((await calls.instances.create(TENANT, "plain", instance=id)).name, "instances") == id


@pytest.mark.parametrize(
    "id", ["-a", "a b", "a.b", "ü", "a/b", "x" * 101], ids=["dash first", "blank", "dot", "umlaut", "slash", "101"]
)
async def test_other_ids_are_refused(calls: Calls, id: str) -> None:
    with pytest.raises(InvalidArgumentError):
        await calls.instances.create(TENANT, "plain", instance=id)


async def test_latest_is_no_id(calls: Calls) -> None:
    with pytest.raises(InvalidArgumentError):
        await calls.instances.create(TENANT, "plain", instance="latest")


async def test_without_an_id_one_is_made(calls: Calls) -> None:
    first, second = [await calls.instances.create(TENANT, "plain") for _ in range(2)]
    assert first.name != second.name


async def test_an_id_that_is_taken_is_refused(calls: Calls) -> None:
    await calls.instances.create(TENANT, "plain", 1, instance="taken")
    with pytest.raises(AlreadyExistsError):
        await calls.instances.create(TENANT, "plain", 2, instance="taken")


async def test_an_id_is_unique_within_its_workflow(calls: Calls) -> None:
    await calls.instances.create(TENANT, "plain", instance="shared")
    await calls.create("steps.declared", id="shared")


async def test_a_batch_creates_up_to_100(calls: Calls) -> None:
    made = await calls.instances.create_batch(TENANT, "plain", [(f"of-100-{number}", number) for number in range(100)])
    instances = [each for each in made if isinstance(each, pb.Instance)]
    assert len(instances) == 100
    assert await calls.instances.result(instances[7].name) == 7


async def test_a_batch_of_101_is_refused(calls: Calls) -> None:
    with pytest.raises(LimitExceededError):
        await calls.instances.create_batch(TENANT, "plain", [("", None)] * 101)


async def test_a_batch_says_of_each_whether_it_was_created(calls: Calls) -> None:
    await calls.instances.create(TENANT, "plain", instance="before-the-batch")
    first, second, third = await calls.instances.create_batch(
        TENANT, "plain", [("", 1), ("before-the-batch", 2), ("new-in-the-batch", 3)]
    )
    assert isinstance(first, pb.Instance)
    assert isinstance(second, AlreadyExistsError)
    assert isinstance(third, pb.Instance)


async def test_a_batch_with_what_is_no_id_creates_nothing(calls: Calls) -> None:
    with pytest.raises(InvalidArgumentError):
        await calls.instances.create_batch(TENANT, "plain", [("good-beside-bad", 1), ("-bad", 2)])
    with pytest.raises(NotFoundError):
        await calls.instances.get(f"tenants/{TENANT}/workflows/plain/instances/good-beside-bad")


async def test_a_batch_of_deletes_says_of_each_whether_it_is_deleted(calls: Calls) -> None:
    made = await calls.instances.create(TENANT, "plain", instance="to-delete")
    await calls.instances.result(made.name)
    outcomes: list[ApiError | None] = list(
        await calls.instances.delete_batch(TENANT, "plain", ["to-delete", "never-there"])
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], NotFoundError)


async def test_params_are_up_to_a_mebibyte(calls: Calls) -> None:
    fits = b'"%s"' % (b"x" * (MIB - 2))
    made = await calls.instances.create(TENANT, "plain", Json(fits))
    assert len(await calls.instances.result(made.name)) == MIB - 2
    with pytest.raises(LimitExceededError):
        await calls.instances.create(TENANT, "plain", Json(fits[:-1] + b'x"'))


async def test_an_events_payload_is_up_to_a_mebibyte(calls: Calls) -> None:
    name = await calls.create("waiting.typed", type="large")
    with pytest.raises(LimitExceededError):
        await calls.instances.send_event(name, "large", "x" * MIB)
    await calls.instances.send_event(name, "large", "x" * (MIB - 2))
    assert len(await calls.instances.result(name)) == MIB - 2


async def test_a_steps_result_is_up_to_a_mebibyte(calls: Calls) -> None:
    assert await calls.output("steps.large", length=MIB - 2) == MIB - 2
    failure = await calls.failure("steps.large", length=MIB - 1)
    assert "step 'large'" in failure.message


async def test_a_steps_name_is_up_to_256_characters(calls: Calls) -> None:
    assert await calls.output("steps.long_name", length=256) == "fine"
    assert "1 to 256 characters" in (await calls.failure("steps.long_name", length=257)).message


async def test_a_sleep_is_up_to_365_days(calls: Calls) -> None:
    name = await calls.create("waiting.sleep", duration="365 days")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.terminate(name)
    assert "365 days" in (await calls.failure("waiting.sleep", duration="366 days")).message


async def test_an_events_type_is_up_to_100_letters_digits_underscores_dashes_and_dots(calls: Calls) -> None:
    for type in ("a", "x" * 100, "order.paid"):
        name = await calls.create("waiting.typed", type=type)
        await calls.instances.send_event(name, type, "came")
        assert await calls.instances.result(name) == "came"
    for type in ("", "x" * 101, "a b"):
        with pytest.raises(InvalidArgumentError):
            await calls.instances.send_event(name, type)


async def test_steps_are_up_to_10000_and_sleeps_count(calls: Calls) -> None:
    assert await calls.output("steps.many", count=10_000) == "done"
    failure = await calls.failure("steps.many", count=10_001)
    assert "over the limit of 10000" in failure.message


async def test_many_instances_are_created_at_once(calls: Calls) -> None:
    made = await asyncio.gather(*(calls.instances.create(TENANT, "plain", number) for number in range(50)))
    results = await asyncio.gather(*(calls.instances.result(each.name) for each in made))
    assert results == list(range(50))
