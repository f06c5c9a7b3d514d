"""Tenants are made once each, whoever asks twice."""

from __future__ import annotations

import asyncio

import pytest

from cluster.tenant_uids import spread_of
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from stepwell.names import TenantId
from tests.unit.control_plane.settings import Setting

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
SPREAD = 8


async def test_a_made_tenant_is_found() -> None:
    setting = Setting()
    made = await setting.tenants.create(ACME)
    assert await setting.tenants.get(ACME) == made
    assert made.uid


async def test_a_tenants_uid_says_how_far_its_instances_are_spread() -> None:
    setting = Setting()
    assert spread_of((await setting.tenants.create(ACME)).uid) == 1
    made = await setting.tenants.create(GLOBEX, "r1", spread=SPREAD)
    assert spread_of(made.uid) == SPREAD
    assert await setting.tenants.create(GLOBEX, "r1", spread=SPREAD) == made
    with pytest.raises(InvalidArgumentError, match="another request"):
        await setting.tenants.create(GLOBEX, "r1")


@pytest.mark.parametrize("spread", [0, -1, 3, 2_048])
async def test_what_can_not_be_a_spread_is_refused(spread: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"power of two from 1 to 1,024, not {spread}"):
        await Setting().tenants.create(ACME, spread=spread)


async def test_an_unknown_tenant_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="'acme'"):
        await Setting().tenants.get(ACME)


async def test_an_id_that_is_taken_is_refused() -> None:
    setting = Setting()
    await setting.tenants.create(ACME, "r1")
    for request_id in ("", "r2"):
        with pytest.raises(AlreadyExistsError):
            await setting.tenants.create(ACME, request_id)


async def test_a_repeated_request_gets_the_first_answer() -> None:
    setting = Setting()
    first = await setting.tenants.create(ACME, "r1")
    assert await setting.tenants.create(ACME, "r1") == first


async def test_a_request_id_that_was_used_for_another_tenant_is_refused() -> None:
    setting = Setting()
    await setting.tenants.create(ACME, "r1")
    with pytest.raises(InvalidArgumentError) as refused:
        await setting.tenants.create(GLOBEX, "r1")
    assert refused.value.metadata["field"] == "request_id"
    with pytest.raises(NotFoundError):
        await setting.tenants.get(GLOBEX)


async def test_of_many_at_once_one_makes_the_tenant() -> None:
    setting = Setting()
    answers = await asyncio.gather(*(setting.tenants.create(ACME) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, AlreadyExistsError) for answer in answers) == 4


async def test_many_at_once_with_one_request_get_one_answer() -> None:
    setting = Setting()
    assert len(set(await asyncio.gather(*(setting.tenants.create(ACME, "r1") for _ in range(5))))) == 1


async def test_tenants_are_listed_by_id_in_pages() -> None:
    setting = Setting()
    for name in ("d", "a", "c", "b", "e"):
        await setting.tenants.create(TenantId(name))
    seen: list[list[str]] = []
    position = ""
    while position or not seen:
        page = await setting.tenants.list(2, position)
        seen.append([tenant.id for tenant in page.items])
        position = page.position
    assert seen == [["a", "b"], ["c", "d"], ["e"]]
