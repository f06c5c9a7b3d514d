"""What the Cassandra adapter owes beside the bundle store's port: other nodes, bytes that are not what was uploaded, a
cache within bounds, a Cassandra that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from cassandra import OperationTimedOut

from cluster.cassandra.session import CassandraSession
from loader.bundles.cassandra.tables import CHUNK_BYTES
from loader.bundles.store_cassandra import CassandraBundleStore
from stepwell.errors import InternalError, NotFoundError, UnavailableError
from stepwell.names import TenantUid
from tests.contract.bundle_worlds import (
    ACME,
    FILES,
    LARGE,
    MANIFEST,
    OTHER,
    CassandraNodes,
    pulled,
    put,
    rows,
    stored,
    upload,
)
from tests.contract.cassandra_server import ON_ONE_WORKER, CassandraServers

pytestmark = ON_ONE_WORKER


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


class Forgetful:
    """The driver's session, but every other conditional statement is done, and nobody told of it."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._forgets = False

    def execute_async(self, bound: Any, *of: Any, **more: Any) -> Any:
        sent = self._driver.execute_async(bound, *of, **more)
        if " IF " not in bound.prepared_statement.query_string:
            return sent
        self._forgets = not self._forgets
        return Forgotten(sent) if self._forgets else sent


class Forgotten:
    def __init__(self, sent: Any) -> None:
        self._sent = sent

    def add_callbacks(self, answered: Any, failed: Any) -> None:
        self._sent.add_callbacks(lambda _: failed(OperationTimedOut("nobody told")), failed)
