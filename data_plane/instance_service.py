"""InstanceService: decodes, calls, encodes. Who may name what is decided by the token and the name, before all else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import grpc
from google.protobuf.empty_pb2 import Empty

from cluster.records import Tenant
from data_plane import batches, broadcasts, views
from data_plane.batches import Create, Delete
from data_plane.broadcasts import Send
from data_plane.calling import Seen
from data_plane.calls import InstanceCalls
from data_plane.forking import Fork
from data_plane.journal.store import EVER, CreateTimes, InstanceKey
from data_plane.logs.reading import LogReading
from rpc.auth import principal
from rpc.json_edge import checked_json
from rpc.paging import PAGE_BYTES_MAX, offset, page_size, page_token, position
from rpc.resource_names import checked, instance_name, parse_instance, parse_version, parse_workflow
from rpc.rights import Right
from rpc.times import ms_of, timestamp
from rpc.trace_context import current
from rpc.workflow_terms import checked_retention
from stepwell import names
from stepwell.engine.instance import Step
from stepwell.engine.received import EventState, received_by
from stepwell.engine.records import BlobRef, Completed, StepKey
from stepwell.engine.status import steps_of
from stepwell.errors import InvalidArgumentError, NotFoundError
from stepwell.names import Digest, TenantId
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import instances_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Tenants(Protocol):
    """Tenants by id. Raises NotFoundError."""

    async def tenant(self, tenant_id: TenantId) -> Tenant: ...


class InstanceServicer(instances_pb2_grpc.InstanceServiceServicer):
    """One per node."""

    def __init__(self, calls: InstanceCalls, tenants: Tenants, logs: LogReading) -> None:
        self._calls = calls
        self._logs = logs
        self._tenants = tenants

    async def CreateInstance(self, request: pb.CreateInstanceRequest, context: Context) -> pb.Instance:
        tenant, workflow = parse_workflow(request.parent, principal(context), "parent")
        instance = checked(names.instance_id, request.instance_id, "instance_id") if request.instance_id else None
        request_id = checked(names.request_id, request.request_id, "request_id")
        params = checked_json(request.params, "params")
        retention = checked_retention(request.retention, "retention")
        uid = (await self._tenants.tenant(tenant)).uid
        trace = _trace()
        seen = await self._calls.create(uid, workflow, instance, params, request_id, trace, retention=retention)
        return await self._instance(tenant, seen, context)

    async def BatchCreateInstances(
        self, request: pb.BatchCreateInstancesRequest, context: Context
    ) -> pb.BatchCreateInstancesResponse:
        return await self.create_batch(request, context, self.CreateInstance)

    async def create_batch(
        self, request: pb.BatchCreateInstancesRequest, context: Context, create: Create
    ) -> pb.BatchCreateInstancesResponse:
        """Each item by that call, once the batch as a whole is in order, its tenant and its workflow's route there."""
        tenant, workflow = parse_workflow(request.parent, principal(context), "parent")
        batches.checked_creates(request)
        await self._calls.check_routed((await self._tenants.tenant(tenant)).uid, workflow)
        return await batches.created(request, context, create)

    async def BatchDeleteInstances(
        self, request: pb.BatchDeleteInstancesRequest, context: Context
    ) -> pb.BatchDeleteInstancesResponse:
        return await self.delete_batch(request, context, self.DeleteInstance)

    async def delete_batch(
        self, request: pb.BatchDeleteInstancesRequest, context: Context, delete: Delete
    ) -> pb.BatchDeleteInstancesResponse:
        """Each id by that call, once the batch as a whole is in order, and its tenant there."""
        tenant, _ = parse_workflow(request.parent, principal(context), "parent")
        batches.checked_deletes(request)
        await self._tenants.tenant(tenant)
        return await batches.deleted(request, context, delete)

    async def GetInstance(self, request: pb.GetInstanceRequest, context: Context) -> pb.Instance:
        tenant, key = await self._named(request.name, context)
        return await self._instance(tenant, await self._calls.get(key), context)

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Context) -> pb.ListInstancesResponse:
        tenant, workflow = parse_workflow(request.parent, principal(context), "parent")
        limit = page_size(request.page_size)
        statuses = frozenset(_status_name(number) for number in request.statuses)
        created = CreateTimes(
            ms_of(request.created_from, "created_from") if request.HasField("created_from") else EVER.first,
            ms_of(request.created_to, "created_to") if request.HasField("created_to") else EVER.last,
        )
        uid = (await self._tenants.tenant(tenant)).uid
        scope = f"instances of {uid}/{workflow} {sorted(statuses)}" + ("" if created == EVER else f" {list(created)}")
        at = position(scope, request.page_token)
        page = await self._calls.list(uid, workflow, limit=limit, token=at, statuses=statuses, created=created)
        return pb.ListInstancesResponse(
            instances=[views.listing_message(tenant, listing) for listing in page.listings],
            next_page_token=page_token(scope, page.next_token) if page.next_token else "",
        )

    async def ListSteps(self, request: pb.ListStepsRequest, context: Context) -> pb.ListStepsResponse:
        _, key = await self._named(request.parent, context, "parent")
        limit = page_size(request.page_size)
        scope = f"steps of {'/'.join(key)}"
        begin = offset(scope, request.page_token)
        seen = await self._calls.get(key)
        steps = steps_of(seen.instance)
        response, size, index = pb.ListStepsResponse(), 0, begin
        for step in steps[begin : begin + limit]:
            message = await self._step(seen, step)
            size += message.ByteSize()
            if response.steps and size > PAGE_BYTES_MAX:
                break
            response.steps.append(message)
            index += 1
        if index < len(steps):
            response.next_page_token = page_token(scope, str(index))
        return response

    async def SendEvent(self, request: pb.SendEventRequest, context: Context) -> Empty:
        _, key = await self._named(request.name, context)
        event_type = checked(names.event_type, request.type, "type")
        request_id = checked(names.request_id, request.request_id, "request_id")
        event_id = checked(names.event_id, request.event_id, "event_id")
        payload = checked_json(request.payload, "payload")
        await self._calls.send_event(
            key, event_type, payload, request_id, event_id, only_if_waiting=request.only_if_waiting
        )
        return Empty()

    async def BroadcastEvent(self, request: pb.BroadcastEventRequest, context: Context) -> pb.BroadcastEventResponse:
        return await self.broadcast(request, context, self.SendEvent)

    async def broadcast(
        self, request: pb.BroadcastEventRequest, context: Context, send: Send
    ) -> pb.BroadcastEventResponse:
        """By that call to each instance of the page, once the request as a whole is in order, and its tenant there."""
        tenant, workflow = parse_workflow(request.parent, principal(context), "parent")
        broadcasts.check(request)
        limit = page_size(request.page_size)
        uid = (await self._tenants.tenant(tenant)).uid
        scope = f"broadcast to {uid}/{workflow}"
        at = position(scope, request.page_token)
        page = await self._calls.list(uid, workflow, limit=limit, token=at, statuses=broadcasts.UNENDED)
        to = [instance_name(tenant, workflow, listing.key.instance) for listing in page.listings]
        response = await broadcasts.sent(request, to, context, send)
        if Right.READ not in principal(context).rights:
            response.ClearField("failures")
        if page.next_token:
            response.next_page_token = page_token(scope, page.next_token)
        return response

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        _, key = await self._named(request.parent, context, "parent")
        limit = page_size(request.page_size)
        states = frozenset(_event_state_name(number) for number in request.states)
        scope = f"events of {'/'.join(key)} {sorted(states)}"
        after = offset(scope, request.page_token)
        instance = (await self._calls.get(key)).instance
        response, size = pb.ListEventsResponse(), 0
        for received in received_by(instance):
            if received.event.number <= after or (states and received.state not in states):
                continue
            # A large payload is left out: a page is to be read, not to carry data.
            inline = None if isinstance(received.event.payload, BlobRef) else received.event.payload
            message = views.event_message(instance, received, inline)
            size += message.ByteSize()
            if len(response.events) == limit or (response.events and size > PAGE_BYTES_MAX):
                response.next_page_token = page_token(scope, str(response.events[-1].number))
                break
            response.events.append(message)
        return response

    async def GetEvent(self, request: pb.GetEventRequest, context: Context) -> pb.ReceivedEvent:
        _, key = await self._named(request.name, context)
        if request.number < 1:
            raise InvalidArgumentError(f"number is {request.number}: events are counted from 1", field="number")
        instance = (await self._calls.get(key)).instance
        if request.number > len(instance.received):
            raise NotFoundError(f"instance {key.instance!r} has received no event {request.number}")
        received = received_by(instance)[request.number - 1]
        payload = await self._calls.payload(key, instance, received.event.payload)
        return views.event_message(instance, received, payload)

    async def PauseInstance(self, request: pb.PauseInstanceRequest, context: Context) -> pb.Instance:
        tenant, key = await self._named(request.name, context)
        return await self._instance(tenant, await self._calls.pause(key, _request_id(request)), context)

    async def ResumeInstance(self, request: pb.ResumeInstanceRequest, context: Context) -> pb.Instance:
        tenant, key = await self._named(request.name, context)
        return await self._instance(tenant, await self._calls.resume(key, _request_id(request)), context)

    async def RestartInstance(self, request: pb.RestartInstanceRequest, context: Context) -> pb.Instance:
        tenant, key = await self._named(request.name, context)
        seen = await self._calls.restart(key, _step_key(request), _request_id(request))
        return await self._instance(tenant, seen, context)

    async def CancelInstance(self, request: pb.CancelInstanceRequest, context: Context) -> pb.Instance:
        tenant, key = await self._named(request.name, context)
        reason = checked(names.cancel_reason, request.reason, "reason")
        return await self._instance(tenant, await self._calls.cancel(key, reason, _request_id(request)), context)

    async def ForkInstance(self, request: pb.ForkInstanceRequest, context: Context) -> pb.Instance:
        step, request_id = _step_key(request), _request_id(request)
        if step is None:
            raise InvalidArgumentError("step_name is empty: name the step that the fork begins from", field="step_name")
        instance = checked(names.instance_id, request.instance_id, "instance_id") if request.instance_id else None
        version = parse_version(request.version, principal(context), "version") if request.version else None
        tenant, key = await self._named(request.name, context)
        digest = _own(version, tenant) if version is not None else None
        seen = await self._calls.fork(Fork(key, step, instance, digest, request_id, _trace()))
        return await self._instance(tenant, seen, context)

    async def ReplayInstance(self, request: pb.ReplayInstanceRequest, context: Context) -> pb.Replay:
        version = parse_version(request.version, principal(context), "version")
        tenant, key = await self._named(request.name, context)
        digest = _own(version, tenant)
        return views.replay_message(tenant, key, digest, await self._calls.replay(key, digest))

    async def MigrateInstance(self, request: pb.MigrateInstanceRequest, context: Context) -> pb.Instance:
        version = parse_version(request.version, principal(context), "version")
        request_id = _request_id(request)
        tenant, key = await self._named(request.name, context)
        return await self._instance(tenant, await self._calls.migrate(key, _own(version, tenant), request_id), context)

    async def TerminateInstance(self, request: pb.TerminateInstanceRequest, context: Context) -> pb.Instance:
        tenant, key = await self._named(request.name, context)
        seen = await self._calls.terminate(key, _request_id(request), rollback=request.rollback)
        return await self._instance(tenant, seen, context)

    async def DeleteInstance(self, request: pb.DeleteInstanceRequest, context: Context) -> Empty:
        _, key = await self._named(request.name, context)
        await self._calls.delete(key, _request_id(request))
        return Empty()

    async def WatchInstance(
        self, request: pb.WatchInstanceRequest, context: Context
    ) -> AsyncIterator[pb.InstanceEvent]:
        _, key = await self._named(request.name, context)
        async for cursor, happening in self._calls.watch(key, request.cursor, status_only=request.status_only):
            event = pb.InstanceEvent(
                cursor=cursor,
                event_time=timestamp(happening.at),
                type=happening.type,
                status=views.STATUSES[happening.status],
            )
            if happening.step is not None:
                event.step.CopyFrom(views.step_message(happening.step))
            yield event

    async def ListLogs(self, request: pb.ListLogsRequest, context: Context) -> pb.ListLogsResponse:
        _, key = await self._named(request.parent, context, "parent")
        limit = page_size(request.page_size)
        step = _step_name(request.step_name)
        scope = f"logs of {'/'.join(key)} {step}"
        response, size = pb.ListLogsResponse(), 0
        begin = position(scope, request.page_token)
        async with aclosing(self._logs.printed(key, begin, step, field="page_token")) as entries:
            async for entry in entries:
                message = views.log_message(entry)
                size += message.ByteSize()
                if len(response.entries) == limit or (response.entries and size > PAGE_BYTES_MAX):
                    response.next_page_token = page_token(scope, response.entries[-1].cursor)
                    break
                response.entries.append(message)
        return response

    async def WatchLogs(self, request: pb.WatchLogsRequest, context: Context) -> AsyncIterator[pb.LogEntry]:
        _, key = await self._named(request.name, context)
        async with aclosing(self._logs.watch(key, request.cursor, _step_name(request.step_name))) as entries:
            async for entry in entries:
                yield views.log_message(entry)

    async def _named(self, name: str, context: Context, field: str = "name") -> tuple[TenantId, InstanceKey]:
        tenant, workflow, instance = parse_instance(name, principal(context), field)
        return tenant, InstanceKey((await self._tenants.tenant(tenant)).uid, workflow, instance)

    async def _instance(self, tenant: TenantId, seen: Seen, context: Context) -> pb.Instance:
        """What the caller may see of it: a token without `read` gets no word that the tenant's code or callers said."""
        instance, key = seen.instance, seen.key
        if Right.READ not in principal(context).rights:
            message = views.instance_message(tenant, key.workflow, key.instance, instance, params=b"", output=None)
            message.ClearField("error")
            message.ClearField("cancel_reason")
            return message
        params = await self._calls.payload(key, instance, instance.params)
        output = None
        if isinstance(instance.outcome, Completed):
            output = await self._calls.payload(key, instance, instance.outcome.output)
        return views.instance_message(tenant, key.workflow, key.instance, instance, params=params, output=output)

    async def _step(self, seen: Seen, step: Step) -> pb.Step:
        """A large output is left out: a page is to be read, not to carry data."""
        if isinstance(step.output, BlobRef):
            return views.step_message(step, truncated=True)
        return views.step_message(step, step.output)


