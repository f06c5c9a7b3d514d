"""What the Cassandra adapter owes beside the bundle store's port: deploys that die, other nodes, damage, a cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cluster.cassandra.session import CassandraSession
from loader.bundles.cassandra.tables import CHUNK_BYTES, PART_CHUNKS, Statements
from loader.bundles.store_cassandra import DEAD_AFTER_MS, CassandraBundleStore
from stepwell.errors import InternalError, NotFoundError, UnavailableError
from stepwell.names import TenantUid
from tests.contract.bundle_worlds import ACME, FILES, MANIFEST, OTHER, CassandraNodes, pulled, put, upload
from tests.contract.cassandra_forgetful import Forgetful
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER, CassandraServers

pytestmark = ON_ONE_WORKER

LARGE = {"main.py": b"x = 1\n", "data.bin": bytes(range(256)) * (PART_CHUNKS * CHUNK_BYTES // 256 + 10)}
"""More than one part."""


@pytest.fixture
async def nodes(keyspace: Keyspace, tmp_path: Path) -> CassandraNodes:
    await keyspace.emptied()
    return CassandraNodes(keyspace, tmp_path)


async def rows(nodes: CassandraNodes) -> list[tuple[str, str]]:
    """(kind, the upload's id) of all rows of all tenants."""
    session = nodes.keyspace.session()
    found = await session.execute(f"SELECT kind, name, upload FROM {session.keyspace}.bundles")
    return sorted((kind, upload or name) for kind, name, upload in found)


async def stored(nodes: CassandraNodes) -> set[str]:
    """Ids of the uploads that have bytes."""
    session = nodes.keyspace.session()
    return {upload for (upload,) in await session.execute(f"SELECT upload FROM {session.keyspace}.bundle_chunks")}


def dies(store: CassandraBundleStore, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """As if its process was killed before it calls that."""

    async def dead(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(store, before, dead)


def hangs(store: CassandraBundleStore, monkeypatch: pytest.MonkeyPatch, after: str) -> asyncio.Event:
    """It never comes back from that, whose work is done by the time the event is set."""
    call: Any = getattr(store, after)
    reached = asyncio.Event()

    async def hanging(*of: Any) -> None:
        await call(*of)
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, after, hanging)
    return reached


# Deploys that meet, die and are given up


async def test_two_commits_of_one_content_at_once_keep_it_once(nodes: CassandraNodes) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    first, second = await put(a), await put(b)
    one, other = await asyncio.gather(first.commit(MANIFEST), second.commit(MANIFEST))
    assert one == other
    [(kind, keeper)] = await rows(nodes)
    assert (kind, await stored(nodes)) == ("bundle", {keeper})
    await first.abandon()
    await second.abandon()
    assert await pulled(await nodes.open("c"), one.digest) == FILES


async def test_a_commit_that_meets_the_same_bundle_just_before_its_own_leaves_nothing_of_itself(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    keep = a.keep

    async def keep_second(*of: Any) -> str | None:
        await upload(b)
        return await keep(*of)

    monkeypatch.setattr(a, "keep", keep_second)
    assert await pulled(a, (await upload(a)).digest) == FILES
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})


@pytest.mark.parametrize("before", ["write", "keep"])
async def test_what_a_commit_leaves_that_died_is_removed_by_a_later_one_once_it_looks_dead(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    dies(a, monkeypatch, before)
    with pytest.raises(RuntimeError, match="killed"):
        await upload(a, files=LARGE)
    assert await stored(nodes) == ({"u1"} if before == "keep" else set())
    nodes.now += DEAD_AFTER_MS
    await upload(b)
    assert ("upload", "u1") in await rows(nodes), "it may live"
    nodes.now += 1
    await upload(b, OTHER)
    assert ("upload", "u1") in await rows(nodes), "of another tenant"
    await upload(b, files={"other.py": b""})
    assert "u1" not in {upload for _, upload in await rows(nodes)} | await stored(nodes)


async def test_an_upload_that_was_taken_for_dead_never_becomes_a_bundle(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    keep = a.keep

    async def keep_late(*of: Any) -> str | None:
        nodes.now += DEAD_AFTER_MS + 1
        await upload(b, files={"other.py": b""})
        return await keep(*of)

    monkeypatch.setattr(a, "keep", keep_late)
    incoming = await put(a)
    with pytest.raises(UnavailableError, match="deploy again"):
        await incoming.commit(MANIFEST)
    await incoming.abandon()
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})


async def test_a_row_of_an_upload_that_was_made_late_costs_its_bundle_nothing(nodes: CassandraNodes) -> None:
    a = await nodes.open("a")
    digest = (await upload(a)).digest
    await a.begin(ACME, digest, "u1", 1)
    nodes.now += DEAD_AFTER_MS + 1
    await upload(a, files={"other.py": b""})
    assert await rows(nodes) == [("bundle", "u1"), ("bundle", "u2")]
    assert await pulled(await nodes.open("b"), digest) == FILES
    await a.begin(ACME, digest, "u1", 1)
    await a.delete(ACME, digest)
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})


