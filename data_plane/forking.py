"""Forks: a new instance that begins with a copy of what another one did up to a step.

The two share nothing: a payload that is kept apart is written again, under the new instance's uid, and goes when it
goes. The copy is within the new journal's first record, so that a crash leaves a whole fork, or none. A fork is in its
origin's shard: who owns the one owns the other, and reads what only an owner may act on.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Final

from data_plane import payloads
from data_plane.calling import RoutedVersion, Routes, refuse_if_absent
from data_plane.journal.record_messages import stored_bytes
from data_plane.journal.store import InstanceKey, Row
from data_plane.journal_frames import about_instance
from data_plane.migrating import check
from data_plane.node import Node
from data_plane.resident import Resident
from data_plane.shard_server import ShardServer
from loader.room import Room
from stepwell.engine.events import CreateRequested
from stepwell.engine.forking import Prefix
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.records import BlobRef, EventReceived, Origin, Payload, Record, StepCompleted, StepKey
from stepwell.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    UnavailableError,
)
from stepwell.names import Digest, InstanceId, InstanceUid, TenantUid

FORKS_AT_ONCE_MAX: Final = 4
"""On one node. Each holds what it copies in memory."""

FORKS_PER_TENANT_MAX: Final = 1
"""Of one tenant's, on one node; more wait."""

FORKS_WAITING_MAX: Final = 1_000
"""On one node; more are refused."""

FORK_ROW_BYTES_MAX: Final = 8 * 1024 * 1024
"""What is copied and not kept apart: it is one row, of which a store takes 16 MiB (Cassandra, as it is set up)."""

FORK_BLOB_BYTES_MAX: Final = 32 * 1024 * 1024
"""What is copied and kept apart."""

IDS_TRIED_MAX: Final = 100_000
"""Made-up ids, to find one in the origin's shard: a tenant's instances lie in many fewer shards than that."""


@dataclass(frozen=True, slots=True)
class Fork:
    """What is asked for. `instance` None: an id is made; `digest` None: the origin's own version."""

    origin: InstanceKey
    step: StepKey
    instance: InstanceId | None
    digest: Digest | None
    request_id: str
    trace: bytes = b""


