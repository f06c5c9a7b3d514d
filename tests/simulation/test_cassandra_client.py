"""A process and the modelled Cassandra: crashes, cuts, and mutations that are several writes."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.journal.store import DeleteInstance, PutBlob, Stamp, WriteUnknownError
from stepwell.names import InstanceUid
from tests.contract.journal_worlds import (
    TENANT,
    WORKFLOW,
    key_of,
    listed,
    listing_of,
    put_listing,
    put_row,
    row_of,
    written,
)
from tests.simulation.cassandra_client import ReadUnavailableError
from tests.simulation.cassandra_faults import CALM, CLIENT_TIMEOUT_S, CassandraFaults, Fault
from tests.simulation.cassandra_rig import Rig
from tests.simulation.cassandra_tables import CHUNK_BYTES, LISTING_BUCKET_MS
from tests.unit.data_plane.house import on_virtual_time

A, UID = key_of("a"), InstanceUid("u-1")
ROW = put_row(A, row_of(1, 0), 1)
EXACT = CassandraFaults(hop_s=(0.1, 0.1))
"""A message takes a tenth of a second, so that a write takes three."""


def blob_of(data: bytes, id: str = "b-1", counter: int = 1) -> PutBlob:
    return PutBlob(A, UID, id, data, Stamp(1, counter))


# A process that dies, or is cut off


@on_virtual_time
async def test_a_dead_process_is_not_called_and_what_it_had_sent_lands() -> None:
    rig = Rig()
    answers: list[Exception | None] = []
    rig.store.write(ROW, answers.append)
    reading = asyncio.ensure_future(rig.store.read_journal(A))
    await asyncio.sleep(0)
    rig.alive = False
    rig.store.write(put_row(A, row_of(1, 1), 2), answers.append)
    await asyncio.sleep(CLIENT_TIMEOUT_S + 1)
    assert answers == []
    assert not reading.done()
    assert await rig.other.read_journal(A) == [ROW.row]
    assert rig.seen[Fault.CALLBACK_DROPPED] == 2
    reading.cancel()
    await rig.store.close()


@on_virtual_time
async def test_a_process_that_dies_before_its_turn_comes_is_not_called() -> None:
    rig = Rig()
    answers: list[Exception | None] = []

    def dies() -> None:
        rig.alive = False

    def connected() -> bool:
        if rig.loop.time() > began:
            rig.loop.call_soon(dies)
        return True

    began, store = rig.loop.time(), rig.cluster.client(lambda: rig.alive, connected)
    store.write(ROW, answers.append)
    await store.close()
    assert answers == []


@on_virtual_time
async def test_a_read_that_nobody_waits_for_any_more_is_forgotten() -> None:
    rig = Rig()
    troubles: list[object] = []
    rig.loop.set_exception_handler(lambda _, context: troubles.append(context))
    reading = asyncio.ensure_future(rig.store.read_journal(A))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.sleep(1.0)
    assert troubles == []


@on_virtual_time
async def test_a_process_that_is_cut_off_sends_nothing_and_gives_up_after_a_while() -> None:
    rig = Rig()
    rig.connected = False
    began = rig.loop.time()
    [answer] = await written(rig.store, ROW)
    assert isinstance(answer, WriteUnknownError)
    assert rig.loop.time() - began == pytest.approx(CLIENT_TIMEOUT_S)
    reading = asyncio.ensure_future(rig.store.read_journal(A))
    await asyncio.sleep(0)
    rig.connected = True
    with pytest.raises(ReadUnavailableError):
        await reading
    assert await rig.store.read_journal(A) == []
    assert await written(rig.store, ROW) == [None]


@on_virtual_time
async def test_an_answer_does_not_reach_a_process_that_was_cut_off_meanwhile() -> None:
    rig = Rig(EXACT)
    answers: list[Exception | None] = []
    rig.store.write(ROW, answers.append)
    reading = asyncio.ensure_future(rig.store.read_journal(A))
    await asyncio.sleep(0.15)
    rig.connected = False
    await asyncio.sleep(CLIENT_TIMEOUT_S)
    assert [type(answer) for answer in answers] == [WriteUnknownError]
    with pytest.raises(ReadUnavailableError):
        await reading
    assert await rig.other.read_journal(A) == [ROW.row]


# Mutations that are several writes


async def store_instance(rig: Rig) -> None:
    await written(rig.store, ROW, blob_of(b"large", counter=2), put_listing(listing_of("a", 5), 3))


async def left(rig: Rig) -> list[str]:
    """What of the instance is still there."""
    found = ["row"] if await rig.other.read_journal(A) else []
    found += ["listing"] if await listed(rig.other) else []
    try:
        await rig.other.read_blob(A, UID, "b-1")
    except KeyError:
        return found
    return [*found, "blob"]


@pytest.mark.parametrize(
    ("dies_after_s", "left_in_the_end"),
    [(0.05, ["row", "listing"]), (0.35, ["row"]), (0.65, []), (1.0, [])],
)
@on_virtual_time
async def test_a_deletion_goes_by_blobs_listing_and_journal_and_may_be_half_done(
    dies_after_s: float, left_in_the_end: list[str]
) -> None:
    rig = Rig(EXACT)
    await store_instance(rig)
    removal = DeleteInstance(A, UID, 5, Stamp(1, 4))
    answers: list[Exception | None] = []
    rig.store.write(removal, answers.append)
    await asyncio.sleep(dies_after_s)
    rig.alive = False
    await asyncio.sleep(CLIENT_TIMEOUT_S)
    assert await left(rig) == left_in_the_end
    assert answers == ([None] if dies_after_s > 0.9 else [])
    assert rig.seen[Fault.HALF_DONE] == (0.3 < dies_after_s < 0.9)
    assert await written(rig.other, removal) == [None]
    assert await left(rig) == []


@on_virtual_time
async def test_a_deletion_ends_with_the_first_of_its_writes_that_is_unknown() -> None:
    rig = Rig(EXACT)
    await store_instance(rig)
    answers: list[Exception | None] = []
    rig.store.write(DeleteInstance(A, UID, 5, Stamp(1, 4)), answers.append)
    await asyncio.sleep(0.2)
    rig.cluster.faults = CassandraFaults(write_lost=1.0)
    await asyncio.sleep(CLIENT_TIMEOUT_S + 1)
    rig.cluster.quiet()
    assert [type(answer) for answer in answers] == [WriteUnknownError]
    assert await left(rig) == ["row", "listing"]
    assert rig.seen[Fault.HALF_DONE] == 1


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES])
@on_virtual_time
async def test_a_blob_comes_back_whole_or_not_at_all(size: int) -> None:
    rig = Rig()
    data = bytes(number % 251 for number in range(size))
    whole = 0
    for number in range(20):
        id = f"b-{number}"
        error = await rig.outcome(blob_of(data, id), CassandraFaults(copy_lost=0.5))
        try:
            assert await rig.other.read_blob(A, UID, id) == data
            whole += 1
        except KeyError:
            assert error is not None
    assert whole > 0 or size > CHUNK_BYTES
    assert whole < 20
    await rig.outcome(blob_of(data, "b-0"))
    assert await rig.other.read_blob(A, UID, "b-0") == data


@on_virtual_time
async def test_lists_go_from_partition_to_partition_newest_first() -> None:
    rig = Rig()
    times = {f"i-{number}": number * LISTING_BUCKET_MS // 3 for number in range(12)}
    listings = [listing_of(id, at, stored_bytes=1) for id, at in times.items()]
    await written(rig.store, *(put_listing(listing, number + 1) for number, listing in enumerate(listings)))
    expected = sorted(times, key=lambda id: -times[id])
    assert await listed(rig.other) == await listed(rig.other, limit=5) == await listed(rig.other, limit=1) == expected
    page = await rig.other.list_instances(TENANT, WORKFLOW, limit=12)
    assert page.next_token == ""
    assert await rig.other.stored_bytes(TENANT) == 12


@on_virtual_time
async def test_a_listing_is_one_write_once_its_partition_is_named() -> None:
    rig = Rig(EXACT)
    for number, hops in ((1, 6), (2, 3)):
        began = rig.loop.time()
        assert await written(rig.store, put_listing(listing_of("a", 5), number)) == [None]
        assert rig.loop.time() - began == pytest.approx(hops * EXACT.hop_s[0])


@on_virtual_time
async def test_a_listing_is_shown_once_it_is_acknowledged_though_its_partition_was_not_named_at_first() -> None:
    rig = Rig()
    listing = put_listing(listing_of("a", 5), 1)
    assert isinstance(await rig.outcome(listing, CassandraFaults(write_lost=1.0)), WriteUnknownError)
    assert await rig.outcome(listing) is None
    assert await listed(rig.other) == ["a"]
    assert rig.cluster.faults == CALM
