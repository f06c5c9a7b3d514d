"""The log store's contract, over its adapters and an oracle: what is kept, what makes room, what is told as missing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from data_plane.logs import store_cassandra
from data_plane.logs.limits import LogLimits
from data_plane.logs.sqlite_file import LogFileError
from data_plane.logs.store import Line, LogKey, LogStore, NumberedLine
from data_plane.logs.store_cassandra import CassandraLogStore
from data_plane.logs.store_sqlite import SqliteLogStore
from stepwell.names import InstanceUid, TenantUid
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER
from tests.contract.oracle_log_store import Kept, OracleLogStore

LIMITS = LogLimits(instance_bytes_max=5_400, tenant_bytes_max=13_600)
Open = Callable[[], Awaitable[LogStore]]


def key_of(instance: str, tenant: str = "t-1") -> LogKey:
    return LogKey(TenantUid(tenant), InstanceUid(instance))


def line(text: str, at: int = 1_000, step: str = "", dropped: int = 0) -> Line:
    return Line(at, step, 1 if step else 0, 1 if step else 0, 1, text, dropped)


A, B = key_of("a"), key_of("b")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow Cassandra is, an append makes all the room that there has to be."""
    monkeypatch.setattr(store_cassandra, "ROOM_S", 600.0)


@pytest.fixture(params=["sqlite", "oracle", pytest.param("cassandra", marks=ON_ONE_WORKER)])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the store; again, as after the process was killed."""
    opened: list[LogStore] = []
    kept: dict[LogKey, Kept] = {}
    keyspace: Keyspace | None = None
    if request.param == "cassandra":
        keyspace = request.getfixturevalue("keyspace")
        await keyspace.emptied()

    async def reopen() -> LogStore:
        store: LogStore
        if keyspace is not None:
            store = await CassandraLogStore.open(keyspace.session(), LIMITS)
        elif request.param == "sqlite":
            store = await SqliteLogStore.open(tmp_path / "logs.db", LIMITS)
        else:
            store = OracleLogStore(LIMITS, kept)
        opened.append(store)
        return store

    yield reopen
    for store in opened:
        await store.close()


@pytest.fixture
async def store(reopen: Open) -> LogStore:
    return await reopen()


async def texts(store: LogStore, key: LogKey, **more: Any) -> list[str]:
    return [each.line.text for each in await everything(store, key, **more)]


async def everything(
    store: LogStore, key: LogKey, *, after: int = 0, step: str = "", limit: int = 1_000
) -> Sequence[NumberedLine]:
    return await store.read(key, after=after, step=step, limit=limit)


async def test_lines_are_read_in_the_order_in_which_they_were_added(store: LogStore) -> None:
    first, second = Line(5, "charge", 2, 3, 2, "one"), Line(4, "", 0, 0, 1, "two")
    await store.append([(A, [first]), (B, [line("other")])])
    await store.append([(A, [second])])
    assert await everything(store, A) == [(1, first), (2, second)]
    assert await everything(store, key_of("a", "t-2")) == []


async def test_pages_go_on_after_a_number(store: LogStore) -> None:
    await store.append([(A, [line(f"{number}") for number in range(1, 8)])])
    page = await everything(store, A, limit=3)
    assert [each.number for each in page] == [1, 2, 3]
    assert await texts(store, A, after=page[-1].number, limit=3) == ["4", "5", "6"]
    assert await texts(store, A, after=7) == []


async def test_one_steps_lines_can_be_read_alone(store: LogStore) -> None:
    await store.append([(A, [line("a", step="x"), line("b"), line("c", step="y"), line("d", step="x")])])
    assert await texts(store, A, step="x") == ["a", "d"]
    assert await texts(store, A, step="x", after=1) == ["d"]
    assert await texts(store, A, step="z") == []


async def test_what_is_kept_outlives_the_process(reopen: Open) -> None:
    await (await reopen()).append([(A, [line("one")])])
    again = await reopen()
    await again.append([(A, [line("two")])])
    assert [(each.number, each.line.text) for each in await everything(again, A)] == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("text", ["", "\x00 \x1b[2J \u202e \x85", '"],[]', "\ufffd", "🦀" * 500, "a\tb\r"])
async def test_any_text_comes_back_as_it_was(store: LogStore, text: str) -> None:
    await store.append([(A, [line(text, step=f"step {text}"[:256])])])
    [(_, kept)] = await everything(store, A)
    assert kept == line(text, step=f"step {text}"[:256])


async def test_missing_lines_are_told_where_they_are_missing(store: LogStore) -> None:
    await store.append([(A, [line("a"), line("b", dropped=5, step="x"), line("c")])])
    assert [(number, kept.dropped) for number, kept in await everything(store, A)] == [(1, 0), (7, 5), (8, 0)]
    assert [kept.dropped for _, kept in await everything(store, A, after=4)] == [2, 0]
    assert [kept.dropped for _, kept in await everything(store, A, step="x")] == [5]


async def test_within_an_instance_the_oldest_lines_make_room_and_are_told_as_missing(store: LogStore) -> None:
    for number in range(1, 101):
        await store.append([(A, [line(f"{number:03}" * 10)])])
    kept = await everything(store, A)
    assert kept[-1].number == 100
    assert sum(each.line.size() for each in kept) <= LIMITS.instance_bytes_max
    assert len(kept) > 30
    assert kept[0].line.dropped == kept[0].number - 1
    assert [each.line.dropped for each in await everything(store, A, after=kept[5].number)] == [0] * (len(kept) - 6)
    assert (await everything(store, A, after=3))[0].line.dropped == kept[0].number - 4


async def test_within_a_tenant_the_quietest_instance_makes_room(store: LogStore) -> None:
    lines = [line("x" * 36)] * 30
    for at, name in enumerate("abcd"):
        await store.append([(key_of(name), [Line(at, "", 0, 0, 1, each.text) for each in lines])])
        await store.append([(key_of(name, "t-2"), [line("another tenant's")])])
    assert [len(await everything(store, key_of(name))) for name in "abcd"] == [0, 0, 30, 30]
    assert len(await everything(store, key_of("a", "t-2"))) == 1
    await store.append([(A, [line("again", at=9)])])
    assert await everything(store, A) == [(31, line("again", at=9, dropped=30))]


async def test_a_deleted_instances_lines_are_gone_and_take_no_room(store: LogStore) -> None:
    await store.append([(A, [line("one"), line("two")]), (B, [line("kept")])])
    await store.delete([A, A, key_of("nobody")])
    assert await everything(store, A) == []
    assert await texts(store, B) == ["kept"]
    await store.append([(A, [line("new")])])
    assert await everything(store, A) == [(1, line("new"))]


@pytest.mark.parametrize("reopen", ["sqlite", "oracle"], indirect=True)
async def test_old_lines_are_removed(store: LogStore) -> None:
    await store.append([(A, [line("old", at=10), line("new", at=20)]), (B, [line("old", at=10)])])
    while await store.expire(15):
        pass
    assert await everything(store, A) == [(2, line("new", at=20, dropped=1))]
    assert await everything(store, B) == []
    await store.append([(B, [line("new", at=20)])])
    assert await everything(store, B) == [(1, line("new", at=20))]


async def test_many_old_instances_are_removed_a_few_at_a_time(tmp_path: Path) -> None:
    store = await SqliteLogStore.open(tmp_path / "logs.db", LIMITS)
    await store.append([(key_of(f"{number}"), [line("x", at=1)]) for number in range(90)])
    await store.append([(key_of(f"{number}", "t-2"), [line("x", at=1)]) for number in range(60)])
    assert [await store.expire(5), await store.expire(5), await store.expire(5)] == [True, False, False]
    assert await everything(store, key_of("89")) == []
    await store.close()


async def test_a_file_that_is_no_log_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "logs.db").write_bytes(b"not a database" * 1_000)
    with pytest.raises(LogFileError, match="move it away"):
        await SqliteLogStore.open(tmp_path / "logs.db", LIMITS)


@pytest.mark.parametrize("seed", range(20))
async def test_random_calls_give_what_the_oracle_gives(tmp_path: Path, seed: int) -> None:
    async def reopen() -> LogStore:
        return await SqliteLogStore.open(tmp_path / "logs.db", LIMITS)

    await compare(OracleLogStore(LIMITS, {}), reopen, random.Random(seed), rounds=150, ages=True)


@ON_ONE_WORKER
@pytest.mark.parametrize("seed", range(3))
async def test_random_calls_of_cassandras_give_what_the_oracle_gives_whose_lines_go_by_appends(
    keyspace: Keyspace, seed: int
) -> None:
    await keyspace.emptied()

    async def reopen() -> LogStore:
        return await CassandraLogStore.open(keyspace.session(), LIMITS)

    oracle = OracleLogStore(LIMITS, {}, by_append=True)
    await compare(oracle, reopen, random.Random(seed), rounds=60, ages=False)


async def compare(oracle: LogStore, reopen: Open, dice: random.Random, *, rounds: int, ages: bool) -> None:
    adapter = await reopen()
    keys = [key_of(instance, tenant) for tenant in ("t-1", "t-2") for instance in "abcde"]
    at = 0
    try:
        for _ in range(rounds):
            at += 1
            act = dice.random()
            some = dice.sample(keys, dice.randint(1, 3))
            if act < 0.8:
                for key in some:
                    lines = [
                        line("x" * dice.choice([0, 10, 900]), at, dice.choice(["", "s"]), dice.choice([0, 0, 3]))
                        for _ in range(dice.randint(1, 6))
                    ]
                    at += 1
                    for store in (oracle, adapter):
                        await store.append([(key, lines)])
            elif act < 0.9:
                for store in (oracle, adapter):
                    await store.delete(some)
            elif act < 0.95 and ages:
                for store in (oracle, adapter):
                    await store.expire(at - 20)
            else:
                await adapter.close()
                adapter = await reopen()
            for key in keys:
                after, step = dice.choice([0, 0, 5, 50]), dice.choice(["", "s"])
                expected = await everything(oracle, key, after=after, step=step)
                found = await everything(adapter, key, after=after, step=step)
                assert [each.number for each in found] == [each.number for each in expected]
                if not step:
                    assert found == expected
    finally:
        await adapter.close()
