"""An event to all instances of a workflow that wait for its type: page by page, each by a send of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
from google.protobuf.empty_pb2 import Empty

from data_plane.batches import item_error
from rpc.json_edge import checked_json
from rpc.resource_names import checked
from stepwell import names
from stepwell.errors import ApiError, InvalidArgumentError, NotFoundError, WrongStateError
from stepwell.v1 import instances_pb2 as pb

AT_ONCE_MAX: Final = 20
"""Sends of one call that are under way at once: each may have to read its instance's journal."""

FAILURES_MAX: Final = 100
"""Of one call, that are told one by one; the others are counted."""

UNENDED: Final = frozenset({"queued", "running", "paused", "waiting", "waitingForPause"})
"""What may wait. A list may lag behind: what it takes for queued may wait by now."""

Context = grpc.aio.ServicerContext[Any, Any]
Send = Callable[[pb.SendEventRequest, Context], Awaitable[Empty]]


def check(request: pb.BroadcastEventRequest) -> None:
    """Raises InvalidArgumentError, LimitExceededError: before anything is sent."""
    checked(names.event_type, request.type, "type")
    checked(names.event_id, request.event_id, "event_id")
    if not request.event_id:
        raise InvalidArgumentError(
            "event_id is empty: give the event an id, so that no instance takes it twice when the call is made again",
            field="event_id",
        )
    checked_json(request.payload, "payload")


async def sent(
    request: pb.BroadcastEventRequest, to: Sequence[str], context: Context, send: Send
) -> pb.BroadcastEventResponse:
    """Send to each of these instances, some at once. A fault of ours in one of them is raised; the same request sent
    again is the same event to those that had it."""
    response = pb.BroadcastEventResponse()
    rest = iter(to)

    async def one_after_the_other() -> None:
        for name in rest:
            single = pb.SendEventRequest(
                name=name,
                type=request.type,
                payload=request.payload,
                event_id=request.event_id,
                only_if_waiting=True,
            )
            try:
                await send(single, context)
                response.sent += 1
            except (NotFoundError, WrongStateError):
                response.skipped += 1
            except ApiError as error:
                response.failed += 1
                if len(response.failures) < FAILURES_MAX:
                    response.failures.add(name=name, error=item_error(error))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(AT_ONCE_MAX, len(to))):
            tasks.create_task(one_after_the_other())
    return response
