"""The cluster's store on etcd: `LeaseStore`, each operation one of etcd's own.

Reads are linearizable, which is etcd's default. A read that fails is asked once more, at the next member; what writes
is sent once, since only its caller can tell whether it took effect.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import grpc
from google.protobuf.message import Message

from cluster.etcd import watching
from cluster.etcd import wire_pb2 as pb
from cluster.etcd.connection import CALL_S, EtcdCallError, EtcdConnection, EtcdSettings
from cluster.etcd.keys import KeySpace
from cluster.store import (
    Compare,
    KeyValue,
    LeaseLostError,
    Operation,
    Put,
    TxnResult,
    WatchBatch,
    check_range,
    check_txn,
)
from stepwell.errors import UnavailableError

_LEASE_NOT_FOUND: Final = "requested lease not found"
"""In etcd's words: gRPC's NOT_FOUND alone could mean something else."""


@asynccontextmanager
async def open_etcd_store(settings: EtcdSettings) -> AsyncIterator[EtcdStore]:
    """The store, until the block ends."""
    async with EtcdConnection(settings) as connection:
        yield EtcdStore(connection, KeySpace(settings.prefix))


class EtcdStore:
    """See `LeaseStore` for what each method promises. `open_etcd_store` makes it."""

    def __init__(self, connection: EtcdConnection, keys: KeySpace) -> None:
        self._connection = connection
        self._keys = keys

    # ---------------------------------------------------------------- reads
    async def get(self, key: str) -> KeyValue | None:
        found = await self._read(pb.RangeRequest(key=self._keys.to_stored(key)))
        return self._record(found.kvs[0]) if found.kvs else None

    async def range(self, prefix: str, *, after: str = "", limit: int) -> tuple[KeyValue, ...]:
        check_range(limit)
        key, end = self._keys.span(prefix, after)
        if end != b"\0" and key >= end:
            return ()
        found = await self._read(pb.RangeRequest(key=key, range_end=end, limit=limit))
        return tuple(map(self._record, found.kvs))

    async def revision(self) -> int:
        key, end = self._keys.span("")
        found = await self._read(pb.RangeRequest(key=key, range_end=end, limit=1, count_only=True))
        return self._keys.from_etcd(found.header.revision)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[WatchBatch, None]:
        return watching.watch(self._connection, self._keys, prefix, after)

    # ---------------------------------------------------------------- writes
    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        check_txn(compares, operations)
        request = pb.TxnRequest(compare=map(self._compare, compares), success=map(self._operation, operations))
        answer = await self._on_lease("/etcdserverpb.KV/Txn", request, pb.TxnResponse)
        return TxnResult(answer.succeeded, self._keys.from_etcd(answer.header.revision))

    async def grant_lease(self, ttl_s: int) -> int:
        granted = await self._connection.call(
            "/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=ttl_s), pb.LeaseGrantResponse
        )
        return granted.ID

    async def keep_alive(self, lease: int) -> None:
        async def ask() -> AsyncGenerator[Message, None]:
            yield pb.LeaseKeepAliveRequest(ID=lease)

        stream = self._connection.stream(
            "/etcdserverpb.Lease/LeaseKeepAlive", ask(), pb.LeaseKeepAliveResponse, silent_s_max=CALL_S
        )
        try:
            async with aclosing(stream):
                answer = await anext(stream)
        except StopAsyncIteration:
            raise UnavailableError("etcd did not answer a keep-alive") from None
        if answer.TTL <= 0:
            raise LeaseLostError(f"lease {lease:x} has ended")

    async def revoke_lease(self, lease: int) -> None:
        try:
            await self._connection.call(
                "/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse
            )
        except EtcdCallError as error:
            if not _is_lost_lease(error):
                raise

    # ---------------------------------------------------------------- how
    async def _read(self, request: pb.RangeRequest) -> pb.RangeResponse:
        try:
            return await self._connection.call("/etcdserverpb.KV/Range", request, pb.RangeResponse)
        except EtcdCallError as error:
            if error.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
        return await self._connection.call("/etcdserverpb.KV/Range", request, pb.RangeResponse)

    async def _on_lease(self, method: str, request: Message, response: type[pb.TxnResponse]) -> pb.TxnResponse:
        try:
            return await self._connection.call(method, request, response)
        except EtcdCallError as error:
            if _is_lost_lease(error):
                raise LeaseLostError(error.details) from error
            raise

    def _record(self, found: pb.KeyValue) -> KeyValue:
        keys = self._keys
        return KeyValue(
            keys.from_stored(found.key),
            found.value,
            keys.from_etcd(found.create_revision),
            keys.from_etcd(found.mod_revision),
            found.lease,
        )

    def _compare(self, compare: Compare) -> pb.Compare:
        """An absent key's revision is 0 in etcd too."""
        revision = self._keys.to_etcd(compare.mod_revision) if compare.mod_revision else 0
        return pb.Compare(
            result=pb.Compare.EQUAL,
            target=pb.Compare.MOD,
            key=self._keys.to_stored(compare.key),
            mod_revision=revision,
        )

    def _operation(self, operation: Operation) -> pb.RequestOp:
        key = self._keys.to_stored(operation.key)
        if isinstance(operation, Put):
            return pb.RequestOp(request_put=pb.PutRequest(key=key, value=operation.value, lease=operation.lease))
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))


def _is_lost_lease(error: EtcdCallError) -> bool:
    return error.code is grpc.StatusCode.NOT_FOUND and _LEASE_NOT_FOUND in error.details
