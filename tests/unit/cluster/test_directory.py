"""Look-ups are remembered, dropped when their tenant changes, and not trusted when the watch is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from cluster import directory as directory_module
from cluster import keys
from cluster.codec import encode
from cluster.directory import Directory
from cluster.generations import bucket_of
from cluster.records import Route, Tenant, Token, Version
from cluster.store import Delete, Operation, Put
from stepwell.errors import NotFoundError, UnavailableError
from stepwell.names import Digest, TenantId, TenantUid, WorkflowId
from tests.contract.memory_store import MemoryStore

ACME = Tenant(TenantId("acme"), TenantUid("u1"), 1)
ORDER = WorkflowId("order")
DIGEST = Digest("sha256-" + "0" * 64)


class Setting:
    """A directory that runs over a store in memory, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 0.0
        self.directory = Directory(self.store, monotonic_s=lambda: self.now, staleness_s=15)

    async def write(self, *operations: Operation, uid: TenantUid | None = ACME.uid) -> None:
        await self.store.txn((), (Put(keys.generation(bucket_of(uid)), b""), *operations))

    async def route(self, digest: str) -> None:
        route = Route(ACME.uid, ORDER, Digest(digest), "main:Order", 1, 1)
        await self.write(Put(keys.route(ACME.uid, ORDER), encode(route)))

    async def reads_of(self, look_up: Callable[[], object]) -> int:
        """How often the store is asked by one look-up."""
        before = self.store.reads
        await look_up()  # type: ignore[misc]
        return self.store.reads - before

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.directory.run())
            await self.settled()
            yield
            task.cancel()

    async def settled(self) -> None:
        """Let the directory's watch hear all there is."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def setting() -> Setting:
    made = Setting()
    await made.write(Put(keys.tenant(ACME.id), encode(ACME)))
    await made.route("d1")
    return made


async def look_up_route(setting: Setting) -> Route:
    return await setting.directory.route(ACME.uid, ORDER)


async def test_a_second_look_up_asks_nobody(setting: Setting) -> None:
    async with setting.running():
        assert await setting.reads_of(lambda: look_up_route(setting)) == 1
        assert await setting.reads_of(lambda: look_up_route(setting)) == 0
        assert await setting.reads_of(lambda: setting.directory.tenant(ACME.id)) == 1
        assert await setting.reads_of(lambda: setting.directory.tenant(ACME.id)) == 0


async def test_a_change_to_the_tenant_is_seen(setting: Setting) -> None:
    async with setting.running():
        assert (await look_up_route(setting)).digest == "d1"
        await setting.route("d2")
        await setting.settled()
        assert (await look_up_route(setting)).digest == "d2"


async def test_a_change_to_another_tenant_drops_nothing(setting: Setting) -> None:
    async with setting.running():
        await look_up_route(setting)
        await setting.write(uid=TenantUid("another"))
        await setting.settled()
        assert await setting.reads_of(lambda: look_up_route(setting)) == 0


async def test_a_route_tells_its_etag(setting: Setting) -> None:
    assert (await look_up_route(setting)).mod_revision == await setting.store.revision()


async def test_without_its_watch_every_look_up_asks_the_store(setting: Setting) -> None:
    for _ in range(2):
        assert await setting.reads_of(lambda: look_up_route(setting)) == 1


async def test_a_silent_watch_makes_look_ups_ask_the_store_again(setting: Setting) -> None:
    async with setting.running():
        await look_up_route(setting)
        setting.now = 14.9
        assert await setting.reads_of(lambda: look_up_route(setting)) == 0
        setting.now = 15.0
        assert await setting.reads_of(lambda: look_up_route(setting)) == 1


async def test_a_remembered_route_is_refused_once_watch_and_store_are_gone(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "RETRY_DELAY_S", 0)
    async with setting.running():
        await look_up_route(setting)
        await setting.store.broken_now()
        await setting.settled()
        with pytest.raises(UnavailableError):
            await look_up_route(setting)
        setting.store.broken = False
        await setting.route("d2")
        await setting.settled()
        assert (await look_up_route(setting)).digest == "d2"
        assert await setting.reads_of(lambda: look_up_route(setting)) == 0


async def test_a_read_that_a_change_overtook_is_not_remembered(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with setting.running():
        old = await setting.store.get(keys.route(ACME.uid, ORDER))
        get, overtaken = setting.store.get, asyncio.Event()

        async def slow(key: str) -> object:
            await overtaken.wait()
            return old

        monkeypatch.setattr(setting.store, "get", slow)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(look_up_route(setting))
            await setting.settled()
            await setting.route("d2")
            await setting.settled()
            overtaken.set()
        assert reading.result().digest == "d1"
        monkeypatch.setattr(setting.store, "get", get)
        assert (await look_up_route(setting)).digest == "d2"


async def test_what_is_not_there_is_not_remembered(setting: Setting) -> None:
    async with setting.running():
        other = WorkflowId("other")
        with pytest.raises(NotFoundError, match="deploy a bundle"):
            await setting.directory.route(ACME.uid, other)
        route = Route(ACME.uid, other, DIGEST, "main:Other", 1, 1)
        await setting.store.txn((), (Put(keys.route(ACME.uid, other), encode(route)),))
        assert (await setting.directory.route(ACME.uid, other)).entrypoint == "main:Other"
        with pytest.raises(NotFoundError, match="no tenant 'nobody'"):
            await setting.directory.tenant(TenantId("nobody"))
        assert await setting.directory.token("0" * 16) is None


async def test_an_operators_token_is_remembered_and_dropped_with_the_operators_bucket(setting: Setting) -> None:
    token = Token("t1", "hash", None, None, 1)
    await setting.write(Put(keys.token("t1"), encode(token)), uid=None)
    async with setting.running():
        assert await setting.directory.token("t1") == token
        assert await setting.reads_of(lambda: setting.directory.token("t1")) == 0
        await setting.write(Delete(keys.token("t1")), uid=None)
        await setting.settled()
        assert await setting.directory.token("t1") is None


async def test_a_version_is_remembered_until_it_is_retired(setting: Setting) -> None:
    key, version = keys.version(ACME.uid, DIGEST), Version(ACME.uid, DIGEST, ((ORDER, "main:Order"),), {}, 1, 1, 1)
    await setting.write(Put(key, encode(version)))
    async with setting.running():
        assert await setting.directory.version(ACME.uid, DIGEST) == version
        assert await setting.reads_of(lambda: setting.directory.version(ACME.uid, DIGEST)) == 0
        with pytest.raises(NotFoundError):
            await setting.directory.version(TenantUid("another"), DIGEST)
        await setting.write(Put(key, encode(replace(version, retiring=True))))
        await setting.settled()
        assert (await setting.directory.version(ACME.uid, DIGEST)).retiring
        await setting.write(Delete(key))
        await setting.settled()
        with pytest.raises(NotFoundError):
            await setting.directory.version(ACME.uid, DIGEST)


async def test_memory_is_bounded_and_the_least_recently_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "ENTRIES_MAX", 2)
    setting = Setting()
    for name in ("a", "b", "c"):
        await setting.write(Put(keys.tenant(TenantId(name)), encode(Tenant(TenantId(name), TenantUid(name), 1))))
    async with setting.running():
        for name in ("a", "b", "a", "c"):
            await setting.directory.tenant(TenantId(name))
        assert await setting.reads_of(lambda: setting.directory.tenant(TenantId("a"))) == 0
        assert await setting.reads_of(lambda: setting.directory.tenant(TenantId("b"))) == 1
