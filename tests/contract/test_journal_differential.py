"""Random mutations, late and out of order, on each store and on the oracle: whatever is read is the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from data_plane.journal.store import (
    CreateTimes,
    DeleteInstance,
    DropBucket,
    JournalStore,
    Mutation,
    Position,
    PutBlob,
    PutMark,
    PutRow,
    PutWake,
    Row,
    Stamp,
    Wake,
)
from stepwell.names import InstanceUid
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER
from tests.contract.journal_worlds import (
    TENANT,
    WORKFLOW,
    CassandraWorld,
    ModelledCassandraWorld,
    SqliteWorld,
    key_of,
    listing_of,
    put_listing,
    row_of,
    written,
)
from tests.contract.oracle_store import OracleJournalStore
from tests.unit.data_plane.virtual_loop import run

INSTANCES, UIDS, STATUSES = ("a", "b", "c"), ("u-1", "u-2"), ("queued", "running", "complete")
BUCKETS, EPOCHS, SEQS = range(4), (1, 2), range(5)
ROUNDS, BURST_MAX = 60, 8


def mutation(random: Random, kind: str, stamp: Stamp) -> Mutation:
    id, uid = random.choice(INSTANCES), InstanceUid(random.choice(UIDS))
    key, created_at = key_of(id), UIDS.index(uid) + 10
    match kind:
        case "row":
            predecessor = Position(1, 2) if random.random() < 0.3 else None
            row = row_of(random.choice(EPOCHS), random.choice(SEQS), f"{stamp}", first=predecessor is not None)
            return PutRow(key, Row(row.position, row.records, row.first, predecessor), stamp)
        case "blob":
            return PutBlob(key, uid, random.choice(("b-1", "b-2")), f"{stamp}".encode(), stamp)
        case "wake":
            bucket = random.choice(BUCKETS)
            return PutWake(0, Wake(bucket, bucket * 10 + random.randrange(3), key), stamp)
        case "drop":
            return DropBucket(0, random.choice(BUCKETS), stamp)
        case "mark":
            return PutMark(0, random.choice(EPOCHS), random.randrange(100), stamp)
        case "listing":
            return put_listing(listing_of(id, created_at, random.choice(STATUSES), uid), stamp.counter, stamp.epoch)
        case _:
            return DeleteInstance(key, uid, created_at, stamp)


KINDS = ("row", "row", "row", "blob", "blob", "wake", "wake", "drop", "mark", "listing", "listing", "delete")


async def everything(store: JournalStore) -> dict[str, object]:
    seen: dict[str, object] = {}
    for id in INSTANCES:
        seen[f"journal {id}"] = await store.read_journal(key_of(id))
        for uid in UIDS:
            for blob in ("b-1", "b-2"):
                try:
                    seen[f"blob {id} {uid} {blob}"] = await store.read_blob(key_of(id), InstanceUid(uid), blob)
                except KeyError:
                    seen[f"blob {id} {uid} {blob}"] = None
    seen["wakes"] = set(await store.read_wakes(0, BUCKETS[0], BUCKETS[-1]))
    seen["marks"] = await store.read_marks(0)
    for statuses in (frozenset[str](), frozenset({"running"}), frozenset({"queued", "complete"})):
        pages, token = [], ""
        while True:
            page = await store.list_instances(TENANT, WORKFLOW, limit=2, token=token, statuses=statuses)
            pages.append(list(page.listings))
            if not (token := page.next_token):
                break
        seen[f"list {sorted(statuses)}"] = pages
        some = await store.list_instances(TENANT, WORKFLOW, limit=9, statuses=statuses, created=CreateTimes(10, 10))
        seen[f"list {sorted(statuses)} of some time"] = list(some.listings)
    return seen


async def walk(store: JournalStore, seed: int) -> None:
    random, oracle = Random(seed), OracleJournalStore()
    effective: Counter[str] = Counter()
    before = await everything(oracle)
    counter = 0
    for _ in range(ROUNDS):
        burst: list[Mutation] = []
        for _ in range(random.randint(1, BURST_MAX)):
            counter += 1
            kind = random.choice(KINDS)
            late = counter - random.randrange(40) if random.random() < 0.3 else counter
            one = mutation(random, kind, Stamp(random.choice(EPOCHS), max(1, late) * 100 + counter % 100))
            burst += [one] * random.choice((1, 1, 1, 2))
            oracle.apply(one)
            after = await everything(oracle)
            effective[kind] += after != before
            before = after
        await written(store, *burst)
        assert await everything(store) == before
    assert set(effective) == set(KINDS), f"some kind never had an effect: {effective}"
    assert all(effective.values()), effective


@pytest.mark.parametrize("seed", range(5))
async def test_sqlite_reads_what_the_oracle_reads_after_any_mutations(tmp_path: Path, seed: int) -> None:
    world = SqliteWorld(tmp_path / "journal.db")
    await walk(await world.open(), seed)
    await world.close()


@pytest.mark.parametrize("seed", range(5))
def test_the_model_of_cassandra_reads_what_the_oracle_reads_after_any_mutations(seed: int) -> None:
    async def on_virtual_time() -> None:
        await walk(await ModelledCassandraWorld(seed).open(), seed)

    run(on_virtual_time)


@ON_ONE_WORKER
@pytest.mark.parametrize("seed", range(2))
async def test_cassandra_reads_what_the_oracle_reads_after_any_mutations(keyspace: Keyspace, seed: int) -> None:
    await walk(await CassandraWorld(keyspace).open(), seed)
