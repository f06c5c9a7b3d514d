"""What the Cassandra adapter owes beside the bundle store's port: deploys that meet, die and are given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loader.bundles.cassandra.tables import Statements
from loader.bundles.store_cassandra import DEAD_AFTER_MS, CassandraBundleStore
from stepwell.errors import NotFoundError, UnavailableError
from tests.contract.bundle_worlds import (
    ACME,
    FILES,
    LARGE,
    MANIFEST,
    OTHER,
    CassandraNodes,
    left_over,
    named,
    pulled,
    put,
    rows,
    stored,
    upload,
)
from tests.contract.cassandra_server import ON_ONE_WORKER

pytestmark = ON_ONE_WORKER


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

    async def keep_second(*of: Any) -> bool:
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

    async def keep_late(*of: Any) -> bool:
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
        committing = group.create_task(incoming.commit(MANIFEST, left_over))
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


async def test_left_over_bytes_give_way_in_one_step_and_go(nodes: CassandraNodes) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    first, second = await put(a, files=LARGE), await put(b, files=LARGE)
    await first.commit(MANIFEST, left_over)
    digest = (await second.commit(MANIFEST, left_over)).digest
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})
    await first.abandon()
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2")], {"u2"})
    assert await pulled(await nodes.open("c"), digest) == LARGE
    await second.abandon()
    assert (await rows(nodes), await stored(nodes)) == ([], set())


async def test_a_commit_that_dies_once_its_bytes_took_a_place_leaves_what_was_there_to_a_later_one(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    await (await put(a)).commit(MANIFEST, left_over)
    dies(b, monkeypatch, "_clear")
    with pytest.raises(RuntimeError, match="killed"):
        await (await put(b)).commit(MANIFEST, left_over)
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2"), ("upload", "u1")], {"u1", "u2"})
    await upload(a, files={"other.py": b""})
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u2"), ("bundle", "u3")], {"u2", "u3"})


async def test_a_commit_of_a_named_bundle_that_is_cancelled_once_it_is_kept_leaves_it(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have been told meanwhile that it is there."""
    a = await nodes.open("a")
    reached = hangs(a, monkeypatch, "keep")
    incoming = await put(a)
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(incoming.commit(MANIFEST, named))
        await reached.wait()
        committing.cancel()
    await incoming.abandon()
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u1")], {"u1"})


async def test_a_commit_that_was_given_up_while_others_bytes_stood_there_takes_no_place(
    nodes: CassandraNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await nodes.open("a"), await nodes.open("b")
    digest = (await upload(b)).digest
    keep = a.keep

    async def keep_late(*of: Any) -> bool:
        nodes.now += DEAD_AFTER_MS + 1
        await upload(b, files={"other.py": b""})
        return await keep(*of)

    monkeypatch.setattr(a, "keep", keep_late)
    incoming = await put(a)
    with pytest.raises(UnavailableError, match="deploy again"):
        await incoming.commit(MANIFEST, left_over)
    await incoming.abandon()
    assert (await rows(nodes), await stored(nodes)) == ([("bundle", "u1"), ("bundle", "u3")], {"u1", "u3"})
    assert await pulled(await nodes.open("c"), digest) == FILES