def _trace() -> bytes:
    return call.stored() if (call := current()) is not None else b""


def _request_id(
    request: (
        pb.PauseInstanceRequest
        | pb.ResumeInstanceRequest
        | pb.RestartInstanceRequest
        | pb.CancelInstanceRequest
        | pb.ForkInstanceRequest
        | pb.MigrateInstanceRequest
        | pb.TerminateInstanceRequest
        | pb.DeleteInstanceRequest
    ),
) -> str:
    return checked(names.request_id, request.request_id, "request_id")


def _own(version: tuple[TenantId, Digest], tenant: TenantId) -> Digest:
    """Of a version of that tenant's."""
    if version[0] != tenant:
        raise InvalidArgumentError(
            "version: an instance runs a version of its own tenant, and this is another's", field="version"
        )
    return version[1]


def _step_key(request: pb.RestartInstanceRequest | pb.ForkInstanceRequest) -> StepKey | None:
    """The step that it names; None for none."""
    kind = views.STEP_KIND_NAMES.get(request.step_kind or pb.STEP_KIND_DO)
    if kind is None:
        raise InvalidArgumentError(
            f"step_kind: {request.step_kind} is not a kind that a step can have", field="step_kind"
        )
    if request.step_count < 0:
        raise InvalidArgumentError(f"step_count is {request.step_count}: counts are from 1", field="step_count")
    name = _step_name(request.step_name)
    if not name and (request.step_kind or request.step_count):
        raise InvalidArgumentError(
            "step_name is empty: name the step, or leave out its kind and count", field="step_name"
        )
    return StepKey(kind, name, request.step_count or 1) if name else None


def _step_name(text: str) -> str:
    return checked(names.step_name, text, "step_name") if text else ""


def _event_state_name(number: int) -> EventState:
    name = views.EVENT_STATE_NAMES.get(number)
    if name is None:
        raise InvalidArgumentError(f"states: {number} is not a state that an event can have", field="states")
    return name


def _status_name(number: int) -> str:
    name = views.STATUS_NAMES.get(number)
    if name is None:
        raise InvalidArgumentError(f"statuses: {number} is not a status that an instance can have", field="statuses")
    return name
