"""An import's hold on a cluster: one record, by which nodes know that they may claim nothing, and runs know each other.

While the record is there no node claims a shard: the claim's transaction compares it. It is put there only where no
shard has an owner, and goes in the transaction that ends the import. It is on no lease: what a dead import left is not
whole, and must not be served before somebody has finished it.

Every transaction of an import compares the record too, so that what an earlier run still sends, or sends twice, changes
nothing; and counts in it how many control records are written, so that each is written once, whatever becomes of it
afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.generations import bucket_of
from cluster.records import Imported, Importing, ShardOwner
from cluster.store import RANGE_LIMIT_MAX, ClusterStore, Compare, Delete, Operation, Put
from stepwell_server.moving.control import owner_of
from stepwell_server.moving.refusals import MoveRefusedError

RECORDS_A_TXN: Final = 40
"""Control records of one transaction: with their tenants' generations and the import's own, 81 operations of 128."""

BYTES_A_TXN: Final = 512 * 1024
"""Of their values, but for the last: the largest, a version's, takes some 100 KiB."""

Record = tuple[str, bytes]
"""A key and its value."""


class ImportClaim:
    """`take` first. All raise UnavailableError, after which the next run finds out what has happened."""

    def __init__(self, store: ClusterStore, export: str) -> None:
        self._store = store
        self._export = export
        self._held = Importing(export, 0, 0)
        self._revision = 0

    @property
    def written(self) -> int:
        """Control records that are in the store."""
        return self._held.written

    async def is_done(self) -> bool:
        """Whether this export was imported to its end."""
        return await self._store.get(keys.imported(self._export)) is not None

    async def take(self) -> bool:
        """Hold the cluster for this run; whether an earlier run of the same import did before.

        Raises MoveRefusedError when another import holds it.
        """
        stored = await self._store.get(keys.IMPORT)
        before = None if stored is None else decode_value(Importing, stored)
        if before is not None and before.export != self._export:
            raise MoveRefusedError(
                f"another import into this cluster has begun and not ended, that of the export with the checksum"
                f" {before.export}: import that one again, which goes on where it stopped, and then this one"
            )
        self._revision = 0 if stored is None else stored.mod_revision
        held = self._held if before is None else before
        await self._txn(replace(held, runs=held.runs + 1), (), ())
        return before is not None

    async def let_go(self) -> None:
        """Nothing was written, and nothing will be: nodes may go on."""
        await self._store.txn((Compare(keys.IMPORT, self._revision),), (Delete(keys.IMPORT),))

    async def owners(self) -> list[str]:
        """The nodes that own shards."""
        found = await self._store.range(keys.OWNERS, limit=RANGE_LIMIT_MAX)
        return sorted({decode_value(ShardOwner, each).node for each in found})

    async def write(self, records: Iterable[Record]) -> None:
        """The next control records, which are not there yet, in as many transactions as it takes.

        Raises MoveRefusedError when somebody else has made one of them.
        """
        batch: list[Record] = []
        for record in records:
            batch.append(record)
            if len(batch) == RECORDS_A_TXN or sum(len(value) for _, value in batch) >= BYTES_A_TXN:
                await self._write(batch)
                batch = []
        if batch:
            await self._write(batch)

    async def claim_epoch(self, shard: int, above: int) -> int:
        """The shard's next epoch, above that one, too; it is this run's alone."""
        key = keys.shard_epoch(shard)
        stored = await self._store.get(key)
        epoch = max(int(stored.value) if stored is not None else 0, above) + 1
        unchanged = Compare(key, stored.mod_revision if stored is not None else 0)
        compares = (Compare(keys.IMPORT, self._revision), Compare(keys.shard_owner(shard), 0), unchanged)
        result = await self._store.txn(compares, (Put(key, b"%d" % epoch),))
        if not result.succeeded:
            raise await self._is_taken_up() or MoveRefusedError(
                f"shard {shard} was claimed by somebody else meanwhile: stop all data nodes, then import again"
            )
        return epoch

    async def end(self, at_ms: int) -> None:
        """All is there: nodes may claim, and this export is never imported again."""
        done = Put(keys.imported(self._export), encode(Imported(at_ms)))
        result = await self._store.txn((Compare(keys.IMPORT, self._revision),), (Delete(keys.IMPORT), done))
        if not result.succeeded:
            raise _taken_up()

    async def _is_taken_up(self) -> MoveRefusedError | None:
        stored = await self._store.get(keys.IMPORT)
        return None if stored is not None and stored.mod_revision == self._revision else _taken_up()

    async def _conflict(self, compares: Sequence[Compare]) -> MoveRefusedError:
        """Which of the records that should be absent is not."""
        there = [compare.key for compare in compares if await self._store.get(compare.key) is not None]
        return MoveRefusedError(
            f"somebody made control records in this cluster that are being imported: {', '.join(map(repr, there))}"
        )

    async def _write(self, batch: Sequence[Record]) -> None:
        compares = [Compare(key, 0) for key, _ in batch]
        puts = [Put(key, value) for key, value in batch]
        buckets = sorted({bucket_of(owner_of(key, value)) for key, value in batch})
        generations = [Put(keys.generation(bucket), b"") for bucket in buckets]
        held = replace(self._held, written=self._held.written + len(batch))
        await self._txn(held, compares, [*puts, *generations])

    async def _txn(self, held: Importing, compares: Sequence[Compare], operations: Sequence[Operation]) -> None:
        mine = Compare(keys.IMPORT, self._revision)
        result = await self._store.txn((mine, *compares), (Put(keys.IMPORT, encode(held)), *operations))
        if not result.succeeded:
            raise await self._is_taken_up() or await self._conflict(compares)
        self._held, self._revision = held, result.revision


async def give_up(store: ClusterStore) -> str:
    """End an import that has begun, without its end: what it has written can be named by nobody. The export's checksum.

    Raises MoveRefusedError when there is none, and once control records are written: then it has to be ended.
    """
    stored = await store.get(keys.IMPORT)
    if stored is None:
        raise MoveRefusedError("no import into this cluster is under way")
    held = decode_value(Importing, stored)
    if held.written:
        raise MoveRefusedError(
            f"tenants of the export with the checksum {held.export} are in the cluster already, and what is theirs may"
            " not be whole: import it again, which goes on where it stopped"
        )
    result = await store.txn((Compare(keys.IMPORT, stored.mod_revision),), (Delete(keys.IMPORT),))
    if not result.succeeded:
        raise MoveRefusedError("a run of the import is at work: stop it first")
    return held.export


def _taken_up() -> MoveRefusedError:
    return MoveRefusedError("this import was given up, or another run has taken it up: let that one end it")
