"""A call of another node's instance is passed on to it, once, as its caller's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from data_plane import batches, broadcasts
from data_plane.forwarding import ForwardingServicer
from data_plane.instance_service import InstanceServicer
from data_plane.journal.store import InstanceKey
from data_plane.node import NotOwnedError
from rpc import rights
from rpc.auth import Principal, acting_as
from stepwell.errors import UnavailableError
from stepwell.names import InstanceId, TenantId, TenantUid, WorkflowId
from stepwell.v1 import instances_pb2 as pb

CALLER = Principal("t-1", TenantId("acme"), rights.OPERATORS)
KEY = InstanceKey(TenantUid("uid"), WorkflowId("flow"), InstanceId("minted"))
CONTEXT = cast(Any, None)
UNARY = {
    method.name: GetMessageClass(method.input_type)
    for method in pb.DESCRIPTOR.services_by_name["InstanceService"].methods
    if not method.server_streaming
    and method.name not in ("ListInstances", "BatchCreateInstances", "BatchDeleteInstances", "BroadcastEvent")
}
"""Those of one instance."""


class Elsewhere:
    """Owns nothing, or loses what it owned after its first answer."""

    def __init__(self, answers: int = 0) -> None:
        self._answers = answers

    def __getattribute__(self, name: str) -> Any:
        if name in UNARY:

            async def serve(request: Message, context: object) -> Message:
                raise NotOwnedError(5, KEY)

            serve.__name__ = name
            return serve
        return object.__getattribute__(self, name)

    async def create_batch(self, request: Message, context: object, create: Any) -> pb.BatchCreateInstancesResponse:
        return await batches.created(cast(pb.BatchCreateInstancesRequest, request), CONTEXT, create)

    async def delete_batch(self, request: Message, context: object, delete: Any) -> pb.BatchDeleteInstancesResponse:
        return await batches.deleted(cast(pb.BatchDeleteInstancesRequest, request), CONTEXT, delete)

    async def broadcast(self, request: Message, context: object, send: Any) -> pb.BroadcastEventResponse:
        return await broadcasts.sent(cast(pb.BroadcastEventRequest, request), ["a", "b"], CONTEXT, send)

    async def ListInstances(self, request: pb.ListInstancesRequest, context: object) -> pb.ListInstancesResponse:
        return pb.ListInstancesResponse(next_page_token="here")

    async def WatchInstance(self, request: Message, context: object) -> AsyncIterator[pb.InstanceEvent]:
        for number in range(self._answers):
            yield pb.InstanceEvent(cursor=f"here {number}")
        raise NotOwnedError(5, KEY)


class Peers:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Message, Principal]] = []

    async def unary(self, address: str, method: str, request: Message, caller: Principal) -> Message:
        self.asked.append((address, method, request, caller))
        return pb.Instance(name="there") if method == "CreateInstance" else Empty()

    async def stream(self, address: str, method: str, request: Message, caller: Principal) -> AsyncIterator[Message]:
        self.asked.append((address, method, request, caller))
        yield pb.InstanceEvent(cursor="there")


def servicer(peers: Peers, owner: str | None = "b:1", answers: int = 0) -> ForwardingServicer:
    return ForwardingServicer(cast(InstanceServicer, Elsewhere(answers)), {5: owner}.get, peers)


async def watched(forwarding: ForwardingServicer) -> list[str]:
    watch = forwarding.WatchInstance(pb.WatchInstanceRequest(name="n"), CONTEXT)
    return [event.cursor async for event in watch]


@pytest.mark.parametrize("method", sorted(UNARY))
async def test_a_call_is_passed_on_to_the_shards_owner(method: str) -> None:
    peers, request = Peers(), UNARY[method]()
    with acting_as(CALLER):
        assert await getattr(servicer(peers), method)(request, CONTEXT) in (Empty(), pb.Instance(name="there"))
    assert peers.asked == [("b:1", method, request, CALLER)]


@pytest.mark.parametrize("method", sorted(UNARY))
async def test_without_an_owner_the_caller_is_told_to_come_again(method: str) -> None:
    peers = Peers()
    with acting_as(CALLER), pytest.raises(UnavailableError):
        await getattr(servicer(peers, None), method)(UNARY[method](), CONTEXT)
    assert peers.asked == []


async def test_a_create_is_passed_on_with_the_id_that_was_minted_for_it() -> None:
    peers = Peers()
    with acting_as(CALLER):
        await servicer(peers).CreateInstance(pb.CreateInstanceRequest(request_id="r"), CONTEXT)
        await servicer(peers).CreateInstance(pb.CreateInstanceRequest(instance_id="given"), CONTEXT)
    passed_on = [request for _, _, request, _ in peers.asked]
    assert passed_on == [
        pb.CreateInstanceRequest(instance_id="minted", request_id="r"),
        pb.CreateInstanceRequest(instance_id="given"),
    ]


async def test_each_part_of_a_batch_is_passed_on_to_its_shards_owner() -> None:
    peers = Peers()
    Item = pb.BatchCreateInstancesRequest.Item
    with acting_as(CALLER):
        creates = pb.BatchCreateInstancesRequest(parent="p", items=[Item(instance_id="a"), Item(instance_id="b")])
        made = await servicer(peers).BatchCreateInstances(creates, CONTEXT)
        deletes = pb.BatchDeleteInstancesRequest(parent="p", instance_ids=["a", "b"])
        gone = await servicer(peers).BatchDeleteInstances(deletes, CONTEXT)
        nobody = await servicer(peers, None).BatchDeleteInstances(deletes, CONTEXT)
    assert [(method, request) for _, method, request, _ in peers.asked] == [
        ("CreateInstance", pb.CreateInstanceRequest(parent="p", instance_id="a")),
        ("CreateInstance", pb.CreateInstanceRequest(parent="p", instance_id="b")),
        ("DeleteInstance", pb.DeleteInstanceRequest(name="p/instances/a")),
        ("DeleteInstance", pb.DeleteInstanceRequest(name="p/instances/b")),
    ]
    assert [each.instance.name for each in made.results] == ["there", "there"]
    assert [each.HasField("error") for each in gone.results] == [False, False]
    assert [each.error.reason for each in nobody.results] == ["UNAVAILABLE", "UNAVAILABLE"]


async def test_each_send_of_a_broadcast_is_passed_on_to_its_shards_owner() -> None:
    peers = Peers()
    asked = pb.BroadcastEventRequest(parent="p", type="go", payload=b"1", event_id="e")
    with acting_as(CALLER):
        sent = await servicer(peers).BroadcastEvent(asked, CONTEXT)
        nobody = await servicer(peers, None).BroadcastEvent(asked, CONTEXT)
    sends = [
        pb.SendEventRequest(name=name, type="go", payload=b"1", event_id="e", only_if_waiting=True) for name in "ab"
    ]
    assert [(method, request) for _, method, request, _ in peers.asked] == [("SendEvent", each) for each in sends]
    assert sent == pb.BroadcastEventResponse(sent=2)
    assert [(each.name, each.error.reason) for each in nobody.failures] == [("a", "UNAVAILABLE"), ("b", "UNAVAILABLE")]


async def test_lists_are_answered_here() -> None:
    peers = Peers()
    assert (await servicer(peers).ListInstances(pb.ListInstancesRequest(), CONTEXT)).next_page_token == "here"
    assert peers.asked == []


async def test_a_watch_is_passed_on_before_it_has_told_anything() -> None:
    with acting_as(CALLER):
        assert await watched(servicer(Peers())) == ["there"]


async def test_a_watch_whose_shard_moves_ends_so_that_its_caller_goes_on_from_its_cursor() -> None:
    peers = Peers()
    with acting_as(CALLER), pytest.raises(UnavailableError):
        await watched(servicer(peers, answers=2))
    assert peers.asked == []
