"""The modelled etcd as one process's cluster store: what its client does, and what its requests come to."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from cluster.store import Compare, KeyValue, Operation, TxnResult, WatchBatch, check_range, check_txn
from stepwell.errors import UnavailableError
from tests.simulation.etcd_faults import REQUEST_TIMEOUT_S, Fault

if TYPE_CHECKING:
    from tests.simulation.etcd import Etcd

T = TypeVar("T")


class Kind(Enum):
    """What a request does."""

    READ = auto()
    TXN = auto()
    LEASE = auto()


class EtcdStore:
    """See `LeaseStore` for what each method promises. `Etcd.client` makes it.

    Its client is connected to one member at a time. When a request fails there, it may go on to the next one, or may
    not yet: a real client too finds another member only after a while.
    """

    def __init__(self, etcd: Etcd, alive: Callable[[], bool], connected: Callable[[], bool], member: int) -> None:
        self.etcd = etcd
        self.alive = alive
        self.connected = connected
        self.member = member

    async def get(self, key: str) -> KeyValue | None:
        return await self._ask(Kind.READ, partial(self.etcd.state.get, key))

    async def range(self, prefix: str, *, after: str = "", limit: int) -> tuple[KeyValue, ...]:
        check_range(limit)
        return await self._ask(Kind.READ, partial(self.etcd.state.range, prefix, after, limit))

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        check_txn(compares, operations)
        return await self._ask(Kind.TXN, partial(self.etcd.state.txn, tuple(compares), tuple(operations)))

    async def revision(self) -> int:
        return await self._ask(Kind.READ, lambda: self.etcd.state.revision)

    async def watch(self, prefix: str, *, after: int) -> AsyncGenerator[WatchBatch, None]:
        watch = self.etcd.watches.open(self, prefix, after)
        try:
            while True:
                yield await watch.next()
        finally:
            watch.close()

    async def grant_lease(self, ttl_s: int) -> int:
        return await self._ask(Kind.LEASE, partial(self.etcd.lessor.grant, ttl_s))

    async def keep_alive(self, lease: int) -> None:
        await self._ask(Kind.LEASE, partial(self.etcd.lessor.renew, lease))

    async def revoke_lease(self, lease: int) -> None:
        await self._ask(Kind.LEASE, partial(self.etcd.lessor.revoke, lease))

    async def _ask(self, kind: Kind, handle: Callable[[], T]) -> T:
        answer: Future[T] = self.etcd.time.future()
        if self.alive():
            self.etcd.send(Request(self, kind, handle, answer))
        return await answer


class Request(Generic[T]):
    """What a client asks of the member that it is connected to. `handle` is what the leader does for it."""

    __slots__ = ("_answer", "answer_is_lost", "gives_up_at", "handle", "kind", "member", "store")

    def __init__(self, store: EtcdStore, kind: Kind, handle: Callable[[], T], answer: Future[T]) -> None:
        self.store = store
        self.kind = kind
        self.handle = handle
        self.member = store.member
        self.gives_up_at = store.etcd.time.now() + REQUEST_TIMEOUT_S
        self.answer_is_lost = False
        self._answer = answer

    def answer(self, result: T | None, error: Exception | None) -> None:
        """It has been done, or has failed, and its client hears of it now, if there is one."""
        etcd, store = self.store.etcd, self.store
        if not store.alive():
            etcd.seen[Fault.ANSWER_DROPPED] += 1
        elif not store.connected():
            etcd.seen[Fault.ANSWER_LOST] += 1
            etcd.time.at(self.gives_up_at, self.give_up)
        elif not self._answer.done():
            if error is not None:
                self._answer.set_exception(error)
            else:
                self._answer.set_result(result)  # type: ignore[arg-type]  # None only where T is None

    def give_up(self) -> None:
        """Its deadline has come, or its member said that it can't."""
        store = self.store
        if store.alive() and not self._answer.done():
            self._answer.set_exception(UnavailableError("etcd can't be reached, or has no leader"))
            if store.member == self.member:
                store.member = store.etcd.member_to_try_after(self.member)