@pytest.mark.parametrize("after", ["begin", "write", "keep"])
async def test_a_commit_that_is_cancelled_keeps_nothing(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    a = await nodes.open("a")
    reached = hangs(a, monkeypatch, after)
    incoming = await put(a, files=LARGE)
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(incoming.commit(MANIFEST))
        await reached.wait()
        committing.cancel()
    assert await rows(nodes) != []
    await incoming.abandon()
    await incoming.abandon()
    assert (await rows(nodes), await stored(nodes)) == ([], set())
    assert list((nodes.folder / "a" / ".staging").iterdir()) == []


async def test_a_commit_that_is_cancelled_keeps_what_was_there_before(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await nodes.open("a")
    digest = (await upload(a)).digest
    reached = hangs(a, monkeypatch, "is_intact")
    incoming = await put(a)
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(incoming.commit(MANIFEST))
        await reached.wait()
        committing.cancel()
    await incoming.abandon()
    assert await pulled(await nodes.open("b"), digest) == FILES


async def test_what_cant_be_abandoned_now_is_swept_later(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a = await nodes.open("a")

    async def away(*_: object) -> None:
        raise UnavailableError("away")

    incoming = await put(a)
    with monkeypatch.context() as patched:
        patched.setattr(a, "keep", away)
        patched.setattr(a, "undo", away)
        with pytest.raises(UnavailableError):
            await incoming.commit(MANIFEST)
        await incoming.abandon()
    assert "stays for now" in caplog.text
    assert await stored(nodes) == {"u1"}
    nodes.now += DEAD_AFTER_MS + 1
    await upload(a)
    assert await stored(nodes) == {"u2"}


async def test_a_deletion_that_dies_half_way_is_ended_by_a_later_commit(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    digest = (await upload(a)).digest
    dies(a, monkeypatch, "_clear")
    with pytest.raises(RuntimeError, match="killed"):
        await a.delete(ACME, digest)
    assert (await rows(nodes), await stored(nodes)) == ([("upload", "u1")], {"u1"})
    with pytest.raises(NotFoundError):
        await b.manifest(ACME, digest)
    assert await pulled(b, (await upload(b)).digest) == FILES
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})


async def test_a_write_that_comes_after_the_deletion_stays_deleted(nodes: CassandraNodes) -> None:
    a = await nodes.open("a")
    await a.delete(ACME, (await upload(a)).digest)
    session = nodes.keyspace.session()
    statements = await Statements.prepare(session)
    await session.acknowledged(statements.put_chunk, (ACME, "u1", 0, 0, b"late"))
    assert await stored(nodes) == set()


# Other nodes


async def test_another_node_pulls_what_was_uploaded_and_keeps_a_copy(nodes: CassandraNodes) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    digest = (await upload(a, files=LARGE)).digest
    assert await b.manifest(ACME, digest) == MANIFEST
    assert await pulled(b, digest) == LARGE
    session = nodes.keyspace.session()
    await session.execute(f"TRUNCATE {session.keyspace}.bundle_chunks")
    assert await pulled(b, digest) == LARGE
    assert await pulled(await nodes.open("b"), digest) == LARGE, "after a restart too"
    with pytest.raises(InternalError):
        await pulled(await nodes.open("c"), digest)


async def test_pulls_of_one_bundle_at_once_read_it_once(nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    digest = (await upload(a, files=LARGE)).digest
    chunks: Any = b._chunks
    read = chunks.read
    reads: list[TenantUid] = []

    async def reading(tenant: TenantUid, upload: str, parts: int) -> AsyncGenerator[bytes]:
        reads.append(tenant)
        async with aclosing(read(tenant, upload, parts)) as found:
            async for part in found:
                yield part

    monkeypatch.setattr(chunks, "read", reading)
    assert await asyncio.gather(*(pulled(b, digest) for _ in range(5))) == [LARGE] * 5
    assert reads == [ACME]


@pytest.mark.parametrize("spoil", ["change", "add", "remove", "manifest"])
async def test_a_copy_that_was_changed_is_never_given_out_and_read_again(nodes: CassandraNodes, spoil: str) -> None:
    a = await nodes.open("a")
    digest = (await upload(a)).digest
    async with a.pull(ACME, digest) as folder:
        if spoil == "change":
            (folder / "main.py").write_bytes(b"x = 2\n")
        elif spoil == "add":
            (folder / "new.py").write_bytes(b"")
        elif spoil == "remove":
            (folder / "main.py").unlink()
        else:
            (folder.parent / "manifest.json").write_bytes(b"{")
    assert await pulled(a, digest) == FILES


# Bytes that are not what was uploaded


@pytest.mark.parametrize(
    "spoil", ["first part", "last part", "chunk", "bytes", "list", "more", "manifest", "no manifest"]
)
async def test_damaged_bytes_are_never_given_out_and_a_new_upload_heals_them(nodes: CassandraNodes, spoil: str) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    digest = (await upload(a, files=LARGE)).digest
    session = nodes.keyspace.session()
    bundles, chunks = f"{session.keyspace}.bundles", f"{session.keyspace}.bundle_chunks"
    of = f"tenant = '{ACME}' AND upload = 'u1'"
    late = "USING TIMESTAMP 2"
    first, second = (f"{of} AND part = {part}" for part in (0, 1))
    changes: dict[str, tuple[str, list[object]]] = {
        "first part": (f"DELETE FROM {chunks} {late} WHERE {first}", []),
        "last part": (f"DELETE FROM {chunks} {late} WHERE {second}", []),
        "chunk": (f"DELETE FROM {chunks} {late} WHERE {first} AND chunk = 3", []),
        "bytes": (f"UPDATE {chunks} {late} SET data = %s WHERE {first} AND chunk = 3", [bytes(CHUNK_BYTES)]),
        "list": (f"UPDATE {chunks} {late} SET data = %s WHERE {first} AND chunk = 0", [b"[]" * 200]),
        "more": (
            f"INSERT INTO {chunks} (tenant, upload, part, chunk, data) VALUES (%s, 'u1', 1, 9, 0x00) USING TIMESTAMP 1",
            [ACME],
        ),
        "manifest": (
            f"UPDATE {bundles} SET manifest = %s WHERE tenant = '{ACME}' AND kind = 'bundle' AND name = %s IF EXISTS",
            [b'{"vars":{},"workflows":{"order":"main:Other"}}', digest],
        ),
    }
    changes["no manifest"] = (changes["manifest"][0], [b"{", digest])
    await session.execute(*changes[spoil])
    with pytest.raises(InternalError, match="deploy it again"):
        await pulled(b, digest)
    assert not any((nodes.folder / "b" / ACME).glob("*/*"))
    assert (await upload(a, files=LARGE)).digest == digest
    assert await pulled(b, digest) == LARGE
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})


async def test_a_pull_that_loses_its_bundle_meanwhile_says_so(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    digest = (await upload(a)).digest
    chunks: Any = b._chunks
    read = chunks.read

    async def deleted_meanwhile(*of: Any) -> AsyncGenerator[bytes]:
        await a.delete(ACME, digest)
        async with aclosing(read(*of)) as found:
            async for part in found:
                yield part

    async def replaced_meanwhile(*of: Any) -> AsyncGenerator[bytes]:
        await a.delete(ACME, digest)
        await upload(a)
        async with aclosing(read(*of)) as found:
            async for part in found:
                yield part

    monkeypatch.setattr(chunks, "read", deleted_meanwhile)
    with pytest.raises(NotFoundError):
        await pulled(b, digest)
    await upload(a)
    monkeypatch.setattr(chunks, "read", replaced_meanwhile)
    with pytest.raises(UnavailableError, match="deployed again"):
        await pulled(b, digest)


# The cache, and Cassandra


async def test_a_cache_has_room_for_so_many_bundles_and_what_made_room_is_read_again(nodes: CassandraNodes) -> None:
    a = await nodes.open("a", cache_bytes_max=30_000)
    digests = [(await upload(a, files={f"{number}.py": b"x"})).digest for number in range(6)]
    for number, digest in enumerate(digests):
        assert await pulled(a, digest) == {f"{number}.py": b"x"}
    assert [each.name for each in (nodes.folder / "a" / ACME).iterdir() if each.name == digests[0]] == []
    assert len(list((nodes.folder / "a" / ACME).iterdir())) == 3
    assert await pulled(a, digests[0]) == {"0.py": b"x"}


async def test_a_node_that_cassandra_does_not_answer_gives_out_what_it_has_and_tells_that_the_rest_is_away(
    cassandra: CassandraServers, nodes: CassandraNodes
) -> None:
    a = await nodes.open("a")
    here, there = (await upload(a)).digest, (await upload(a, files={"other.py": b""})).digest
    assert await pulled(a, here) == FILES
    incoming = await put(a, files={"new.py": b""})
    with cassandra.nodes[0].standing_still():
        assert await pulled(a, here) == FILES
        asked = (pulled(a, there), a.manifest(ACME, here), incoming.commit(MANIFEST), a.delete(ACME, here))
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in told] == [UnavailableError] * len(asked)
        await incoming.abandon()
    assert await answers(a)
    assert await pulled(a, there) == {"other.py": b""}


async def answers(store: CassandraBundleStore) -> bool:
    """Once Cassandra is back."""
    for _ in range(150):
        try:
            await store.sweep(OTHER)
        except UnavailableError:
            await asyncio.sleep(0.2)
        else:
            return True
    return False


async def test_a_decision_of_which_nobody_told_is_asked_for_again(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await nodes.open("a")
    driver: Any = a._session._session
    session: Any = CassandraSession(a._session._cluster, Forgetful(driver), a._session.keyspace)
    monkeypatch.setattr(a, "_session", session)
    assert await pulled(a, (await upload(a)).digest) == FILES
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u1")], {"u1"})
