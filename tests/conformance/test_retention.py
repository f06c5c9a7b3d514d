"""How long instances that have ended are kept."""

from __future__ import annotations

from stepwell.retention import Retention
from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, TENANT, Calls

pytestmark = ONE_SERVER


async def ended(calls: Calls, does: str, status: pb.InstanceStatus.ValueType, retention: Retention) -> pb.Instance:
    """An instance that was created with that retention, once it has ended so."""
    made = await calls.instances.create(
        TENANT, does.partition(".")[0], {"do": does.partition(".")[2]}, retention=retention
    )
    return await calls.until(made.name, status)


async def test_a_create_says_how_long_a_success_is_kept(calls: Calls) -> None:
    found = await ended(calls, "steps.declared", pb.INSTANCE_STATUS_COMPLETE, Retention.of(success="3 days"))
    assert (found.expire_time.ToDatetime() - found.end_time.ToDatetime()).days == 3


async def test_an_error_is_kept_for_a_time_of_its_own(calls: Calls) -> None:
    retention = Retention.of(success="3 days", error="10 days")
    found = await ended(calls, "failures.uncaught", pb.INSTANCE_STATUS_ERRORED, retention)
    assert (found.expire_time.ToDatetime() - found.end_time.ToDatetime()).days == 10


async def test_without_a_retention_an_instance_is_kept_for_ever(calls: Calls) -> None:
    name = await calls.create("steps.declared")
    found = await calls.until(name, pb.INSTANCE_STATUS_COMPLETE)
    assert not found.HasField("expire_time")
