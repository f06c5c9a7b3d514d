"""Calls of instances whose shard another node owns: they are passed on to it, once.

A call that is passed on has had no effect here. Where nobody owns the shard, or its owner does not own it any more, the
caller hears UNAVAILABLE and comes again in a moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import Message

from data_plane.instance_service import InstanceServicer
from data_plane.node import NotOwnedError
from rpc.auth import Principal, principal
from rpc.peers import last_hop
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import instances_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)


class Peers(Protocol):
    """The other nodes, by address. They serve a call that is passed on as its caller's, and pass it on no further.

    Raises what serving it raised there; UnavailableError when the node can't be reached or the connection broke: then
    whether the call took effect is unknown.
    """

    async def unary(self, address: str, method: str, request: Message, caller: Principal) -> Message: ...

    def stream(self, address: str, method: str, request: Message, caller: Principal) -> AsyncIterator[Message]: ...


class ForwardingServicer(instances_pb2_grpc.InstanceServiceServicer):
    """The InstanceService of a node among others. `owner_of` gives the address of a shard's owner, or None."""

    def __init__(self, local: InstanceServicer, owner_of: Callable[[int], str | None], peers: Peers) -> None:
        self._local = local
        self._owner_of = owner_of
        self._peers = peers

    async def CreateInstance(self, request: pb.CreateInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.CreateInstance, request, context)

    async def BatchCreateInstances(
        self, request: pb.BatchCreateInstancesRequest, context: Context
    ) -> pb.BatchCreateInstancesResponse:
        """Each item goes where its shard is served."""
        return await self._local.create_batch(request, context, self.CreateInstance)

    async def BatchDeleteInstances(
        self, request: pb.BatchDeleteInstancesRequest, context: Context
    ) -> pb.BatchDeleteInstancesResponse:
        """As above."""
        return await self._local.delete_batch(request, context, self.DeleteInstance)

    async def GetInstance(self, request: pb.GetInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.GetInstance, request, context)

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Context) -> pb.ListInstancesResponse:
        """Any node reads the listings."""
        return await self._local.ListInstances(request, context)

    async def ListSteps(self, request: pb.ListStepsRequest, context: Context) -> pb.ListStepsResponse:
        return await self._unary(self._local.ListSteps, request, context)

    async def SendEvent(self, request: pb.SendEventRequest, context: Context) -> Any:
        return await self._unary(self._local.SendEvent, request, context)

    async def BroadcastEvent(self, request: pb.BroadcastEventRequest, context: Context) -> pb.BroadcastEventResponse:
        """Each instance's send goes where its shard is served."""
        return await self._local.broadcast(request, context, self.SendEvent)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        return await self._unary(self._local.ListEvents, request, context)

    async def GetEvent(self, request: pb.GetEventRequest, context: Context) -> pb.ReceivedEvent:
        return await self._unary(self._local.GetEvent, request, context)

    async def PauseInstance(self, request: pb.PauseInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.PauseInstance, request, context)

    async def ResumeInstance(self, request: pb.ResumeInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.ResumeInstance, request, context)

    async def RestartInstance(self, request: pb.RestartInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.RestartInstance, request, context)

    async def CancelInstance(self, request: pb.CancelInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.CancelInstance, request, context)

    async def ForkInstance(self, request: pb.ForkInstanceRequest, context: Context) -> pb.Instance:
        """Its origin's shard is the fork's."""
        return await self._unary(self._local.ForkInstance, request, context)

    async def ReplayInstance(self, request: pb.ReplayInstanceRequest, context: Context) -> pb.Replay:
        return await self._unary(self._local.ReplayInstance, request, context)

    async def MigrateInstance(self, request: pb.MigrateInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.MigrateInstance, request, context)

    async def TerminateInstance(self, request: pb.TerminateInstanceRequest, context: Context) -> pb.Instance:
        return await self._unary(self._local.TerminateInstance, request, context)

    async def DeleteInstance(self, request: pb.DeleteInstanceRequest, context: Context) -> Any:
        return await self._unary(self._local.DeleteInstance, request, context)

    async def WatchInstance(
        self, request: pb.WatchInstanceRequest, context: Context
    ) -> AsyncIterator[pb.InstanceEvent]:
        async for event in self._stream(self._local.WatchInstance, request, context):
            yield event

    async def ListLogs(self, request: pb.ListLogsRequest, context: Context) -> pb.ListLogsResponse:
        return await self._unary(self._local.ListLogs, request, context)

    async def WatchLogs(self, request: pb.WatchLogsRequest, context: Context) -> AsyncIterator[pb.LogEntry]:
        async for entry in self._stream(self._local.WatchLogs, request, context):
            yield entry

    async def _unary(
        self, serve: Callable[[Request, Context], Awaitable[Answer]], request: Request, context: Context
    ) -> Answer:
        try:
            return await serve(request, context)
        except NotOwnedError as elsewhere:
            address = self._owner_of(elsewhere.shard)
            if address is None or last_hop.get():
                raise
            if isinstance(request, pb.CreateInstanceRequest) and not request.instance_id:
                # The id that was minted says which shard it is: another one would be another node's.
                request.instance_id = elsewhere.key.instance
            answer = await self._peers.unary(address, serve.__name__, request, principal(context))
            return cast(Answer, answer)

    async def _stream(
        self, serve: Callable[[Request, Context], AsyncIterator[Answer]], request: Request, context: Context
    ) -> AsyncIterator[Answer]:
        """Once something was answered, a shard that moves ends the stream: its caller goes on from the cursor."""
        answered = False
        try:
            async for answer in serve(request, context):
                answered = True
                yield answer
            return
        except NotOwnedError as elsewhere:
            address = self._owner_of(elsewhere.shard)
            if answered or address is None or last_hop.get():
                raise
        passed_on = self._peers.stream(address, serve.__name__, request, principal(context))
        async for message in passed_on:
            yield cast(Answer, message)
