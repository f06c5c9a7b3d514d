"""A route is set to a version that has its workflow, unless somebody was faster; a deploy may leave routes alone."""

from __future__ import annotations

import pytest

from cluster import keys
from cluster.generations import bucket_of
from cluster.records import Tenant
from control_plane.limits import ControlLimits
from control_plane.routes import Routes, Share
from stepwell.errors import ConflictError, LimitExceededError, NotFoundError
from stepwell.names import Digest, TenantId, WorkflowId
from tests.unit.control_plane.settings import Setting

ACME = TenantId("acme")
ORDER, BILL = WorkflowId("order"), WorkflowId("bill")


async def acme(limits: ControlLimits | None = None) -> tuple[Setting, Tenant, Routes]:
    setting = Setting(limits)
    tenant = await setting.tenants.create(ACME)
    return setting, tenant, Routes(setting.store, clock_ms=setting.clock_ms, limits=setting.limits)


async def test_new_instances_can_be_routed_back_to_an_older_version() -> None:
    setting, tenant, routes = await acme()
    old = await setting.deploy(ACME, "one", "order", "bill")
    new = await setting.deploy(ACME, "two", "order", "bill")
    route = await routes.set(tenant, ORDER, [Share(old.version.digest)])
    assert (route.digest, route.entrypoint) == (old.version.digest, "main:Order")
    assert await setting.workflows.get(tenant.uid, ORDER) == route
    assert route.mod_revision == await setting.store.revision()
    assert route.created_at_ms == new.routes[1].created_at_ms
    assert (await setting.workflows.get(tenant.uid, BILL)).digest == new.version.digest


async def test_a_change_of_a_route_moves_its_tenants_generation_in_the_same_transaction() -> None:
    setting, tenant, routes = await acme()
    old = await setting.deploy(ACME, "one", "order")
    await setting.deploy(ACME, "two", "order")
    route = await routes.set(tenant, ORDER, [Share(old.version.digest)])
    generation = await setting.store.get(keys.generation(bucket_of(tenant.uid)))
    assert generation is not None
    assert generation.mod_revision == route.mod_revision


async def test_a_route_that_leads_there_already_stays_as_it_is() -> None:
    setting, tenant, routes = await acme()
    deployed = await setting.deploy(ACME, "one", "order")
    written = await setting.written()
    assert await routes.set(tenant, ORDER, [Share(deployed.version.digest)]) == deployed.routes[0]
    assert await setting.written() == written


async def test_a_version_that_is_not_there_or_has_not_the_workflow_is_refused() -> None:
    setting, tenant, routes = await acme()
    deployed = await setting.deploy(ACME, "one", "order")
    revision = await setting.store.revision()
    with pytest.raises(NotFoundError, match="no version"):
        await routes.set(tenant, ORDER, [Share(Digest("sha256-" + "0" * 64))])
    with pytest.raises(NotFoundError, match="has no workflow 'bill'"):
        await routes.set(tenant, BILL, [Share(deployed.version.digest)])
    stranger = await setting.tenants.create(TenantId("globex"))
    with pytest.raises(NotFoundError, match="no version"):
        await routes.set(stranger, ORDER, [Share(deployed.version.digest)])
    assert await setting.store.revision() == revision + 1


async def test_an_etag_lets_one_of_two_through() -> None:
    setting, tenant, routes = await acme()
    old = await setting.deploy(ACME, "one", "order")
    etag = str((await setting.deploy(ACME, "two", "order")).routes[0].mod_revision)
    route = await routes.set(tenant, ORDER, [Share(old.version.digest)], etag)
    for stale in (etag, "0", "nonsense"):
        with pytest.raises(ConflictError, match="look at it again"):
            await routes.set(tenant, ORDER, [Share(old.version.digest)], stale)
    assert await setting.workflows.get(tenant.uid, ORDER) == route


async def test_a_deploy_without_routes_keeps_its_version_and_leaves_them_alone() -> None:
    setting, tenant, routes = await acme()
    old = await setting.deploy(ACME, "one", "order", "bill")
    new = await setting.deploy(ACME, "two", "order", "pack", no_route=True)
    assert new.created
    assert new.warnings == ()
    assert new.routes == (old.routes[1],)
    assert await setting.workflows.get(tenant.uid, ORDER) == old.routes[1]
    with pytest.raises(NotFoundError, match="or set its route"):
        await setting.workflows.get(tenant.uid, WorkflowId("pack"))
    assert (await routes.set(tenant, WorkflowId("pack"), [Share(new.version.digest)])).entrypoint == "main:Pack"
    again = await setting.deploy(ACME, "two", "order", "pack", no_route=True)
    assert not again.created
    assert len(again.routes) == 2


async def test_an_etag_is_of_no_route_that_is_not_there() -> None:
    setting, tenant, routes = await acme()
    new = await setting.deploy(ACME, "one", "order", no_route=True)
    with pytest.raises(ConflictError):
        await routes.set(tenant, ORDER, [Share(new.version.digest)], "1")
    assert (await routes.set(tenant, ORDER, [Share(new.version.digest)])).digest == new.version.digest


async def test_routes_set_one_by_one_are_bounded_too() -> None:
    setting, tenant, routes = await acme(ControlLimits(workflows_max=1))
    new = await setting.deploy(ACME, "one", "order", "bill", no_route=True)
    await routes.set(tenant, ORDER, [Share(new.version.digest)])
    with pytest.raises(LimitExceededError) as refused:
        await routes.set(tenant, BILL, [Share(new.version.digest)])
    assert refused.value.metadata == {"tenant": "acme", "limit": "workflows_max", "value": "1", "seen": "2"}
