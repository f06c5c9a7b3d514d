"""Several creates in one call: each has an outcome of its own, wherever its shard is served."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from rpc.json_edge import checked_json
from rpc.resource_names import checked
from stepwell import names
from stepwell.client.errors import status_of
from stepwell.errors import ApiError, InvalidArgumentError, LimitExceededError
from stepwell.v1 import instances_pb2 as pb

BATCH_ITEMS_MAX: Final = 100
"""Of a batch: as many as Cloudflare's createBatch takes."""

Context = grpc.aio.ServicerContext[Any, Any]
Create = Callable[[pb.CreateInstanceRequest, Context], Awaitable[pb.Instance]]


def checked_batch(request: pb.BatchCreateInstancesRequest) -> None:
    """Raises InvalidArgumentError, LimitExceededError: for the first item that is none, before any is created."""
    checked(names.request_id, request.request_id, "request_id")
    if not request.items:
        raise InvalidArgumentError(f"items: name 1 to {BATCH_ITEMS_MAX} instances to create", field="items")
    if len(request.items) > BATCH_ITEMS_MAX:
        raise LimitExceededError(
            f"items: {len(request.items)} are too many for one call: send {BATCH_ITEMS_MAX} at most, and the others in"
            " another",
            limit="batch_items_max",
            value=str(BATCH_ITEMS_MAX),
            seen=str(len(request.items)),
        )
    taken = set[str]()
    for number, item in enumerate(request.items):
        if item.instance_id:
            checked(names.instance_id, item.instance_id, f"items[{number}].instance_id")
            if item.instance_id in taken:
                raise InvalidArgumentError(
                    f"items[{number}].instance_id: {item.instance_id!r} is in this batch twice",
                    field=f"items[{number}].instance_id",
                )
            taken.add(item.instance_id)
        checked_json(item.params, f"items[{number}].params")


async def created_batch(
    request: pb.BatchCreateInstancesRequest, context: Context, create: Create
) -> pb.BatchCreateInstancesResponse:
    """Create each item, all at once, by that call. A fault of ours in one of them is raised, and says nothing of the
    others."""

    async def one(number: int, item: pb.BatchCreateInstancesRequest.Item) -> pb.BatchCreateInstancesResponse.Result:
        single = pb.CreateInstanceRequest(
            parent=request.parent,
            instance_id=item.instance_id,
            params=item.params,
            request_id=_request_id(request.request_id, number),
        )
        try:
            return pb.BatchCreateInstancesResponse.Result(instance=await create(single, context))
        except ApiError as error:
            return pb.BatchCreateInstancesResponse.Result(error=_item_error(error))

    async with asyncio.TaskGroup() as tasks:
        each = [tasks.create_task(one(number, item)) for number, item in enumerate(request.items)]
    return pb.BatchCreateInstancesResponse(results=[task.result() for task in each])


def _request_id(request_id: str, number: int) -> str:
    """An item's own, the same whenever the batch is sent again."""
    return hashlib.sha256(f"{request_id} {number}".encode()).hexdigest()[:32] if request_id else ""


def _item_error(error: ApiError) -> pb.ItemError:
    status = status_of(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return pb.ItemError(code=status.code, reason=info.reason, message=status.message, metadata=info.metadata)
