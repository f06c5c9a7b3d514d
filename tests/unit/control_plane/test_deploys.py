"""A deploy is a version and all its routes, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster import keys
from control_plane.deploys import FileStart
from control_plane.limits import ControlLimits
from control_plane.turns import Turns
from stepwell.errors import (
    BundleRefusedError,
    LimitExceededError,
    NotFoundError,
    SandboxUnavailableError,
    UnavailableError,
)
from stepwell.names import Digest, TenantId, TenantUid, WorkflowId
from tests.unit.control_plane.settings import Setting, accept, files, manifest

ACME = TenantId("acme")


async def acme(limits: ControlLimits | None = None) -> Setting:
    setting = Setting(limits)
    await setting.tenants.create(ACME)
    return setting


async def nothing_is_left(setting: Setting) -> bool:
    uid = (await setting.tenants.get(ACME)).uid
    stored = [*await setting.store.range("version", limit=9), *await setting.store.range(keys.routes(uid), limit=9)]
    return not (stored or setting.bundles.kept or setting.bundles.uploads)


async def test_a_deploy_makes_a_version_and_routes_its_workflows() -> None:
    setting = await acme()
    deployed = await setting.deploy(ACME, "code", "order", "bill")
    uid = deployed.version.tenant_uid
    assert deployed.created
    assert deployed.warnings == ()
    assert await setting.versions.get(uid, deployed.version.digest) == deployed.version
    assert deployed.version.entrypoints == (("bill", "main:Bill"), ("order", "main:Order"))
    assert (deployed.version.file_count, deployed.version.size_bytes) == (1, 4)
    for route in deployed.routes:
        assert await setting.workflows.get(uid, route.workflow) == route
        assert route.digest == deployed.version.digest
    assert [route.workflow for route in deployed.routes] == ["bill", "order"]
    assert not setting.bundles.uploads


async def test_version_and_routes_are_one_transaction() -> None:
    setting = await acme()
    deployed = await setting.deploy(ACME, "code", "a", "b", "c")
    stored = await setting.store.get(keys.version(deployed.version.tenant_uid, deployed.version.digest))
    assert stored is not None
    assert {route.mod_revision for route in deployed.routes} == {stored.mod_revision}


async def test_the_same_bundle_again_is_the_same_version_unchecked_and_unchanged() -> None:
    setting = await acme()
    first = await setting.deploy(ACME, "code", "order")
    written = await setting.written()
    again = await setting.deploy(ACME, "code", "order")
    assert not again.created
    assert (again.version, again.routes) == (first.version, first.routes)
    assert len(setting.check.asked) == 1
    assert await setting.written() == written


async def test_deploying_an_older_version_again_routes_back_to_it() -> None:
    setting = await acme()
    first = await setting.deploy(ACME, "one", "order")
    await setting.deploy(ACME, "two", "order")
    back = await setting.deploy(ACME, "one", "order")
    assert not back.created
    assert back.routes[0].digest == first.version.digest
    assert back.routes[0].created_at_ms == first.routes[0].created_at_ms
    assert back.routes[0].updated_at_ms > first.routes[0].updated_at_ms
    assert back.routes[0].mod_revision == await setting.store.revision()


async def test_workflows_that_a_version_no_longer_has_keep_their_route_with_a_warning() -> None:
    setting = await acme()
    first = await setting.deploy(ACME, "one", "order", "bill")
    second = await setting.deploy(ACME, "two", "order")
    assert len(second.warnings) == 1
    assert "'bill' is not in this version" in second.warnings[0]
    bill = await setting.workflows.get(first.version.tenant_uid, WorkflowId("bill"))
    assert bill.digest == first.version.digest


async def test_warnings_are_bounded() -> None:
    setting = await acme(ControlLimits(warnings_max=3))
    await setting.deploy(ACME, "one", *(f"w{n}" for n in range(9)))
    warnings = (await setting.deploy(ACME, "two", "w0")).warnings
    assert len(warnings) == 3
    assert "6 more" in warnings[-1]


async def test_two_tenants_share_nothing() -> None:
    setting = await acme()
    await setting.tenants.create(TenantId("globex"))
    ours = await setting.deploy(ACME, "same", "order")
    theirs = await setting.deploy("globex", "same", "order")
    assert theirs.created
    assert theirs.version.digest == ours.version.digest
    await setting.deploy("globex", "other", "order")
    assert (await setting.workflows.get(ours.version.tenant_uid, WorkflowId("order"))) == ours.routes[0]


async def test_a_bundle_that_fails_its_check_leaves_nothing() -> None:
    setting = await acme()

    async def refuse(tenant: TenantUid, digest: Digest) -> None:
        assert (tenant, digest) in setting.bundles.kept
        raise BundleRefusedError("main.py, line 3: no")

    setting.check.answer = refuse
    with pytest.raises(BundleRefusedError, match="line 3"):
        await setting.deploy(ACME, "bad", "order")
    assert await nothing_is_left(setting)


async def test_a_check_that_nobody_could_make_leaves_nothing() -> None:
    setting = await acme()

    async def absent(tenant: TenantUid, digest: Digest) -> None:
        raise SandboxUnavailableError("no sandbox")

    setting.check.answer = absent
    with pytest.raises(SandboxUnavailableError):
        await setting.deploy(ACME, "code", "order")
    assert await nothing_is_left(setting)


async def hang(*_: Any) -> None:
    await asyncio.Event().wait()


async def test_a_check_that_does_not_end_is_given_up() -> None:
    setting = await acme(ControlLimits(check_seconds_max=0.001))
    setting.check.answer = hang
    with pytest.raises(SandboxUnavailableError, match=r"0\.001 seconds"):
        await setting.deploy(ACME, "code", "order")
    assert await nothing_is_left(setting)


async def test_an_upload_that_does_not_end_is_given_up() -> None:
    setting = await acme(ControlLimits(upload_seconds_max=0.001))

    async def endless() -> AsyncIterator[FileStart | bytes]:
        yield FileStart("main.py", False)
        await hang()

    with pytest.raises(LimitExceededError, match=r"0\.001 seconds"):
        await setting.deploys.deploy(await setting.tenants.get(ACME), manifest("order"), endless())
    assert await nothing_is_left(setting)


async def test_a_cancelled_deploy_leaves_nothing() -> None:
    setting = await acme()
    setting.check.answer = hang
    async with asyncio.TaskGroup() as group:
        deploying = group.create_task(setting.deploy(ACME, "code", "order"))
        while not setting.check.asked:  # noqa: ASYNC110  the check is reached after a bounded number of turns
            await asyncio.sleep(0)
        deploying.cancel()
    assert await nothing_is_left(setting)


async def test_a_bundle_whose_transaction_may_have_happened_is_kept() -> None:
    setting = await acme()

    async def accept_then_lose_the_store(tenant: TenantUid, digest: Digest) -> None:
        setting.store.broken = True

    setting.check.answer = accept_then_lose_the_store
    with pytest.raises(UnavailableError):
        await setting.deploy(ACME, "code", "order")
    assert len(setting.bundles.kept) == 1
    setting.store.broken, setting.check.answer = False, accept
    assert (await setting.deploy(ACME, "code", "order")).created


async def test_a_bad_manifest_is_refused_before_anything_is_uploaded() -> None:
    setting = await acme()
    read = False

    async def unread() -> AsyncIterator[FileStart | bytes]:
        nonlocal read
        read = True
        yield b""

    with pytest.raises(BundleRefusedError):
        await setting.deploys.deploy(await setting.tenants.get(ACME), manifest("-bad"), unread())
    assert not read
    assert await nothing_is_left(setting)


@pytest.mark.parametrize(
    ("limits", "name"),
    [(ControlLimits(versions_max=2), "versions_max"), (ControlLimits(versions_bytes_max=10), "versions_bytes_max")],
)
async def test_a_tenant_has_a_bounded_number_of_versions(limits: ControlLimits, name: str) -> None:
    setting = await acme(limits)
    first = await setting.deploy(ACME, "one", "order")
    await setting.deploy(ACME, "two", "order")
    with pytest.raises(LimitExceededError) as refused:
        await setting.deploy(ACME, "three", "order")
    assert refused.value.metadata["limit"] == name
    assert len(setting.bundles.kept) == 2
    again = await setting.deploy(ACME, "one", "order")
    assert again.version == first.version


async def test_a_tenant_has_a_bounded_number_of_workflows() -> None:
    setting = await acme(ControlLimits(workflows_max=2))
    await setting.deploy(ACME, "one", "a", "b")
    with pytest.raises(LimitExceededError, match="would have 3 workflows"):
        await setting.deploy(ACME, "two", "c")
    assert len(setting.bundles.kept) == 1
    await setting.deploy(ACME, "three", "b", "a")


async def test_a_tenant_has_a_bounded_number_of_deploys_under_way() -> None:
    setting = await acme(ControlLimits(deploys_at_once_max=1))
    tenant = await setting.tenants.get(ACME)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[FileStart | bytes]:
        begun.set()
        await goes_on.wait()
        async for part in files(main="code"):
            yield part

    first = asyncio.create_task(setting.deploys.deploy(tenant, manifest("order"), slowly()))
    await begun.wait()
    with pytest.raises(LimitExceededError) as refused:
        await setting.deploy(ACME, "other", "order")
    assert (refused.value.metadata["limit"], refused.value.metadata["seen"]) == ("deploys_at_once_max", "2")
    goes_on.set()
    assert (await first).created
    assert (await setting.deploy(ACME, "other", "order")).created


async def test_many_deploys_at_once_end_with_the_routes_of_one_of_them() -> None:
    setting = await acme(ControlLimits(deploys_at_once_max=6))
    tenant = await setting.tenants.get(ACME)
    codes = [f"code {n}" for n in range(6)]
    await asyncio.gather(*(setting.deploys.deploy(tenant, manifest("a", "b"), files(main=code)) for code in codes))
    digests = {route.digest for route in (await setting.workflows.list(tenant.uid, 9)).items}
    assert len(digests) == 1
    assert len((await setting.versions.list(tenant.uid, 9)).items) == 6


async def test_the_same_bundle_twice_at_once_is_checked_once() -> None:
    setting = await acme()
    both = await asyncio.gather(*(setting.deploy(ACME, "code", "order") for _ in range(2)))
    assert sorted(deployed.created for deployed in both) == [False, True]
    assert len(setting.check.asked) == 1


async def test_versions_are_listed_newest_first_in_pages() -> None:
    setting = await acme()
    deployed = [await setting.deploy(ACME, f"code {n}", "order") for n in range(5)]
    uid = deployed[0].version.tenant_uid
    seen: list[str] = []
    position = ""
    while position or not seen:
        page = await setting.versions.list(uid, 2, position)
        assert len(page.items) <= 2
        seen += [version.digest for version in page.items]
        position = page.position
    assert seen == [each.version.digest for each in reversed(deployed)]


async def test_a_page_of_large_versions_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.versions.PAGE_BYTES_MAX", 1)
    setting = await acme()
    await setting.deploy(ACME, "one", "order")
    uid = (await setting.deploy(ACME, "two", "order")).version.tenant_uid
    first = await setting.versions.list(uid, 10)
    second = await setting.versions.list(uid, 10, first.position)
    assert [len(first.items), len(second.items), second.position] == [1, 1, ""]


async def test_an_unknown_version_or_workflow_is_not_found() -> None:
    setting = await acme()
    uid = (await setting.tenants.get(ACME)).uid
    with pytest.raises(NotFoundError):
        await setting.versions.get(uid, Digest("sha256-0"))
    with pytest.raises(NotFoundError, match="deploy a bundle"):
        await setting.workflows.get(uid, WorkflowId("order"))


async def test_turns_are_forgotten_when_nobody_wants_them() -> None:
    turns = Turns()
    order: list[str] = []

    async def work(key: str, name: str) -> None:
        async with turns.of(key):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(work("k", "first"), work("k", "second"))
    assert order == ["first begins", "first ends", "second begins", "second ends"]
    assert len(turns) == 0
