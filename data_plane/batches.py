"""Several creates or deletes in one call: each has an outcome of its own, wherever its shard is served."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from rpc.json_edge import checked_json
from rpc.resource_names import checked
from rpc.workflow_terms import checked_retention
from stepwell import names
from stepwell.client.errors import status_of
from stepwell.errors import ApiError, InvalidArgumentError, LimitExceededError
from stepwell.v1 import instances_pb2 as pb

BATCH_ITEMS_MAX: Final = 100
"""Of a batch: as many as Cloudflare's createBatch takes."""

Context = grpc.aio.ServicerContext[Any, Any]
Create = Callable[[pb.CreateInstanceRequest, Context], Awaitable[pb.Instance]]
Delete = Callable[[pb.DeleteInstanceRequest, Context], Awaitable[Empty]]
A = TypeVar("A")


def checked_creates(request: pb.BatchCreateInstancesRequest) -> None:
    """Raises InvalidArgumentError, LimitExceededError: for the first item that is none, before any is created."""
    checked(names.request_id, request.request_id, "request_id")
    _check_count("items", len(request.items))
    for number, item in enumerate(request.items):
        if item.instance_id:
            checked(names.instance_id, item.instance_id, f"items[{number}].instance_id")
        checked_json(item.params, f"items[{number}].params")
        checked_retention(item.retention, f"items[{number}].retention")
    _check_once([item.instance_id for item in request.items], "items[{}].instance_id")


def checked_deletes(request: pb.BatchDeleteInstancesRequest) -> None:
    """Raises InvalidArgumentError, LimitExceededError: for the first id that is none, before any is deleted."""
    checked(names.request_id, request.request_id, "request_id")
    _check_count("instance_ids", len(request.instance_ids))
    for number, id in enumerate(request.instance_ids):
        checked(names.instance_id, id, f"instance_ids[{number}]")
    _check_once(request.instance_ids, "instance_ids[{}]")


async def created(
    request: pb.BatchCreateInstancesRequest, context: Context, create: Create
) -> pb.BatchCreateInstancesResponse:
    """Create each item, all at once, by that call. A fault of ours in one of them is raised, and says nothing of the
    others."""

    def one(number: int, item: pb.BatchCreateInstancesRequest.Item) -> Awaitable[pb.Instance]:
        single = pb.CreateInstanceRequest(
            parent=request.parent,
            instance_id=item.instance_id,
            params=item.params,
            request_id=_request_id(request.request_id, number),
            retention=item.retention if item.HasField("retention") else None,
        )
        return create(single, context)

    results = pb.BatchCreateInstancesResponse()
    for outcome in await _outcomes([one(number, item) for number, item in enumerate(request.items)]):
        if isinstance(outcome, ApiError):
            results.results.add(error=item_error(outcome))
        else:
            # A hundred repeated creates may have ended, each with as much output as a message may have.
            outcome.ClearField("params")
            outcome.ClearField("output")
            results.results.add(instance=outcome)
    return results


async def deleted(
    request: pb.BatchDeleteInstancesRequest, context: Context, delete: Delete
) -> pb.BatchDeleteInstancesResponse:
    """Delete each, as `created` creates."""
    singles = [
        pb.DeleteInstanceRequest(
            name=f"{request.parent}/instances/{id}", request_id=_request_id(request.request_id, number)
        )
        for number, id in enumerate(request.instance_ids)
    ]
    results = pb.BatchDeleteInstancesResponse()
    for outcome in await _outcomes([delete(single, context) for single in singles]):
        results.results.add(error=item_error(outcome) if isinstance(outcome, ApiError) else None)
    return results


async def _outcomes(calls: Sequence[Awaitable[A]]) -> list[A | ApiError]:
    async def outcome(call: Awaitable[A]) -> A | ApiError:
        try:
            return await call
        except ApiError as error:
            return error

    async with asyncio.TaskGroup() as tasks:
        each = [tasks.create_task(outcome(call)) for call in calls]
    return [task.result() for task in each]


def _check_count(field: str, seen: int) -> None:
    if not seen:
        raise InvalidArgumentError(f"{field}: name 1 to {BATCH_ITEMS_MAX}", field=field)
    if seen > BATCH_ITEMS_MAX:
        raise LimitExceededError(
            f"{field}: {seen} are too many for one call: send {BATCH_ITEMS_MAX} at most, and the others in another",
            limit="batch_items_max",
            value=str(BATCH_ITEMS_MAX),
            seen=str(seen),
        )


def _check_once(ids: Sequence[str], field: str) -> None:
    taken = set[str]()
    for number, id in enumerate(ids):
        if id in taken:
            at = field.format(number)
            raise InvalidArgumentError(f"{at}: {id!r} is in this batch twice", field=at)
        if id:
            taken.add(id)


def _request_id(request_id: str, number: int) -> str:
    """An item's own, the same whenever the batch is sent again."""
    return hashlib.sha256(f"{request_id} {number}".encode()).hexdigest()[:32] if request_id else ""


def item_error(error: ApiError) -> pb.ItemError:
    """As a call of its own would have been told."""
    status = status_of(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return pb.ItemError(code=status.code, reason=info.reason, message=status.message, metadata=info.metadata)
