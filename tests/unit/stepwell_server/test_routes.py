"""What a new instance gets by its workflow's route: a version, and what that says of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from cluster import keys
from cluster.codec import encode
from cluster.directory import Directory
from cluster.records import Route, Target, Version
from cluster.store import Delete, Put
from stepwell.errors import NotFoundError
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits
from stepwell_server.routes import DirectoryRoutes
from tests.contract.memory_store import MemoryStore

UID, ORDER = TenantUid("u1"), WorkflowId("order")
PLAIN, SAYING = Digest("sha256-" + "0" * 64), Digest("sha256-" + "1" * 64)
WEEK = Retention(7 * 86_400_000)


class Setting:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.directory = Directory(self.store, monotonic_s=time.monotonic)
        self.routes = DirectoryRoutes(self.directory)

    async def put(self, version: Version) -> None:
        await self.store.txn((), (Put(keys.version(UID, version.digest), encode(version)),))

    async def route(self, digest: Digest, weight: int = 100, *others: Target) -> None:
        route = Route(UID, ORDER, digest, "main:Order", 0, 0, weight=weight, others=others)
        await self.store.txn((), (Put(keys.route(UID, ORDER), encode(route)),))


@pytest.fixture
async def setting() -> Setting:
    made = Setting()
    plain = Version(UID, PLAIN, ((ORDER, "main:Order"),), {}, 0, 1, 1)
    await made.put(plain)
    await made.put(
        replace(
            plain,
            digest=SAYING,
            retentions=((ORDER, WEEK), (WorkflowId("other"), Retention(1))),
            limits=((ORDER, WorkflowLimits(steps=5)),),
        )
    )
    return made


async def test_each_version_of_a_route_brings_what_it_says(setting: Setting) -> None:
    await setting.route(PLAIN, 50, Target(SAYING, "main:Order", 50))
    choose = await setting.routes.routed(UID, ORDER)
    got = {choose(InstanceId(f"i{number}")) for number in range(100)}
    assert {(each.digest, each.retention, each.limits) for each in got} == {
        (PLAIN, NOT_SAID, UNLIMITED),
        (SAYING, WEEK, WorkflowLimits(steps=5)),
    }


async def test_what_a_version_says_is_read_once_and_its_route_last(setting: Setting) -> None:
    await setting.route(SAYING)
    reading = asyncio.create_task(setting.directory.run())
    for _ in range(20):
        await asyncio.sleep(0)
    await setting.routes.routed(UID, ORDER)
    before = setting.store.reads
    for number in range(3):
        assert (await setting.routes.routed(UID, ORDER))(InstanceId(f"i{number}")).retention == WEEK
    assert setting.store.reads == before
    reading.cancel()


async def test_a_migration_brings_the_new_versions_and_no_version_is_refused(setting: Setting) -> None:
    assert (await setting.routes.on_version(UID, ORDER, SAYING)).limits == WorkflowLimits(steps=5)
    await setting.route(SAYING)
    await setting.store.txn((), (Delete(keys.version(UID, SAYING)),))
    with pytest.raises(NotFoundError):
        await setting.routes.routed(UID, ORDER)
