"""Events of instances: send them, to one or to all that wait, see what became of them, send one again."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.client.broadcasts import Broadcast
from stepwell.client.calls import Caller
from stepwell.client.payloads import payload_of
from stepwell.client.resource_names import workflow_name
from stepwell.errors import InvalidArgumentError
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1.instances_pb2_grpc import InstanceServiceStub


class Events:
    """What InstanceService has about events."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = InstanceServiceStub(caller.channel)

    async def send_event(
        self,
        name: str,
        type: str,
        payload: object = None,
        *,
        event_id: str = "",
        only_if_waiting: bool = False,
        request_id: str = "",
    ) -> None:
        """Kept, first in first out by type, until the instance waits for it; with `only_if_waiting`, NotWaitingError
        where it does not wait now. WrongStateError once it has ended.

        `event_id` is the sender's own name for the event, such as a webhook's delivery id: the instance takes one event
        of that id, however often and by whomever it is sent. InvalidArgumentError with another type or payload.
        """
        request = pb.SendEventRequest(
            name=name,
            type=type,
            payload=payload_of(payload),
            event_id=event_id,
            only_if_waiting=only_if_waiting,
            request_id=request_id or self._caller.new_request_id(),
        )
        await self._caller.unary(self._stub.SendEvent, request)

    async def broadcast_event(
        self, tenant: str | None, workflow: str, type: str, payload: object = None, *, event_id: str = ""
    ) -> Broadcast:
        """Send an event to all instances of a workflow that wait for its type now, page by page; what came of it.

        Without an `event_id` it is given one. Under the same id it can be sent again, whatever ended it before: who had
        the event does not get it twice. Instances that could not be sent to are counted, and raise nothing.
        """
        request = pb.BroadcastEventRequest(
            parent=workflow_name(tenant, workflow),
            type=type,
            payload=payload_of(payload),
            event_id=event_id or self._caller.new_request_id(),
        )
        so_far = Broadcast(request.event_id)
        while True:
            answer = await self._caller.unary(self._stub.BroadcastEvent, request)
            so_far = so_far.and_then(answer)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return so_far

    async def list_events(
        self,
        name: str,
        *,
        states: Iterable[pb.EventState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> pb.ListEventsResponse:
        """A page of what was sent to it and what became of that, in the order in which it came; without large payloads.
        A page may be short before the last."""
        request = pb.ListEventsRequest(parent=name, states=states, page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListEvents, request)

    async def get_event(self, name: str, number: int) -> pb.ReceivedEvent:
        """One of its events with the whole payload. NotFoundError when it has none of that number."""
        return await self._caller.unary(self._stub.GetEvent, pb.GetEventRequest(name=name, number=number))

    async def resend_event(self, name: str, number: int, to: str) -> pb.ReceivedEvent:
        """Send one of its events to the instance `to`, which may be itself after a restart; answers with that event.

        However often it is called, `to` takes it once: under the event's own id, or one that says where it was. As
        `send_event`, WrongStateError when `to` has ended; NotFoundError when there is no such event;
        InvalidArgumentError for the end of an instance that this one created, which nobody can send.
        """
        event = await self.get_event(name, number)
        if not event.resend_id:
            raise InvalidArgumentError(
                f"event {number} is the end of {event.type}, which the instance created: it can't be sent; a restart "
                "of the instance keeps it",
                field="number",
            )
        request = pb.SendEventRequest(
            name=to,
            type=event.type,
            payload=event.payload,
            event_id=event.resend_id,
            request_id=self._caller.new_request_id(),
        )
        await self._caller.unary(self._stub.SendEvent, request)
        return event
