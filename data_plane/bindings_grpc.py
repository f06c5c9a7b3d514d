"""Calls through bindings and ends of children among nodes, over gRPC: `binding_calls.Elsewhere`, and its other side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast, get_args

from google.protobuf.empty_pb2 import Empty

from data_plane.binding_calls import PLAIN, BindingCall, CallOptions, ChildEnd, Method
from data_plane.bindings import BINDING_CALL_S_MAX, Bindings
from data_plane.journal.store import InstanceKey
from rpc.internal.v1 import peers_pb2 as pb
from rpc.peers import Peers
from stepwell.engine.family import Parent
from stepwell.engine.records import Kind, StepKey
from stepwell.errors import InvalidArgumentError, UnavailableError
from stepwell.names import InstanceId, InstanceUid, TenantUid, WorkflowId
from stepwell.retention import Retention

_SERVICE: Final = "/stepwell.internal.v1.PeerService"
_WITH: Final = "With"
"""Behind the method of a call with options."""


class BindingPeers:
    """`owner_of` gives the address of a shard's owner, or None."""

    def __init__(self, peers: Peers, owner_of: Callable[[int], str | None]) -> None:
        self._peers = peers
        self._owner_of = owner_of

    async def carry_out(self, shard: int, call: BindingCall) -> bytes:
        method = call.method if call.options == PLAIN else call.method + _WITH
        request = pb.CallInstanceRequest(
            tenant=call.key.tenant, workflow=call.key.workflow, instance=call.key.instance, method=method,
            event_type=call.event_type, payload=call.payload, request_id=call.request_id,
            parent=_parent(call.parent), depth=call.depth, options=_options(call.options),
        )  # fmt: skip
        try:
            answered = await self._ask(shard, "CallInstance", request, pb.CallInstanceResponse.FromString)
        except InvalidArgumentError as refused:
            if refused.metadata.get("field") != "method":
                raise
            raise UnavailableError(
                "the server that owns the instance is of a version that does not know this call: try again once it is "
                "upgraded"
            ) from None
        return cast(pb.CallInstanceResponse, answered).answer

    async def take_end(self, shard: int, end: ChildEnd) -> None:
        request = pb.TellParentRequest(
            tenant=end.tenant, parent=_parent(end.parent), child=end.child, document=end.document,
            request_id=end.request_id,
        )  # fmt: skip
        await self._ask(shard, "TellParent", request, Empty.FromString)

    async def _ask(self, shard: int, method: str, request: Any, answer: Callable[[bytes], Any]) -> Any:
        address = self._owner_of(shard)
        if address is None:
            raise UnavailableError("the instance is moving to another server; try again in a moment")
        return await self._peers.ask(address, f"{_SERVICE}/{method}", request, answer, timeout_s=BINDING_CALL_S_MAX)


async def serve_call(bindings: Bindings, request: pb.CallInstanceRequest) -> pb.CallInstanceResponse:
    """Raises NotOwnedError, an UnavailableError, where the instance has moved on."""
    method = request.method.removesuffix(_WITH)
    if method not in get_args(Method):
        raise InvalidArgumentError(f"{request.method!r} is no method of an instance", field="method")
    call = BindingCall(
        InstanceKey(TenantUid(request.tenant), WorkflowId(request.workflow), InstanceId(request.instance)),
        cast(Method, method), request.event_type, request.payload, request.request_id,
        _read_parent(request.parent), request.depth, _read_options(request.options),
    )  # fmt: skip
    return pb.CallInstanceResponse(answer=await bindings.carry_out(call))


async def serve_end(bindings: Bindings, request: pb.TellParentRequest) -> Empty:
    """Likewise."""
    parent = _read_parent(request.parent)
    end = ChildEnd(TenantUid(request.tenant), parent, request.child, request.document, request.request_id)
    await bindings.take_end(end)
    return Empty()


def _parent(parent: Parent) -> pb.ParentInstance:
    return pb.ParentInstance(workflow=parent.workflow, instance=parent.instance, uid=parent.uid)


def _read_parent(message: pb.ParentInstance) -> Parent:
    return Parent(WorkflowId(message.workflow), InstanceId(message.instance), InstanceUid(message.uid))


def _options(options: CallOptions) -> pb.CallOptions | None:
    if options == PLAIN:
        return None
    step = options.from_step or StepKey("do", "", 0)
    return pb.CallOptions(
        **options.retention._asdict(), rollback=options.rollback,
        step_kind=step.kind, step_name=step.name, step_count=step.count,
    )  # fmt: skip


def _read_options(message: pb.CallOptions) -> CallOptions:
    retention = Retention(
        message.success_ms if message.HasField("success_ms") else None,
        message.error_ms if message.HasField("error_ms") else None,
    )
    step = StepKey(cast(Kind, message.step_kind), message.step_name, message.step_count)
    return CallOptions(retention, message.rollback, step if step.name else None)
