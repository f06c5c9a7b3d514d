"""A call through a binding, and the word of an end, on their way to another node and back."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from data_plane.binding_calls import PLAIN, BindingCall, CallOptions, ChildEnd
from data_plane.bindings_grpc import BindingPeers, serve_call, serve_end
from data_plane.journal.store import InstanceKey
from loader import messages as m
from rpc.internal.v1 import peers_pb2 as pb
from stepwell.engine.events import ChildAsked
from stepwell.engine.family import Parent
from stepwell.engine.records import Created, EventReceived, StepKey
from stepwell.errors import InvalidArgumentError, UnavailableError
from stepwell.names import InstanceId, InstanceUid
from stepwell.retention import Retention
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

PARENT = Parent(FLOW, InstanceId("p"), InstanceUid("pu"))
CHILD = InstanceKey(TENANT, FLOW, InstanceId("child"))


class Wire:
    """`rpc.peers.Peers`, to one house."""

    def __init__(self, house: House) -> None:
        self._bindings = house.calls.bindings

    async def ask(self, address: str, path: str, request: Any, answer: Any, *, timeout_s: float) -> Any:
        assert address == "owner:1"
        data = request.SerializeToString()
        if path == "/stepwell.internal.v1.PeerService/CallInstance":
            served: Any = await serve_call(self._bindings, pb.CallInstanceRequest.FromString(data))
        else:
            assert path == "/stepwell.internal.v1.PeerService/TellParent"
            served = await serve_end(self._bindings, pb.TellParentRequest.FromString(data))
        return answer(served.SerializeToString())


def peers(house: House, address: str | None = "owner:1") -> BindingPeers:
    return BindingPeers(cast(Any, Wire(house)), lambda shard: address)


@on_virtual_time
async def test_a_create_arrives_as_it_was_asked_for() -> None:
    async with serving() as house:
        call = BindingCall(CHILD, "create", "", b'{"a":1}', "r1", PARENT, 3)
        assert json.loads(await peers(house).carry_out(7, call)) == {"id": "child", "child": True}
        created = next(each for each in house.records(CHILD) if isinstance(each, Created))
        assert (created.parent, created.depth, created.params, created.request_id) == (PARENT, 3, b'{"a":1}', "r1")
        event = BindingCall(CHILD, "sendEvent", "go", b"7", "r2", PARENT, 3)
        assert await peers(house).carry_out(7, event) == b"null"
        received = next(each for each in house.records(CHILD) if isinstance(each, EventReceived))
        assert (received.event_type, received.payload, received.request_id) == ("go", b"7", "r2")


@on_virtual_time
async def test_an_end_arrives_at_the_parents_owner() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        resident = house.server.peek(key)
        assert resident is not None
        resident.step(ChildAsked(1, "flow/child"))
        guest.say(m.Wait(1, "FLOW child", 1, "flow/child", None))
        parent = Parent(FLOW, key.instance, resident.instance.uid)
        end = ChildEnd(TENANT, parent, "flow/child", b'{"status":"terminated"}', "end 1")
        await peers(house).take_end(7, end)
        await until(lambda: guest.told("completion"))
        await peers(house).take_end(7, end)
        assert sum(isinstance(each, EventReceived) for each in house.records(key)) == 1


@on_virtual_time
async def test_what_nobody_owns_or_is_no_method_is_refused() -> None:
    async with serving() as house:
        await house.create()
        call = BindingCall(CHILD, "get", "", b"null", "r1", PARENT, 1)
        with pytest.raises(UnavailableError):
            await peers(house, None).carry_out(7, call)
        with pytest.raises(InvalidArgumentError, match="no method"):
            await serve_call(house.calls.bindings, pb.CallInstanceRequest(method="fork"))


class Served:
    """`Bindings` that keep what they are to carry out, as another node has them."""

    def __init__(self) -> None:
        self.calls: list[BindingCall] = []

    async def carry_out(self, call: BindingCall) -> bytes:
        self.calls.append(call)
        return b"null"


class Asked:
    """`rpc.peers.Peers`, to a node that knows all methods, or to one of the version before calls had options."""

    def __init__(self, *, older: bool = False) -> None:
        self.bindings, self.methods = Served(), list[str]()
        self._older = older

    async def ask(self, address: str, path: str, request: Any, answer: Any, *, timeout_s: float) -> Any:
        arrived = pb.CallInstanceRequest.FromString(request.SerializeToString())
        self.methods.append(arrived.method)
        if self._older and arrived.method not in ("create", "terminate", "restart"):
            raise InvalidArgumentError(f"{arrived.method!r} is no method of an instance", field="method")
        return answer((await serve_call(cast(Any, self.bindings), arrived)).SerializeToString())


OPTIONS = {
    "create": CallOptions(Retention(60_000, 90_000)),
    "terminate": CallOptions(rollback=True),
    "restart": CallOptions(from_step=StepKey("sleep", "nap", 2)),
}


def with_options(method: Any, options: CallOptions) -> BindingCall:
    return BindingCall(CHILD, method, "", b"null", "r1", PARENT, 1, options)


@pytest.mark.parametrize("method", OPTIONS)
@on_virtual_time
async def test_options_arrive_as_they_were_said(method: str) -> None:
    asked, said = Asked(), OPTIONS[method]
    half = said._replace(retention=Retention(error_ms=said.retention.error_ms))
    for options in (said, half, PLAIN):
        await BindingPeers(cast(Any, asked), lambda shard: "owner:1").carry_out(7, with_options(method, options))
        assert asked.bindings.calls[-1] == with_options(method, options)


@pytest.mark.parametrize("method", OPTIONS)
@on_virtual_time
async def test_an_older_node_refuses_options_for_now_and_carries_out_what_has_none(method: str) -> None:
    asked = Asked(older=True)
    peers = BindingPeers(cast(Any, asked), lambda shard: "owner:1")
    with pytest.raises(UnavailableError, match="once it is upgraded"):
        await peers.carry_out(7, with_options(method, OPTIONS[method]))
    assert asked.bindings.calls == []
    await peers.carry_out(7, with_options(method, PLAIN))
    assert asked.methods == [f"{method}With", method]


@on_virtual_time
async def test_what_the_owner_refuses_otherwise_is_told_as_it_is() -> None:
    async with serving() as house:
        await house.create("child")
        options = CallOptions(from_step=StepKey("do", "never", 1))
        with pytest.raises(InvalidArgumentError, match="no step 'never'"):
            await peers(house).carry_out(7, with_options("restart", options))
