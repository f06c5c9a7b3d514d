"""What the Cassandra adapter owes beside the log store's port: what appends cost, other nodes, blocks, age, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from cassandra.query import PreparedStatement

from data_plane.logs import store_cassandra
from data_plane.logs.cassandra.blocks import BLOCK_BYTES
from data_plane.logs.cassandra.tables import SLICES, Statements
from data_plane.logs.limits import LINE_OVERHEAD_BYTES, LogLimits
from data_plane.logs.store import Line, LogKey, LogStore, NumberedLine
from data_plane.logs.store_cassandra import CassandraLogStore
from stepwell.errors import UnavailableError
from stepwell.names import InstanceUid, TenantUid
from tests.contract.cassandra_keyspace import CountingSession, Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER

pytestmark = ON_ONE_WORKER

TENANT = TenantUid("t-1")
LIMITS = LogLimits()


class UnreliableSession(CountingSession):
    """Writes `reliable` more times; then one is done, and nobody told of it."""

    reliable = 1_000_000

    async def acknowledged(self, statement: PreparedStatement, values: Sequence[object]) -> None:
        await super().acknowledged(statement, values)
        self.reliable -= 1
        if self.reliable == -1:
            raise UnavailableError("nobody told")


def key_of(instance: str) -> LogKey:
    return LogKey(TENANT, InstanceUid(instance))


A, B = key_of("a"), key_of("b")


def line(text: str, at: int = 1_000) -> Line:
    return Line(at, "", 0, 0, 1, text)


def lines_of(size: int, parts: int = 16, at: int = 1_000) -> list[Line]:
    """So many lines, that count as so many bytes in all."""
    return [line("x" * (size // parts - LINE_OVERHEAD_BYTES), at)] * parts


@pytest.fixture(autouse=True)
async def emptied(keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch) -> None:
    await keyspace.emptied()
    monkeypatch.setattr(store_cassandra, "ROOM_S", 600.0)  # an append makes all the room that there has to be


async def node(keyspace: Keyspace, limits: LogLimits = LIMITS) -> tuple[CassandraLogStore, UnreliableSession]:
    session = keyspace.session_of(UnreliableSession)
    return CassandraLogStore(session, await Statements.prepare(session), limits), session


async def everything(store: LogStore, key: LogKey, after: int = 0, limit: int = 10_000) -> Sequence[NumberedLine]:
    return await store.read(key, after=after, step="", limit=limit)


async def texts(store: LogStore, key: LogKey) -> list[str]:
    return [each.line.text for each in await everything(store, key)]


# What it costs


async def test_an_append_is_two_writes_an_instance_and_reads_nothing_while_it_prints(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, session = await node(keyspace)
    await store.append([(A, [line("1")])])
    assert (session.writes, session.reads) == (2, 1 + SLICES)
    await store.append([(A, [line("2"), line("3")]), (B, [line("of another")])])
    assert (session.writes, session.reads) == (2 + 4, 1 + SLICES + 1)
    await store.append([(A, [line("4")]), (B, [line("5")])])
    assert (session.writes, session.reads) == (2 + 4 + 4, 1 + SLICES + 1)
    monkeypatch.setattr(store_cassandra, "KNOWN_S", -1.0)
    await store.append([(A, [line("6")])])
    assert (session.writes, session.reads) == (2 + 4 + 4 + 2, 1 + SLICES + 1 + 2)


async def test_what_a_tenant_has_is_looked_up_again_after_an_eighth_of_its_limit(keyspace: Keyspace) -> None:
    store, session = await node(keyspace, LogLimits(instance_bytes_max=40_000, tenant_bytes_max=80_000))
    await store.append([(A, lines_of(1_600))])
    seen = []
    for _ in range(7):
        session.reads = 0
        await store.append([(A, lines_of(3_200))])
        seen.append(session.reads)
    assert seen == [0, 0, 0, SLICES, 0, 0, 0]


async def test_what_is_remembered_is_bounded(keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_cassandra, "KNOWN_INSTANCES_MAX", 1)
    monkeypatch.setattr(store_cassandra, "KNOWN_TENANTS_MAX", 1)
    store, session = await node(keyspace)
    other = LogKey(TenantUid("t-2"), InstanceUid("c"))
    for _ in range(2):
        for key in (A, other):
            session.reads = 0
            await store.append([(key, [line("x")])])
            assert session.reads == 1 + SLICES
    assert await texts(store, A) == ["x", "x"]


# Other nodes


async def test_an_instance_that_moves_and_comes_back_goes_on_behind_its_last_line(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_cassandra, "KNOWN_S", -1.0)
    (one, _), (other, _) = await node(keyspace), await node(keyspace)
    for number, store in enumerate((one, other, one, one, other)):
        await store.append([(A, [line(f"{number}"), line("-")])])
    kept = await everything(one, A)
    assert [(number, each.dropped) for number, each in kept] == [(number, 0) for number in range(1, 11)]
    assert [each.text for _, each in kept[::2]] == ["0", "1", "2", "3", "4"]


async def test_of_lines_that_two_owners_gave_the_same_numbers_one_is_read(keyspace: Keyspace) -> None:
    (one, _), (other, _) = await node(keyspace), await node(keyspace)
    for store in (one, other):
        await store.append([(A, [line("both")])])
    await one.append([(A, [line("one 3"), line("one 4")])])
    await other.append([(A, [line("other 3"), line("other 4"), line("other 5")])])
    kept = await everything(one, A)
    numbers = [number for number, _ in kept]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 5
    assert [each for each in await everything(other, A, after=3) if each.number <= 3] == []


async def test_room_is_made_for_what_all_nodes_wrote(keyspace: Keyspace) -> None:
    limits = LogLimits(instance_bytes_max=80_000, tenant_bytes_max=80_000)
    (one, _), (other, _) = await node(keyspace, limits), await node(keyspace, limits)
    await one.append([(A, [line("early", at=1)])])
    await other.append([(B, [line("later", at=2)])])
    for at in range(3, 13):
        await one.append([(key_of(f"c{at}"), lines_of(6_400, at=at))])
    for at in range(13, 18):
        await other.append([(key_of(f"d{at}"), lines_of(6_400, at=at))])
    assert await texts(one, A) == []
    assert await texts(one, B) == []
    assert await texts(one, key_of("c3")) == []
    assert len(await texts(one, key_of("d17"))) == 16
    await one.append([(A, [line("again", at=30)])])
    assert await everything(one, A) == [(2, Line(30, "", 0, 0, 1, "again", 1))]


async def test_room_is_made_step_by_step_and_holds_up_no_append(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_cassandra, "ROOM_S", 0.0)
    monkeypatch.setattr(store_cassandra, "INSTANCES_AT_ONCE", 1)
    store, session = await node(keyspace, LogLimits(instance_bytes_max=80_000, tenant_bytes_max=80_000))
    for at in range(10):
        await store.append([(key_of(f"c{at}"), lines_of(12_800, at=at))])
    other = LogKey(TenantUid("t-2"), InstanceUid("x"))
    steps = 0
    while await texts(store, key_of("c4")):
        session.reads = 0
        await store.append([(other, [line("another's", at=20)])])
        assert session.reads <= 2
        steps += 1
        assert steps < 20 * SLICES
    assert steps > SLICES
    assert len(await texts(store, key_of("c9"))) == 16
    await store.close()


async def test_when_no_room_can_be_made_now_lines_are_kept_and_it_is_tried_again(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = await node(keyspace, LogLimits(instance_bytes_max=2_000, tenant_bytes_max=2_000))

    async def away(*_: object) -> int:
        raise UnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_sum", away)
        await store.append([(A, lines_of(1_600))])
        await store.append([(B, lines_of(1_600, at=2_000))])
    assert len(await texts(store, A)) == 16
    await store.append([(B, [line("more", at=2_001)])])
    assert await texts(store, A) == []


# Blocks


async def test_many_lines_at_once_lie_in_several_blocks_and_are_read_page_by_page(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_cassandra, "PAGE_BLOCKS", 2)
    store, session = await node(keyspace)
    await store.append([(A, [line(f"{number:05}" * 200) for number in range(500)])])
    blocks = -(-500 * 1_100 // BLOCK_BYTES)
    assert session.writes == blocks + 1
    assert [each.line.text[:5] for each in await everything(store, A)] == [f"{number:05}" for number in range(500)]
    page = await everything(store, A, after=123, limit=100)
    assert [each.number for each in page] == list(range(124, 224))
    again, _ = await node(keyspace)
    await again.append([(A, [line("more")])])
    assert [each.number for each in await everything(again, A, after=499)] == [500, 501]


async def test_an_instance_of_several_blocks_loses_the_oldest_of_them(keyspace: Keyspace) -> None:
    store, _ = await node(keyspace, LogLimits(instance_bytes_max=4 * BLOCK_BYTES))
    await store.append([(A, lines_of(6 * BLOCK_BYTES, 96))])
    kept = await everything(store, A)
    assert (len(kept), kept[0].number, kept[0].line.dropped, kept[-1].number) == (48, 49, 48, 96)


async def test_an_instance_whose_last_block_is_over_its_limit_keeps_its_numbers(keyspace: Keyspace) -> None:
    store, _ = await node(keyspace, LogLimits(instance_bytes_max=2_000))
    await store.append([(A, lines_of(3_200))])
    assert await everything(store, A) == []
    again, _ = await node(keyspace)
    await again.append([(A, [line("more")])])
    assert await everything(again, A) == [(17, Line(1_000, "", 0, 0, 1, "more", 16))]


# Age, errors, settings


async def test_old_lines_go_by_themselves_and_numbers_with_the_last_of_them(keyspace: Keyspace) -> None:
    store, _ = await node(keyspace, LogLimits(age_days_max=1 / 86_400))
    await store.append([(A, [line("old")])])
    assert not await store.expire(10**15)
    assert await texts(store, A) == ["old"]
    for _ in range(300):
        if not await texts(store, A):
            break
        await asyncio.sleep(0.1)
    again, _ = await node(keyspace)
    await again.append([(A, [line("new")])])
    assert [(number, each.text) for number, each in await everything(again, A)] == [(1, "new")]


async def test_after_a_write_that_nobody_told_of_lines_go_on_behind_it(keyspace: Keyspace) -> None:
    store, session = await node(keyspace)
    await store.append([(A, [line("1")]), (B, [line("1")])])
    session.reliable = 0
    with pytest.raises(UnavailableError):
        await store.append([(A, [line("2")]), (B, [line("2")])])
    await store.append([(A, [line("3")]), (B, [line("3")])])
    assert await texts(store, A) == await texts(store, B) == ["1", "2", "3"]


async def test_an_age_that_cassandra_does_not_know_is_refused(keyspace: Keyspace) -> None:
    with pytest.raises(ValueError, match=r"\[logs\].age_days_max is 9000"):
        await CassandraLogStore.open(keyspace.session(), LogLimits(age_days_max=9_000.0))
