"""An import may end at any point, by its own death or a store's; another run ends it, and until then nobody serves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import keys
from cluster.codec import decode_value
from cluster.records import Importing
from cluster.store import Compare, Delete, KeyValue, Operation, Put, TxnResult
from data_plane.journal.store import (
    Done,
    Mutation,
    PutRow,
    WriteUnknownError,
)
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import UnavailableError
from stepwell.names import Digest, TenantUid
from stepwell_server.moving import claim as claims
from stepwell_server.moving import writes
from stepwell_server.moving.importing import Cluster
from stepwell_server.moving.refusals import MoveRefusedError
from tests.contract.memory_store import MemoryStore
from tests.contract.oracle_store import OracleJournalStore
from tests.unit.stepwell_server.moving.installation import (
    SHARDS,
    Installation,
)
from tests.unit.stepwell_server.moving.target import (
    acme,
    found_by_owners,
    has_moved,
    imported,
    journal,
    records,
)

LED = {"expiring", "queued", "running", "retrying", "moved-on", "sleeping"}


class Crash(BaseException):
    """The import's process is gone."""


class Fuse:
    """Burns down with each request that changes something; at its end the process dies, before or after it."""

    def __init__(self, length: int, after: bool) -> None:
        self.left: float = length
        self.after = after

    def before(self) -> None:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Crash

    def behind(self) -> None:
        if self.left < 0 and self.after:
            raise Crash


class CrashingStore(MemoryStore):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        self._fuse.before()
        result = await super().txn(compares, operations)
        self._fuse.behind()
        return result


class CrashingJournal(OracleJournalStore):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def write(self, mutation: Mutation, done: Done) -> None:
        self._fuse.before()
        super().write(mutation, done)
        self._fuse.behind()


class CrashingBundles(FileBundleStore):
    def __init__(self, folder: Path, fuse: Fuse) -> None:
        super().__init__(folder)
        self._fuse = fuse

    def upload(self, tenant: TenantUid) -> Any:
        self._fuse.before()
        return super().upload(tenant)

    @asynccontextmanager
    async def pull(self, tenant: TenantUid, digest: Digest) -> AsyncIterator[Path]:
        async with super().pull(tenant, digest) as found:
            self._fuse.before()
            self._fuse.behind()
            yield found


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_import_that_was_interrupted_anywhere_is_taken_up(
    made: Installation, out: Path, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "RECORDS_A_TXN", 4)
    for length in range(1_000):
        fuse = Fuse(length, after)
        bundles = CrashingBundles(tmp_path / str(length) / "bundles", fuse)
        target = Cluster(CrashingStore(fuse), CrashingJournal(fuse), bundles, SHARDS)
        try:
            await imported(out, target)
        except Crash:
            is_held = keys.IMPORT in records(target)
            is_done = any(keys.kind(key) == "imported" for key in records(target))
            is_empty = not records(target) and not journal(target).cells.written
            assert is_held or is_done or is_empty, "a node could claim what is not whole"
        else:
            break
        fuse.left = math.inf
        await imported(out, target)
        await has_moved(made, target)
        led = await found_by_owners(target)
        assert {key.instance for key in led if key.tenant == acme(made)} == LED
    assert length > 50


