"""The events of instances, as the fake server remembers them."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from stepwell.v1 import instances_pb2 as i
from stepwell.v1.instances_pb2_grpc import InstanceServiceServicer
from tests.unit.cli.troubles import refuse


class FakeEvents(InstanceServiceServicer):
    """`found` gives an instance by its name, or refuses the call."""

    def __init__(self, found: Callable[[str, grpc.ServicerContext], i.Instance]) -> None:
        self._instance = found
        self.sent: list[i.SendEventRequest] = []
        self.broadcasts: list[i.BroadcastEventRequest] = []
        self.broadcast_answers: list[i.BroadcastEventResponse] = []
        self.received: dict[str, list[i.ReceivedEvent]] = {}

    def SendEvent(self, request: i.SendEventRequest, context: grpc.ServicerContext) -> Empty:
        self._instance(request.name, context)
        self.sent.append(request)
        return Empty()

    def BroadcastEvent(
        self, request: i.BroadcastEventRequest, context: grpc.ServicerContext
    ) -> i.BroadcastEventResponse:
        """As many pages as there are answers in store."""
        self.broadcasts.append(request)
        return self.broadcast_answers.pop(0)

    def ListEvents(self, request: i.ListEventsRequest, context: grpc.ServicerContext) -> i.ListEventsResponse:
        """Without payloads that are longer than 20 bytes."""
        name = self._instance(request.parent, context).name
        found = [each for each in self.received.get(name, []) if not request.states or each.state in request.states]
        start = int(request.page_token or 0)
        end = start + (request.page_size or 100)
        page = i.ListEventsResponse(events=found[start:end], next_page_token=str(end) if end < len(found) else "")
        for event in page.events:
            if len(event.payload) > 20:
                event.ClearField("payload")
                event.payload_truncated = True
        return page

    def GetEvent(self, request: i.GetEventRequest, context: grpc.ServicerContext) -> i.ReceivedEvent:
        name = self._instance(request.name, context).name
        found = [event for event in self.received.get(name, []) if event.number == request.number]
        if not found:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} has no event {request.number}")
        return found[0]