class Forks:
    """`rows` gives a journal from its first row on, as it is durable; `mint` unguessable ids."""

    def __init__(
        self,
        node: Node,
        routes: Routes,
        rows: Callable[[InstanceKey], AsyncGenerator[Row]],
        *,
        mint: Callable[[], str],
    ) -> None:
        self._node = node
        self._routes = routes
        self._rows = rows
        self._mint = mint
        self._room = Room(FORKS_AT_ONCE_MAX, FORKS_PER_TENANT_MAX, FORKS_WAITING_MAX, _nothing_to_evict)

    async def fork(self, asked: Fork) -> InstanceKey:
        """The new instance's key; it is durable, and listed, when this returns.

        Raises NotFoundError (no such instance or version, or the version lacks the workflow), InvalidArgumentError (no
        such step, an id of another shard, a request_id that named another call), AlreadyExistsError when the id is
        taken, LimitExceededError for too much to copy and over the tenant's quotas, and, with another version,
        ReplayMismatchError and what `data_plane.replaying` does.
        """
        tenant = asked.origin.tenant
        self._node.quotas.check_rate(tenant)
        server = self._node.server_of(asked.origin)
        key = asked.origin._replace(instance=asked.instance or self._generated_id(asked))
        if self._node.shard_of(key) != self._node.shard_of(asked.origin):
            raise InvalidArgumentError(
                f"instance_id: a fork lies in its origin's shard, and {key.instance!r} is of another: leave it out, "
                "and one is made",
                field="instance_id",
            )
        await self._node.quotas.ask(tenant)
        async with server.resident(key) as resident:
            if await self._is_there(server, resident, asked):
                return key
        await self._room.enter(tenant)
        try:
            await self._begin(server, key, asked)
        finally:
            self._room.leave(tenant)
        return key

    async def _is_there(self, server: ShardServer, resident: Resident, asked: Fork) -> bool:
        """Whether this call was carried out before. Raises AlreadyExistsError for another's instance."""
        state = resident.instance
        if state.phase is Phase.ABSENT:
            return False
        if state.phase is Phase.DELETING:
            raise UnavailableError(f"instance {resident.key.instance!r} is being deleted; try again in a moment")
        await server.flushed(resident)
        await server.listed(resident)
        if not asked.request_id or state.request_id != asked.request_id:
            raise AlreadyExistsError(
                f"instance {resident.key.instance!r} of workflow {resident.key.workflow!r} exists already"
            )
        of = state.origin
        if of is None or (of.instance, of.step, of.digest) != (asked.origin.instance, asked.step, asked.digest or ""):
            raise InvalidArgumentError(
                f"request_id {asked.request_id!r} was used before, for another call; use a new one", field="request_id"
            )
        return True

    async def _begin(self, server: ShardServer, key: InstanceKey, asked: Fork) -> None:
        at = self._node.clock()
        prefix = await self._prefix(asked.origin)
        origin = prefix.cut(asked.origin.instance, asked.step, asked.digest or "", at)
        state = prefix.instance
        _refuse_too_much(state.params, origin.records)
        version = await self._version(asked, state)
        if (version.digest, version.entrypoint) != (state.digest, state.entrypoint):
            await self._check(key, asked.origin, state, version)
        data = await self._blobs(asked.origin, state, origin)
        async with server.resident(key) as resident:
            await self._version(asked, state)  # once more, and nothing is awaited from here on: as for a create
            if resident.instance.phase is not Phase.ABSENT:
                await self._is_there(server, resident, asked)
                return
            self._node.quotas.check_create(key.tenant)
            uid = InstanceUid(self._mint())
            apart = {blob: self._written(resident, uid, each) for blob, each in data.items()}
            params, records = _moved(state.params, apart), tuple(_with(each, apart) for each in origin.records)
            resident.step(
                CreateRequested(
                    at, uid, version.digest, version.entrypoint, params, asked.request_id, asked.trace,
                    origin=replace(origin, records=records), schedule=state.schedule, retention=state.retention,
                    limits=version.limits,
                )
            )  # fmt: skip
            await server.flushed(resident)
            await server.listed(resident)

    async def _prefix(self, key: InstanceKey) -> Prefix:
        prefix = Prefix()
        async with aclosing(self._rows(key)) as rows:
            async for row in rows:
                for record in row.records:
                    prefix.add(record)
        refuse_if_absent(key, prefix.instance)
        return prefix

    async def _version(self, asked: Fork, state: Instance) -> RoutedVersion:
        if asked.digest is not None:
            return await self._routes.on_version(asked.origin.tenant, asked.origin.workflow, asked.digest)
        await self._routes.check_version(asked.origin.tenant, state.digest)
        return RoutedVersion(state.digest, state.entrypoint, limits=state.limits)

    async def _check(self, key: InstanceKey, origin: InstanceKey, state: Instance, version: RoutedVersion) -> None:
        """Its code is told that it is the fork."""
        replays = self._node.replays
        recorded = replace(replays.recorded(origin, state), about=about_instance(key, state, self._node.clock()))
        steps_max = version.limits.steps
        check(await replays.replay(origin, recorded, version.digest, version.entrypoint, steps_max), version.digest)

    async def _blobs(self, key: InstanceKey, state: Instance, origin: Origin) -> dict[BlobRef, bytes]:
        """What is kept apart of what is copied."""
        try:
            return {
                blob: await payloads.fetch(blob, key, state.uid, self._node.store)
                for blob in (state.params, *map(_payload, origin.records))
                if isinstance(blob, BlobRef)
            }
        except KeyError:
            raise NotFoundError(f"instance {key.instance!r} was deleted while it was copied") from None

    def _written(self, resident: Resident, uid: InstanceUid, data: bytes) -> BlobRef:
        """The same as a blob of the new instance's, on its way."""
        blob = payloads.apart(data, resident.shard)
        resident.write_blob(blob, data, uid)
        return blob

    def _generated_id(self, asked: Fork) -> InstanceId:
        """The same for the same request_id, and in the origin's shard."""
        shard = self._node.shard_of(asked.origin)
        text = "\x00".join(("fork", *asked.origin, asked.request_id or self._mint()))
        for number in islice(count(), IDS_TRIED_MAX):
            id = InstanceId(hashlib.sha256(f"{text}\x00{number}".encode()).hexdigest()[:32])
            if self._node.shard_of(asked.origin._replace(instance=id)) == shard:
                return id
        raise UnavailableError("no id was found for the fork; try again")


def _payload(record: Record) -> Payload:
    match record:
        case StepCompleted():
            return record.result
        case EventReceived():
            return record.payload
        case _:
            return b""


def _moved(payload: Payload, apart: dict[BlobRef, BlobRef]) -> Payload:
    return apart[payload] if isinstance(payload, BlobRef) else payload


def _with(record: Record, apart: dict[BlobRef, BlobRef]) -> Record:
    """The same with the blobs of the new instance."""
    match record:
        case StepCompleted(result=BlobRef() as blob):
            return replace(record, result=apart[blob])
        case EventReceived(payload=BlobRef() as blob):
            return replace(record, payload=apart[blob])
        case _:
            return record


def _refuse_too_much(params: Payload, records: Iterable[Record]) -> None:
    blobs = [each for each in (params, *map(_payload, records)) if isinstance(each, BlobRef)]
    _refuse("fork_blob_bytes_max", sum(blob.size_bytes for blob in blobs), FORK_BLOB_BYTES_MAX)
    row_bytes = 0 if isinstance(params, BlobRef) else len(params)
    for record in records:
        _refuse("fork_row_bytes_max", row_bytes, FORK_ROW_BYTES_MAX)
        row_bytes += stored_bytes(record)
    _refuse("fork_row_bytes_max", row_bytes, FORK_ROW_BYTES_MAX)


def _refuse(limit: str, seen: int, most: int) -> None:
    if seen > most:
        raise LimitExceededError(
            f"it is too much to copy: {limit} is {most:,}, and this is {seen:,} or more; fork from an earlier step",
            limit=limit,
            value=str(most),
            seen=str(seen),
        )


def _nothing_to_evict(tenant: TenantUid | None) -> bool:
    """A fork ends by itself."""
    return False