async def test_what_changed_since_it_was_written_stays(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import was interrupted before its end; a token was revoked and a route set before it was taken up."""
    end = claims.ImportClaim.end

    async def crash(self: claims.ImportClaim, at_ms: int) -> None:
        raise Crash

    monkeypatch.setattr(claims.ImportClaim, "end", crash)
    with pytest.raises(Crash):
        await imported(out, target)
    token = next(key for key in records(target) if keys.kind(key) == "token")
    route = next(key for key in records(target) if keys.kind(key) == "route")
    await target.store.txn((), (Delete(token), Put(route, b"elsewhere")))
    monkeypatch.setattr(claims.ImportClaim, "end", end)
    assert (await imported(out, target)).was_begun
    assert token not in records(target)
    assert records(target)[route] == b"elsewhere"


async def test_what_a_run_that_is_dead_still_sends_changes_nothing(
    made: Installation, out: Path, target: Cluster
) -> None:
    """Its writes come when the next run has ended, and an owner has gone on."""
    late: list[Mutation] = []

    class Slow(OracleJournalStore):
        def write(self, mutation: Mutation, done: Done) -> None:
            if isinstance(mutation, PutRow) and len(late) < 3:
                late.append(mutation)
                if len(late) == 3:
                    raise Crash
            super().write(mutation, done)

    with pytest.raises(Crash):
        await imported(out, replace(target, journal=Slow(journal(target).cells)))
    await imported(out, target)
    before = dict(journal(target).cells.written)
    for mutation in late:
        journal(target).apply(mutation)
    assert journal(target).cells.written == before


@pytest.mark.parametrize("lost", ["row", "blob", "wake"])
async def test_what_the_store_lost_is_noticed_and_no_node_serves(
    made: Installation, out: Path, target: Cluster, lost: str
) -> None:
    class Forgetful(OracleJournalStore):
        def apply(self, mutation: Mutation) -> None:
            super().apply(mutation)
            places = [place for place in self.cells.written if place[0] == lost]
            if len(places) == 1:
                del self.cells.written[places[0]]

    forgetful = Forgetful(journal(target).cells)
    with pytest.raises(MoveRefusedError, match=r"read back from the cluster, .* is not what was exported"):
        await imported(out, replace(target, journal=forgetful))
    assert keys.IMPORT in records(target)
    await imported(out, target)
    await has_moved(made, target)


async def test_a_write_whose_outcome_is_unknown_is_sent_again(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "TRY_AGAIN_S", 0.0)
    sent: dict[Mutation, int] = {}
    store = journal(target)

    class Unsure(OracleJournalStore):
        def write(self, mutation: Mutation, done: Done) -> None:
            sent[mutation] = sent.get(mutation, 0) + 1
            if sent[mutation] < 3:
                asyncio.get_running_loop().call_soon(done, WriteUnknownError("timed out"))
            else:
                super().write(mutation, done)

    monkeypatch.setattr(PutRow, "__hash__", lambda self: hash((self.key, self.row.position)))
    await imported(out, replace(target, journal=Unsure(store.cells)))
    assert set(sent.values()) == {3}
    await has_moved(made, target)


async def test_a_store_that_never_says_yes_ends_the_import_and_it_can_be_taken_up(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "TRY_AGAIN_S", 0.0)

    class Away(OracleJournalStore):
        def write(self, mutation: Mutation, done: Callable[[Exception | None], None]) -> None:
            asyncio.get_running_loop().call_soon(done, WriteUnknownError("nobody answers"))

    with pytest.raises(UnavailableError, match=r"30 times in a row that it wrote \(nobody answers\)"):
        await imported(out, replace(target, journal=Away(journal(target).cells)))
    await imported(out, target)
    await has_moved(made, target)


async def test_an_import_can_be_given_up_until_its_tenants_are_there(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = claims.ImportClaim.write

    async def crash(self: claims.ImportClaim, records: Any) -> None:
        raise Crash

    monkeypatch.setattr(claims.ImportClaim, "write", crash)
    with pytest.raises(Crash):
        await imported(out, target)
    assert journal(target).cells.written, "it was well under way"
    begun = decode_value(Importing, await held(target))
    assert await claims.give_up(target.store) == begun.export
    assert {keys.kind(key) for key in records(target)} == {"epoch"}
    assert await found_by_owners(target) == {}
    monkeypatch.setattr(claims.ImportClaim, "write", write)
    assert not (await imported(out, target)).was_begun
    await has_moved(made, target)


async def test_a_run_whose_import_was_given_up_ends_and_shows_nothing(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = claims.ImportClaim.write

    async def late(self: claims.ImportClaim, records: Any) -> None:
        await claims.give_up(target.store)
        await write(self, records)

    monkeypatch.setattr(claims.ImportClaim, "write", late)
    with pytest.raises(MoveRefusedError, match="this import was given up"):
        await imported(out, target)
    assert {keys.kind(key) for key in records(target)} == {"epoch"}
    assert await found_by_owners(target) == {}


async def test_an_import_whose_tenants_are_there_has_to_be_ended(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = claims.ImportClaim.end

    async def crash(self: claims.ImportClaim, at_ms: int) -> None:
        raise Crash

    monkeypatch.setattr(claims.ImportClaim, "end", crash)
    with pytest.raises(Crash):
        await imported(out, target)
    with pytest.raises(MoveRefusedError, match=r"are in the cluster already, .*: import it again"):
        await claims.give_up(target.store)
    monkeypatch.setattr(claims.ImportClaim, "end", end)
    await imported(out, target)
    await has_moved(made, target)


async def held(target: Cluster) -> KeyValue:
    found = await target.store.get(keys.IMPORT)
    assert found is not None
    return found
