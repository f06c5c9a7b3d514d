"""What an instance may do with others of its tenant through its bindings, and how the end of one reaches its creator.

A call names a workflow that the version's manifest grants, and an id: it is carried out by whoever owns that instance,
here or on another node. All of it may come twice, since a step is tried again: a create is known by its request_id.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, assert_never

from data_plane.binding_calls import PLAIN, BindingCall, Caller, CallOptions, ChildEnd, Elsewhere, Method
from data_plane.journal.store import InstanceKey
from data_plane.node import Node, NotOwnedError
from stepwell import names
from stepwell.engine import events
from stepwell.engine.documents import status_document
from stepwell.engine.family import Parent, child_name
from stepwell.engine.instance import Phase
from stepwell.engine.records import Completed
from stepwell.errors import (
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    RateLimitedError,
)
from stepwell.names import TenantUid, WorkflowId

if TYPE_CHECKING:
    from data_plane.calling import Seen
    from data_plane.calls import InstanceCalls

BINDING_CALLS_PER_TENANT_MAX: Final = 64
"""Calls through bindings that are under way at once on one node, of one tenant: each may hold a mebibyte."""

BINDING_CALL_S_MAX: Final = 30.0
"""How long one may take, before its caller hears that its outcome is unknown."""


class Bindings:
    """One per node."""

    def __init__(self, node: Node, calls: InstanceCalls, elsewhere: Elsewhere) -> None:
        self._node = node
        self._calls = calls
        self._elsewhere = elsewhere
        self._under_way: Counter[TenantUid] = Counter()

    # ---------------------------------------------------------------- calls
    async def call(
        self,
        caller: Caller,
        workflow: WorkflowId,
        method: Method,
        id: str,
        event_type: str,
        payload: bytes,
        options: CallOptions = PLAIN,
    ) -> bytes:
        """Its answer, as JSON. The workflow is one that the caller's version is granted. Raises ApiErrors."""
        tenant = caller.key.tenant
        if self._under_way[tenant] >= BINDING_CALLS_PER_TENANT_MAX:
            most = BINDING_CALLS_PER_TENANT_MAX
            raise RateLimitedError(
                f"{most} calls through bindings of the tenant are under way: try again in a moment",
                limit="binding_calls_per_tenant_max", value=str(most), seen=str(most + 1),
            )  # fmt: skip
        self._under_way[tenant] += 1
        try:
            async with asyncio.timeout(BINDING_CALL_S_MAX):
                return await self._call(caller, workflow, method, id, event_type, payload, options)
        except TimeoutError:
            raise DeadlineExceededError(
                f"{method} took over {BINDING_CALL_S_MAX:g} s; whether it happened is unknown"
            ) from None
        finally:
            self._under_way[tenant] -= 1
            if not self._under_way[tenant]:
                del self._under_way[tenant]

    async def _call(
        self,
        caller: Caller,
        workflow: WorkflowId,
        method: Method,
        id: str,
        event_type: str,
        payload: bytes,
        options: CallOptions,
    ) -> bytes:
        request_id = caller.request_id
        try:
            if event_type or method == "sendEvent":
                names.event_type(event_type)
            chosen = names.instance_id(id or (request_id if method == "create" else ""))
        except ValueError as error:
            raise InvalidArgumentError(str(error)) from None
        key = InstanceKey(caller.key.tenant, workflow, chosen)
        parent = Parent(caller.key.workflow, caller.key.instance, caller.instance.uid)
        if method == "create":
            await self._add_child(caller, child_name(workflow, chosen))
        else:
            self._node.quotas.check_rate(key.tenant)
        depth = caller.instance.depth + 1
        call = BindingCall(key, method, event_type, payload, request_id, parent, depth, options)
        try:
            return await self.carry_out(call)
        except NotOwnedError as elsewhere:
            return await self._elsewhere.carry_out(elsewhere.shard, call)

    async def _add_child(self, caller: Caller, child: str) -> None:
        """Durable before the create: so there are never more than its journal says."""
        server = self._node.server_of(caller.key)
        async with server.resident(caller.key) as resident:
            if resident.instance is not caller.instance:
                raise ConflictError("the instance that calls is not at work here any more")
            resident.step(events.ChildAsked(self._node.clock(), child))
            await server.flushed(resident)

    async def carry_out(self, call: BindingCall) -> bytes:
        """As the owner of the called instance. Raises NotOwnedError where that is another node."""
        calls, key, request_id, options = self._calls, call.key, call.request_id, call.options
        match call.method:
            case "create":
                seen = await calls.create(
                    key.tenant, key.workflow, key.instance, call.payload, request_id, b"", call.parent, call.depth,
                    retention=options.retention,
                )  # fmt: skip
                return _reference(seen, call.parent)
            case "get":
                return _reference(await calls.get(key), call.parent)
            case "status":
                return await self._document(await calls.get(key))
            case "pause":
                await calls.pause(key, request_id)
            case "resume":
                await calls.resume(key, request_id)
            case "restart":
                await calls.restart(key, options.from_step, request_id)
            case "terminate":
                await calls.terminate(key, request_id, rollback=options.rollback)
            case "cancel":
                await calls.cancel(key, "", request_id)
            case "delete":
                with suppress(NotFoundError):  # by an earlier try of the same step, for all that is known
                    await calls.delete(key, request_id)
            case "sendEvent":
                await calls.send_event(key, call.event_type, call.payload, request_id)
            case _:
                assert_never(call.method)
        return b"null"

    async def _document(self, seen: Seen) -> bytes:
        instance, output = seen.instance, b""
        if isinstance(instance.outcome, Completed):
            output = await self._calls.payload(seen.key, instance, instance.outcome.output)
        return status_document(instance, output)

    # ---------------------------------------------------------------- ends
    async def tell_end(self, end: ChildEnd) -> None:
        """Once this returns, its parent's journal has it, or it has no parent any more. Raises ApiErrors."""
        try:
            await self.take_end(end)
        except NotOwnedError as elsewhere:
            await self._elsewhere.take_end(elsewhere.shard, end)

    async def take_end(self, end: ChildEnd) -> None:
        """As the owner of the parent. Raises NotOwnedError where that is another node."""
        server = self._node.server_of(end.key)
        async with server.resident(end.key) as resident:
            if resident.instance.uid == end.parent.uid and resident.instance.phase is not Phase.DELETING:
                payload = resident.mint(end.document)
                if resident.step(events.ChildEnded(self._node.clock(), end.child, payload, end.request_id)):
                    resident.write_blob(payload, end.document)
            await server.flushed(resident)


def _reference(seen: Seen, caller: Parent) -> bytes:
    return json.dumps({"id": seen.key.instance, "child": seen.instance.parent == caller}).encode()
