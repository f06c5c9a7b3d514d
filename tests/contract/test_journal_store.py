"""What `data_plane.journal.store` promises, sentence by sentence, of every adapter, of the oracle, and of the model of
Cassandra that simulations run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from data_plane.forking import FORK_ROW_BYTES_MAX
from data_plane.journal.cassandra.tables import HOUR_MS
from data_plane.journal.record_messages import stored_bytes
from data_plane.journal.store import (
    CreateTimes,
    DeleteInstance,
    DropBucket,
    JournalStore,
    Listing,
    Position,
    PutBlob,
    PutMark,
    PutRow,
    Row,
    Stamp,
    Wake,
)
from stepwell.engine.records import Created, Origin, StepCompleted, StepKey
from stepwell.names import Digest, InstanceId, InstanceUid, TenantUid, WorkflowId
from tests.contract import cassandra_server
from tests.contract.journal_worlds import (
    TENANT,
    WORKFLOW,
    CassandraWorld,
    ModelledCassandraWorld,
    OracleWorld,
    SqliteWorld,
    World,
    key_of,
    listed,
    listing_of,
    put_listing,
    put_row,
    put_wake,
    row_of,
    written,
)

UID = InstanceUid("u-1")
A, B = key_of("a"), key_of("b")


@pytest.fixture(
    params=["oracle", "sqlite", "modelled cassandra", pytest.param("cassandra", marks=cassandra_server.ON_ONE_WORKER)]
)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world: World
    match request.param:
        case "oracle":
            world = OracleWorld()
        case "sqlite":
            world = SqliteWorld(tmp_path / "journal.db")
        case "modelled cassandra":
            world = ModelledCassandraWorld()
        case _:
            world = CassandraWorld(request.getfixturevalue("keyspace"))
    yield world
    await world.close()


@pytest.fixture
async def store(world: World) -> JournalStore:
    return await world.open()


def delete_of(instance: str, counter: int, created_at: int = 5, uid: str = UID) -> DeleteInstance:
    return DeleteInstance(key_of(instance), InstanceUid(uid), created_at, Stamp(1, counter))


# Durability


async def test_what_was_acknowledged_is_there_after_the_process_was_killed(world: World) -> None:
    store = await world.open()
    row = row_of(1, 0, "result", first=True)
    await written(
        store,
        put_row(A, row, 1),
        PutBlob(A, UID, "b-1", b"large", Stamp(1, 2)),
        put_wake(A, 7, 70, 3),
        PutMark(0, 1, 6, Stamp(1, 4)),
        put_listing(listing_of("a", 5), 5),
    )
    again = await world.open()
    assert await again.read_journal(A) == [row]
    assert await again.read_blob(A, UID, "b-1") == b"large"
    assert await again.read_wakes(0, 7, 7) == [Wake(7, 70, A)]
    assert await again.read_marks(0) == {1: 6}
    assert (await again.list_instances(TENANT, WORKFLOW, limit=9)).listings == [listing_of("a", 5)]


async def test_close_waits_for_what_was_written(world: World) -> None:
    store = await world.open()
    answers: list[Exception | None] = []
    store.write(put_row(A, row_of(1, 0), 1), answers.append)
    await store.close()
    assert answers == [None]
    assert len(await (await world.open()).read_journal(A)) == 1


async def test_every_callback_is_called_once_and_not_from_within_write(store: JournalStore) -> None:
    answers: list[Exception | None] = []
    for seq in range(50):
        store.write(put_row(A, row_of(1, seq), seq + 1), answers.append)
    assert answers == []
    await store.close()
    assert answers == [None] * 50


async def test_a_callback_that_raises_keeps_no_other_from_being_called(store: JournalStore) -> None:
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context["exception"]))

    def broken(error: Exception | None) -> None:
        raise ZeroDivisionError

    store.write(put_row(A, row_of(1, 0), 1), broken)
    await written(store, put_row(A, row_of(1, 1), 2), put_row(A, row_of(1, 2), 3))
    assert [type(trouble) for trouble in troubles] == [ZeroDivisionError]


# Journals


async def test_a_journal_is_read_in_the_order_of_positions_with_rows_off_the_chain_too(store: JournalStore) -> None:
    rows = [
        row_of(1, 0, first=True),
        row_of(1, 1),
        row_of(1, 2, "a stale owner's"),
        row_of(2, 2, first=True, predecessor=Position(1, 1)),
        row_of(10, 3, first=True, predecessor=Position(2, 2)),
    ]
    await written(store, *(put_row(A, row, count) for count, row in enumerate(reversed(rows), 1)))
    assert await store.read_journal(A) == rows
    assert await store.read_journal(B) == []


async def test_a_journal_is_read_from_a_row_on_and_a_part_at_a_time(store: JournalStore) -> None:
    rows = [row_of(epoch, seq, f"{epoch}.{seq}") for epoch, seq in ((1, 0), (1, 1), (1, 70), (2, 5), (3, 0))]
    await written(store, *(put_row(A, row, number) for number, row in enumerate(rows, 1)))
    assert await store.read_journal(A, since=Position(1, 1)) == rows[1:]
    assert await store.read_journal(A, since=Position(1, 71)) == rows[3:]
    assert await store.read_journal(A, since=Position(1, 1), rows_max=2) == rows[1:3]
    assert await store.read_journal(A, rows_max=1) == rows[:1]
    assert await store.read_journal(A, since=Position(3, 1)) == []
    assert await store.read_journal(B, since=Position(0, 0)) == []


async def test_a_row_without_records_is_kept(store: JournalStore) -> None:
    row = Row(Position(3, 9), [], True, Position(2, 8))
    await written(store, PutRow(A, row, Stamp(3, 1)))
    assert await store.read_journal(A) == [row]


async def test_a_row_that_holds_as_much_as_a_fork_may_copy_is_kept(store: JournalStore) -> None:
    """And nothing of it shrinks."""
    random, size = Random(8), FORK_ROW_BYTES_MAX // 1024 - 64
    keys = [StepKey("do", "many", number) for number in range(1, 1025)]
    copied = tuple(StepCompleted(1, key, 1, 1, random.randbytes(size)) for key in keys)
    assert FORK_ROW_BYTES_MAX * 0.98 < sum(map(stored_bytes, copied)) <= FORK_ROW_BYTES_MAX
    origin = Origin(InstanceId("o"), UID, StepKey("do", "charge", 1), "", 1, 1, copied)
    created = Created(2, UID, Digest("d"), "main:Flow", b"null", "", b"", origin=origin)
    put = PutRow(A, Row(Position(1, 0), [created], first=True), Stamp(1, 1))
    await written(store, put)
    assert await store.read_journal(A) == [put.row]


async def test_the_identical_row_sent_again_changes_nothing(store: JournalStore) -> None:
    row = put_row(A, row_of(1, 0, "once"), 1)
    await written(store, row)
    await written(store, row, row)
    assert await store.read_journal(A) == [row.row]


async def test_of_two_values_of_a_cell_the_newer_stamp_wins_whichever_came_first(store: JournalStore) -> None:
    newer, older = put_row(A, row_of(1, 0, "newer"), 2), put_row(A, row_of(1, 0, "older"), 1)
    await written(store, newer)
    await written(store, older)
    assert await store.read_journal(A) == [newer.row]
    await written(store, put_row(A, row_of(1, 0, "newest"), 1, epoch=2))
    assert await store.read_journal(A) == [row_of(1, 0, "newest")]


async def test_a_later_epochs_first_stamp_is_above_every_stamp_of_the_one_before(store: JournalStore) -> None:
    await written(store, put_row(A, row_of(1, 0, "later owner"), 0, epoch=2))
    await written(store, put_row(A, row_of(1, 0, "stale owner"), (1 << 39) - 1, epoch=1))
    assert await store.read_journal(A) == [row_of(1, 0, "later owner")]


# Blobs


async def test_a_blob_that_is_not_there_is_a_key_error(store: JournalStore) -> None:
    await written(store, PutBlob(A, UID, "b-1", b"x", Stamp(1, 1)))
    for key, uid, id in ((A, UID, "b-2"), (B, UID, "b-1"), (A, InstanceUid("u-2"), "b-1")):
        with pytest.raises(KeyError):
            await store.read_blob(key, uid, id)


async def test_a_large_blob_comes_back_whole(store: JournalStore) -> None:
    data = bytes(range(256)) * 16_384
    await written(store, PutBlob(A, UID, "b-1", data, Stamp(1, 1)))
    assert await store.read_blob(A, UID, "b-1") == data


# Deletion


async def test_a_deletion_takes_blobs_listing_and_journal_of_that_instance_alone(store: JournalStore) -> None:
    await written(
        store,
        *(put_row(key, row_of(1, 0), 1) for key in (A, B)),
        *(PutBlob(key, UID, "b-1", b"x", Stamp(1, 2)) for key in (A, B)),
        *(put_listing(listing_of(id, 5), 3) for id in ("a", "b")),
    )
    await written(store, delete_of("a", 4))
    assert await store.read_journal(A) == []
    with pytest.raises(KeyError):
        await store.read_blob(A, UID, "b-1")
    assert await listed(store) == ["b"]
    assert len(await store.read_journal(B)) == 1
    assert await store.read_blob(B, UID, "b-1") == b"x"


async def test_what_is_stamped_at_or_below_a_deletion_stays_away_though_it_comes_late(store: JournalStore) -> None:
    await written(store, delete_of("a", 4))
    for counter in (3, 4):
        await written(
            store,
            put_row(A, row_of(1, counter), counter),
            PutBlob(A, UID, f"b-{counter}", b"x", Stamp(1, counter)),
            put_listing(listing_of("a", 5), counter),
        )
        with pytest.raises(KeyError):
            await store.read_blob(A, UID, f"b-{counter}")
    assert await store.read_journal(A) == []
    assert await listed(store) == []


async def test_an_instance_created_again_is_not_touched_by_its_predecessors_late_deletion(store: JournalStore) -> None:
    await written(store, put_row(A, row_of(1, 0, "old"), 1), put_listing(listing_of("a", 5), 2))
    await written(store, delete_of("a", 3))
    again = listing_of("a", 6, uid="u-2")
    await written(
        store,
        put_row(A, row_of(1, 0, "new", first=True), 4),
        PutBlob(A, again.uid, "b-1", b"new", Stamp(1, 5)),
        put_listing(again, 6),
    )
    await written(store, delete_of("a", 3))
    assert await store.read_journal(A) == [row_of(1, 0, "new", first=True)]
    assert await store.read_blob(A, again.uid, "b-1") == b"new"
    assert (await store.list_instances(TENANT, WORKFLOW, limit=9)).listings == [again]


# Wakes and marks


async def test_wakes_are_read_by_shard_and_range_of_buckets_both_ends_included(store: JournalStore) -> None:
    wakes = [Wake(bucket, bucket * 10, key) for bucket in (1, 2, 3, 4) for key in (A, B)]
    await written(store, *(put_wake(wake.key, wake.bucket, wake.due, 1) for wake in wakes))
    assert set(await store.read_wakes(0, 2, 3)) == {wake for wake in wakes if wake.bucket in (2, 3)}
    assert await store.read_wakes(1, 0, 9) == []
    assert await store.read_wakes(0, 5, 9) == []


async def test_an_instance_may_have_several_wakes_in_a_bucket(store: JournalStore) -> None:
    await written(store, put_wake(A, 1, 10, 1), put_wake(A, 1, 11, 2), put_wake(A, 1, 11, 3))
    assert sorted(wake.due for wake in await store.read_wakes(0, 1, 1)) == [10, 11]


async def test_a_dropped_bucket_forgets_what_is_stamped_at_or_below_and_nothing_else(store: JournalStore) -> None:
    await written(store, put_wake(A, 1, 10, 1), put_wake(A, 2, 20, 2), put_wake(B, 1, 10, 9))
    await written(store, DropBucket(0, 1, Stamp(1, 5)))
    await written(store, put_wake(A, 1, 11, 4), put_wake(A, 1, 12, 5), put_wake(A, 1, 13, 6))
    assert set(await store.read_wakes(0, 1, 2)) == {Wake(2, 20, A), Wake(1, 10, B), Wake(1, 13, A)}
    await written(store, DropBucket(0, 1, Stamp(1, 3)))
    assert len(await store.read_wakes(0, 1, 2)) == 3


async def test_marks_are_kept_by_epoch_and_the_newest_stamp_wins(store: JournalStore) -> None:
    await written(store, PutMark(0, 1, 30, Stamp(1, 2)), PutMark(0, 2, 20, Stamp(2, 1)), PutMark(1, 1, 9, Stamp(1, 1)))
    await written(store, PutMark(0, 1, 10, Stamp(1, 1)))
    assert await store.read_marks(0) == {1: 30, 2: 20}
    assert await store.read_marks(5) == {}


async def test_the_highest_epochs_mark_survives_every_reopening(world: World) -> None:
    await written(await world.open(), PutMark(0, 1, 30, Stamp(1, 2)), PutMark(0, 2, 20, Stamp(2, 1)))
    await world.open()
    marks = await (await world.open()).read_marks(0)
    assert marks[max(marks)] == 20


# Listings


async def test_lists_are_newest_created_first_and_paged_without_gaps_or_repeats(store: JournalStore) -> None:
    ids = [f"i-{number:03}" for number in range(25)]
    await written(store, *(put_listing(listing_of(id, 100 + n // 3), n + 1) for n, id in enumerate(ids)))
    assert await listed(store, limit=4) == list(reversed(ids))
    assert await listed(store, limit=25) == list(reversed(ids))


async def test_a_page_is_followed_by_what_is_older_whatever_was_created_since(store: JournalStore) -> None:
    await written(store, *(put_listing(listing_of(f"i-{n}", n), n + 1) for n in range(4)))
    page = await store.list_instances(TENANT, WORKFLOW, limit=2)
    await written(store, put_listing(listing_of("i-9", 9), 10))
    rest = await store.list_instances(TENANT, WORKFLOW, limit=2, token=page.next_token)
    assert [each.key.instance for each in rest.listings] == ["i-1", "i-0"]
    assert rest.next_token == ""


async def test_lists_are_filtered_by_any_of_the_statuses_across_pages(store: JournalStore) -> None:
    statuses = ["running", "waiting", "complete"]
    await written(store, *(put_listing(listing_of(f"i-{n:02}", n, statuses[n % 3]), n + 1) for n in range(12)))
    expected = [f"i-{n:02}" for n in range(11, -1, -1) if n % 3 != 1]
    assert await listed(store, "running", "complete", limit=3) == expected
    assert await listed(store, "errored") == []


@pytest.mark.parametrize("size", [2, 9])
@pytest.mark.parametrize("times", [(0, 20), (3, 9), (4, 4), (5, 3), (11, 40), (-9, 0)])
async def test_lists_are_of_what_was_created_within_those_times(
    store: JournalStore, times: tuple[int, int], size: int
) -> None:
    """Of which some are hours apart."""
    at = [number * HOUR_MS // 4 for number in range(12)]
    await written(store, *(put_listing(listing_of(f"i-{n:02}", ms), n + 1) for n, ms in enumerate(at)))
    first, last = (time * HOUR_MS // 4 for time in times)
    found, token = [], ""
    while True:
        page = await store.list_instances(TENANT, WORKFLOW, limit=size, token=token, created=CreateTimes(first, last))
        found += [each.key.instance for each in page.listings]
        if not (token := page.next_token):
            break
    assert found == [f"i-{n:02}" for n in range(11, -1, -1) if first <= at[n] <= last]


async def test_an_instance_is_listed_once_with_its_newest_status(store: JournalStore) -> None:
    await written(store, put_listing(listing_of("a", 5, "running"), 1))
    await written(store, put_listing(listing_of("a", 5, "complete"), 3), put_listing(listing_of("a", 5, "waiting"), 2))
    assert await listed(store, "running") == await listed(store, "waiting") == []
    assert await listed(store, "complete") == await listed(store) == ["a"]


async def test_lists_are_of_one_tenant_and_workflow(store: JournalStore) -> None:
    for count, key in enumerate([A, A._replace(tenant=TenantUid("t-2")), A._replace(workflow=WorkflowId("other"))]):
        listing = Listing(key, UID, 5, "running", "sha256-1", None, None, 0)
        await written(store, put_listing(listing, count + 1))
    assert await listed(store) == ["a"]


async def test_what_a_tenant_has_stored_is_the_sum_of_its_newest_listings(store: JournalStore) -> None:
    other = listing_of("a", 5, stored_bytes=1_000)
    other = replace(other, key=A._replace(tenant=TenantUid("t-2")))
    elsewhere = replace(listing_of("a", 5, stored_bytes=7), key=key_of("a", "returns"))
    assert await store.stored_bytes(TENANT) == 0
    await written(store, put_listing(listing_of("a", 5, stored_bytes=3), 1), put_listing(other, 2))
    await written(store, put_listing(listing_of("a", 5, stored_bytes=30), 3), put_listing(elsewhere, 4))
    assert await store.stored_bytes(TENANT) == 37
    await written(store, delete_of("a", 5))
    assert await store.stored_bytes(TENANT) == 7


@pytest.mark.parametrize("token", ["x", "AAAAAAAAAAAAAAAAAAAA", "ünïcode", "A" * 4000, "e30"])
async def test_a_token_that_the_store_did_not_make_is_a_value_error(store: JournalStore, token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        await store.list_instances(TENANT, WORKFLOW, limit=2, token=token)
