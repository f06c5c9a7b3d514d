"""What callers may do to instances, after their rights were checked: the API without gRPC.

Each call answers only what is durable. A read comes from the journal, never from memory that runs ahead of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Final

from cluster.directory import ROUTE_AGE_S
from data_plane.binding_calls import Elsewhere, Nowhere
from data_plane.bindings import Bindings
from data_plane.calling import Routes, Seen, durably, is_absent, refuse_if_absent
from data_plane.deleting import Deletions
from data_plane.forking import Fork, Forks
from data_plane.history import Happening, History
from data_plane.journal.store import EVER, CreateTimes, InstanceKey, ListingPage, Row
from data_plane.migrating import Migrations
from data_plane.node import Node
from data_plane.payloads import fetch
from data_plane.readings import Reading
from data_plane.replaying import Verdict
from data_plane.shard_server import ShardServer
from stepwell.engine import events, receiving
from stepwell.engine.events import Event
from stepwell.engine.family import Parent
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.records import BlobRef, Deleting, Payload, StepKey
from stepwell.engine.schedule import Schedule
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, UnavailableError
from stepwell.names import Digest, InstanceId, InstanceUid, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID, Retention

REMOVALS_AWAITED_MAX: Final = 5
"""How often a create waits for a deletion of its id before it asks its caller to come again."""


class InstanceCalls:
    """`mint` gives unguessable ids: 22 characters or more of the id's alphabet.

    Every call of an instance raises NotOwnedError, before it has any effect, when its shard is not served here; and
    UnavailableError when the shard is lost while it is served: whether it took effect is unknown then.
    """

    def __init__(
        self, node: Node, routes: Routes, *, mint: Callable[[], str], elsewhere: Elsewhere | None = None
    ) -> None:
        self._node = node
        self.bindings = node.bindings = Bindings(node, self, elsewhere or Nowhere())
        self._routes = routes
        self._mint = mint
        self._deletions = Deletions(node)
        self._migrations = Migrations(node, routes, self.get)
        self._forks = Forks(node, routes, self._rows, mint=mint)
        self._monotonic_s = asyncio.get_running_loop().time

    # ---------------------------------------------------------------- create
    async def create(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        instance: InstanceId | None,
        params: bytes,
        request_id: str,
        trace: bytes = b"",
        parent: Parent | None = None,
        depth: int = 0,
        schedule: Schedule | None = None,
        retention: Retention = NOT_SAID,
    ) -> Seen:
        """A new instance on the version that the workflow's route gives its id now; `trace` is kept with it, unread.
        `parent` is the instance that creates it, if one does, and `schedule` the schedule. What `retention` does not
        say, that version says.

        Raises NotFoundError without a route, AlreadyExistsError when the id is taken by another create,
        InvalidArgumentError when the request_id was used with another body, LimitExceededError over the tenant's
        quotas.
        """
        self._node.quotas.check_rate(tenant)
        choose, chosen_s = await self._routes.routed(tenant, workflow), self._monotonic_s()
        await self._node.quotas.ask(tenant)
        minted = instance is None and not request_id
        if instance is None:
            instance = self._generated_id(tenant, workflow, request_id)
        key = InstanceKey(tenant, workflow, instance)
        server = self._node.server_of(key)
        for _ in range(REMOVALS_AWAITED_MAX):
            async with server.resident(key, minted=minted) as resident:
                state = resident.instance
                if state.phase is Phase.ABSENT and self._monotonic_s() - chosen_s > ROUTE_AGE_S:
                    # Loading took long. The instance is held meanwhile, and may have been created once this is known.
                    choose, chosen_s = await self._routes.routed(tenant, workflow), self._monotonic_s()
                if state.phase is Phase.ABSENT:
                    self._node.quotas.check_create(tenant)
                    uid, version = InstanceUid(self._mint()), choose(instance)
                    payload = resident.stage(params, uid)
                    resident.step(
                        events.CreateRequested(
                            self._node.clock(),
                            uid,
                            version.digest,
                            version.entrypoint,
                            payload,
                            request_id,
                            trace,
                            parent,
                            depth,
                            schedule=schedule,
                            retention=retention.or_else(version.retention),
                            limits=version.limits,
                        )
                    )
                    seen = Seen(key, replace(state))
                    await server.flushed(resident)
                    await server.listed(resident)
                    return seen
                if state.phase is not Phase.DELETING:
                    await server.flushed(resident)
                    await server.listed(resident)
                    with suppress(NotFoundError):  # deleted meanwhile: the id is about to be free
                        return await self._repeated(server, key, resident.instance, params, request_id, retention)
            await server.removed(key)
        raise UnavailableError(f"instance {instance!r} is being deleted; try again in a moment")

    async def check_routed(self, tenant: TenantUid, workflow: WorkflowId) -> None:
        """Raises NotFoundError for a workflow of which there could be no new instance now."""
        await self._routes.routed(tenant, workflow)

    def _generated_id(self, tenant: TenantUid, workflow: WorkflowId, request_id: str) -> InstanceId:
        if not request_id:
            return InstanceId(self._mint())
        text = "\x00".join((tenant, workflow, request_id))
        return InstanceId(hashlib.sha256(text.encode()).hexdigest()[:32])

    async def _repeated(
        self,
        server: ShardServer,
        key: InstanceKey,
        state: Instance,
        params: bytes,
        request_id: str,
        retention: Retention,
    ) -> Seen:
        if not request_id or state.request_id != request_id:
            raise AlreadyExistsError(f"instance {key.instance!r} of workflow {key.workflow!r} exists already")
        if state.origin is not None or await self.payload(key, state, state.params) != params:
            raise InvalidArgumentError(
                f"request_id {request_id!r} was used before, with other params; use a new one", field="request_id"
            )
        if retention.or_else(state.retention) != state.retention:
            raise InvalidArgumentError(
                f"request_id {request_id!r} was used before, with another retention; use a new one", field="request_id"
            )
        return await self._seen(server, key)

    # ---------------------------------------------------------------- reads
    async def get(self, key: InstanceKey) -> Seen:
        """Raises NotFoundError for an id that was never used, or whose instance was deleted."""
        return await self._seen(self._node.server_of(key), key)

    async def _seen(self, server: ShardServer, key: InstanceKey) -> Seen:
        reading = await self._reading(server, key)
        resident = server.peek(key)
        if reading.instance.phase is Phase.PAUSED and resident is not None and resident.lane.busy:
            # Its last step may have ended in memory alone: "paused" would be said before that result is there.
            async with server.resident(key) as resident:
                await server.flushed(resident)
            reading = await self._reading(server, key)
        instance = replace(reading.instance, live=None)
        refuse_if_absent(key, instance)
        resident = server.peek(key)
        if resident is not None and resident.instance.uid == instance.uid:
            instance.live = resident.instance.live
        return Seen(key, instance)

    async def _reading(self, server: ShardServer, key: InstanceKey) -> Reading:
        """What the journal says, once this epoch's first row stands in it: nothing else may be shown."""
        readings = self._node.readings
        resident = server.peek(key)
        if resident is not None and resident.durable is not None:
            reading = Reading()
            reading.add(resident.durable)
        else:
            reading = await readings.newest(key)
        if reading.tip is not None and reading.tip.epoch != server.shard.epoch:
            async with server.resident(key):
                reading = await readings.newest(key)
        if not server.shard.owned():
            raise UnavailableError("the instance is moving to another server; try again in a moment")
        return reading

    async def _rows(self, key: InstanceKey) -> AsyncGenerator[Row]:
        """The journal from its first row on."""
        server = self._node.server_of(key)
        resident = server.peek(key)
        reading = await self._reading(server, key)
        if resident is not None and resident.durable is not None:
            for row in list(resident.durable):
                yield row
            return
        async with aclosing(self._node.readings.rows(key, reading)) as rows:
            async for row in rows:
                yield row

    async def payload(self, key: InstanceKey, instance: Instance, payload: Payload) -> bytes:
        """A payload's bytes, wherever they are kept. Raises NotFoundError when the instance was deleted meanwhile."""
        try:
            return await fetch(payload, key, instance.uid, self._node.store)
        except KeyError:
            raise is_absent(key) from None

    async def list(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        *,
        limit: int,
        token: str,
        statuses: frozenset[str],
        created: CreateTimes = EVER,
    ) -> ListingPage:
        """Newest first. Raises InvalidArgumentError for a page token that is none."""
        try:
            return await self._node.store.list_instances(
                tenant, workflow, limit=limit, token=token, statuses=statuses, created=created
            )
        except ValueError:
            raise InvalidArgumentError("page_token is not one that this list gave", field="page_token") from None

    # ---------------------------------------------------------------- transitions
    async def send_event(
        self,
        key: InstanceKey,
        event_type: str,
        payload: bytes,
        request_id: str,
        event_id: str = "",
        *,
        only_if_waiting: bool = False,
    ) -> None:
        """Raises InvalidArgumentError when one of the ids was used with another body, and NotWaitingError with
        `only_if_waiting` where no wait of that type is open."""
        server = self._node.server_of(key)
        await self._node.quotas.ask(key.tenant)
        async with server.resident(key) as resident, durably(server, resident):
            refuse_if_absent(key, resident.instance)
            instance = resident.instance
            before = receiving.known(instance, request_id, event_id)
            if before is not None and isinstance(before.payload, BlobRef):
                await server.flushed(resident)  # its blob may be on its way
            if before is not None and await self.payload(key, instance, before.payload) == payload:
                refuse_if_absent(key, instance)  # it may have been deleted meanwhile
                again = events.EventSent(self._node.clock(), event_type, before.payload, request_id, event_id)
                resident.step(again)
                return
            if request_id not in instance.requests:
                self._node.quotas.check_stored(key.tenant)
            minted = resident.mint(payload)
            sent = events.EventSent(
                self._node.clock(), event_type, minted, request_id, event_id, only_if_waiting=only_if_waiting
            )
            if resident.step(sent):
                resident.write_blob(minted, payload)

    async def pause(self, key: InstanceKey, request_id: str) -> Seen:
        return await self._carry_out(key, events.PauseRequested, request_id)

    async def resume(self, key: InstanceKey, request_id: str) -> Seen:
        return await self._carry_out(key, events.ResumeRequested, request_id)

    async def restart(self, key: InstanceKey, step: StepKey | None, request_id: str) -> Seen:
        """Raises NotFoundError where its version is gone, and what an instance may be refused for as a new one is."""
        self._node.quotas.check_rate(key.tenant)
        await self._node.quotas.ask(key.tenant)
        server = self._node.server_of(key)
        async with server.resident(key) as resident:
            async with durably(server, resident):
                refuse_if_absent(key, resident.instance)
                await self._routes.check_version(key.tenant, resident.instance.digest)
                self._node.quotas.check_create(key.tenant)
                refuse_if_absent(key, resident.instance)  # it may have been deleted meanwhile
                resident.step(events.RestartRequested(self._node.clock(), step, request_id))
            await server.listed(resident)
        return await self._seen(server, key)

    async def cancel(self, key: InstanceKey, reason: str, request_id: str) -> Seen:
        """Its code may clean up; see `stepwell.engine.cancelling`."""
        return await self._carry_out(key, lambda at, id: events.CancelInstanceRequested(at, reason, id), request_id)

    async def fork(self, asked: Fork) -> Seen:
        """Raises what `data_plane.forking` does."""
        return await self.get(await self._forks.fork(asked))

    async def replay(self, key: InstanceKey, digest: Digest) -> Verdict:
        """Whether that version's code does what the instance's journal says.

        Raises NotFoundError for a version without the workflow, or that is being retired; and what
        `data_plane.replaying` does.
        """
        seen = await self.get(key)
        version = await self._routes.on_version(key.tenant, key.workflow, digest)
        replays = self._node.replays
        recorded = replays.recorded(key, seen.instance)
        return await replays.replay(key, recorded, version.digest, version.entrypoint, version.limits.steps)

    async def migrate(self, key: InstanceKey, digest: Digest, request_id: str) -> Seen:
        """Raises what `data_plane.migrating` does."""
        await self._migrations.migrate(key, digest, request_id)
        return await self.get(key)

    async def terminate(self, key: InstanceKey, request_id: str, *, rollback: bool = False) -> Seen:
        return await self._carry_out(key, partial(events.TerminateRequested, rollback=rollback), request_id)

    async def _carry_out(self, key: InstanceKey, requested: Callable[[int, str], Event], request_id: str) -> Seen:
        """The request happens when the instance is there to hear it, not when it began to load."""
        server = self._node.server_of(key)
        async with server.resident(key) as resident, durably(server, resident):
            refuse_if_absent(key, resident.instance)
            resident.step(requested(self._node.clock(), request_id))
        return await self._seen(server, key)

    async def delete(self, key: InstanceKey, request_id: str) -> None:
        """See `data_plane.deleting`."""
        await self._deletions.delete(key, request_id)

    # ---------------------------------------------------------------- watch
    async def watch(
        self, key: InstanceKey, cursor: str, *, status_only: bool = False
    ) -> AsyncIterator[tuple[str, Happening]]:
        """What happened after the cursor, then what happens, until the instance has ended; each with its own cursor.

        Raises NotFoundError; InvalidArgumentError for a cursor that is not of this instance.
        """
        watcher = self._node.watchers.add(key, status_only=status_only)
        try:
            history = History(status_only=status_only)
            after = parse_cursor(cursor)
            rows, seen = self._rows(key), None
            while True:
                async with aclosing(rows):
                    async for row in rows:
                        if seen is not None and row.position <= seen:
                            continue
                        seen = row.position
                        for record in row.records:
                            happening = history.add(record)
                            uid = history.instance.uid
                            if after is not None and uid != after[0]:
                                continue
                            if happening is None or (status_only and happening.step is not None):
                                continue
                            if after is None or happening.number > after[1]:
                                yield f"{uid}.{happening.number}", happening
                            if isinstance(record, Deleting):
                                return
                refuse_if_absent(key, history.instance)
                if after is not None and history.instance.uid != after[0]:
                    raise InvalidArgumentError("cursor is not one of this instance", field="cursor")
                if history.ended:
                    return
                newer = await watcher.next_rows()
                rows = self._rows(key) if watcher.missed else _each(newer)
                watcher.missed = False
        finally:
            self._node.watchers.remove(key, watcher)


async def _each(rows: Sequence[Row]) -> AsyncGenerator[Row]:
    for row in rows:
        yield row


def parse_cursor(cursor: str) -> tuple[str, int] | None:
    """The uid and the number in a watch's cursor; None for none. Raises InvalidArgumentError."""
    if not cursor:
        return None
    uid, _, number = cursor.rpartition(".")
    if not uid or not number.isascii() or not number.isdigit() or len(number) > 12:
        raise InvalidArgumentError("cursor is not one that a watch gave", field="cursor")
    return uid, int(number)
