"""One watch on etcd, from a revision on, until it breaks.

etcd says nothing while nothing changes. So it is asked for its progress every now and then: any answer is the sign of
life that the port promises. The revision in it is not used, since before 3.4.25 and 3.5.8 it may be ahead of changes
that are still to be told (seen with 3.4.23, on a watch that begins in the past).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import grpc
from google.protobuf.message import Message

from cluster.etcd import wire_pb2 as pb
from cluster.etcd.connection import EtcdCallError, EtcdConnection
from cluster.etcd.keys import KeySpace
from cluster.store import WATCH_PROGRESS_SECONDS, CompactedError, Event, WatchBatch
from stepwell.errors import UnavailableError

ASK_EVERY_S: Final = 1.0
"""How often a watch is asked how far it is."""


async def watch(
    connection: EtcdConnection, keys: KeySpace, prefix: str, after: int
) -> AsyncGenerator[WatchBatch, None]:
    """See `ClusterStore.watch`. Raises UnavailableError when nothing was heard for `WATCH_PROGRESS_SECONDS`."""
    asks = _asks(keys, prefix, after)
    told = after
    stream = connection.stream("/etcdserverpb.Watch/Watch", asks, pb.WatchResponse, silent_s_max=WATCH_PROGRESS_SECONDS)
    async with aclosing(stream):
        async for response in stream:
            if response.compact_revision:
                raise CompactedError(f"changes after revision {after} are no longer kept: list again")
            if response.canceled:
                raise EtcdCallError("the watch", grpc.StatusCode.CANCELLED, response.cancel_reason or "it was ended")
            if response.created:
                continue
            events = tuple(_event(event, keys) for event in response.events)
            if events:
                told = events[-1].mod_revision
            yield WatchBatch(told, events)
    raise UnavailableError("etcd ended a watch")


async def _asks(keys: KeySpace, prefix: str, after: int) -> AsyncGenerator[Message, None]:
    key, end = keys.span(prefix)
    create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=keys.to_etcd(after + 1))
    yield pb.WatchRequest(create_request=create)
    while True:
        yield pb.WatchRequest(progress_request=pb.WatchProgressRequest())
        await asyncio.sleep(ASK_EVERY_S)


def _event(event: pb.Event, keys: KeySpace) -> Event:
    deleted = event.type == pb.Event.DELETE
    return Event(
        keys.from_stored(event.kv.key), None if deleted else event.kv.value, keys.from_etcd(event.kv.mod_revision)
    )
