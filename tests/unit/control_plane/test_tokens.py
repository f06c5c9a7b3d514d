"""Tokens open what they were minted for; an operator always has one, and never a pile."""

from __future__ import annotations

import asyncio

import pytest

from cluster import credentials, keys
from cluster.directory import Directory
from cluster.records import Scope
from cluster.store import Put
from control_plane.limits import ControlLimits
from rpc import rights
from rpc.auth import Authenticator, Principal
from rpc.rights import Right
from stepwell.errors import LimitExceededError, NotFoundError, UnauthenticatedError, WrongStateError
from stepwell.names import TenantId
from tests.unit.control_plane.settings import Setting


async def caller(setting: Setting, text: str) -> Principal:
    """Who a server takes the holder of that token for."""
    directory = Directory(setting.store, monotonic_s=lambda: 0.0)
    return await Authenticator(directory).authenticate((("authorization", f"Bearer {text}"),))


async def test_a_tenants_token_speaks_for_that_tenant() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    token, credential = await setting.tokens.mint(tenant)
    assert await caller(setting, credential.text) == Principal(token.id, TenantId("acme"), rights.tenants(tuple(Scope)))


async def test_no_secret_is_stored() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    _, credential = await setting.tokens.mint(tenant)
    operators = credentials.parse(await setting.tokens.operator_token())
    assert operators is not None
    for stored in await setting.store.range("", limit=999):
        for secret in (credential.secret, operators.secret):
            assert secret not in stored.key
            assert secret.encode() not in stored.value


async def test_a_tenant_has_a_bounded_number_of_tokens() -> None:
    setting = Setting(ControlLimits(tokens_max=2))
    tenant, other = [await setting.tenants.create(TenantId(name)) for name in ("acme", "globex")]
    for _ in range(2):
        await setting.tokens.mint(tenant)
    with pytest.raises(LimitExceededError) as refused:
        await setting.tokens.mint(tenant)
    assert refused.value.metadata == {"tenant": "acme", "limit": "tokens_max", "value": "2", "seen": "3"}
    await setting.tokens.mint(other)


async def test_the_first_start_mints_an_operators_token() -> None:
    setting = Setting()
    text = await setting.tokens.operator_token()
    assert (await caller(setting, text)).tenant is None


async def test_an_operators_token_that_is_known_still_is_kept() -> None:
    setting = Setting()
    text = await setting.tokens.operator_token()
    revision = await setting.store.revision()
    assert await setting.tokens.operator_token(text) == text
    assert await setting.store.revision() == revision


async def test_what_is_no_operators_token_is_replaced() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    _, tenants = await setting.tokens.mint(tenant)
    operators = await setting.tokens.operator_token()
    for known in ("", "nonsense", tenants.text, operators[:-1] + "x", operators[:-64] + "0" * 64):
        new = await setting.tokens.operator_token(known)
        assert new != known
        assert (await caller(setting, new)).tenant is None


async def test_of_an_operators_many_tokens_the_oldest_gives_way() -> None:
    setting = Setting(ControlLimits(tokens_max=3))
    minted = [await setting.tokens.operator_token() for _ in range(5)]
    for text in minted[:2]:
        with pytest.raises(UnauthenticatedError):
            await caller(setting, text)
    for text in minted[2:]:
        await caller(setting, text)
    assert len(await setting.store.range(keys.tokens_of(None), limit=99)) == 3
    assert len(await setting.store.range("token/", limit=99)) == 3


async def test_a_token_keeps_the_scopes_that_it_was_minted_with() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    _, reader = await setting.tokens.mint(tenant, (Scope.READ, Scope.READ))
    assert (await caller(setting, reader.text)).rights == {Right.ANY, Right.READ}
    (token,) = (await setting.tokens.list(tenant.uid, 10)).items
    assert token.scopes == (Scope.READ,)


async def test_a_record_from_before_there_were_scopes_means_all_of_them() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    token, credential = await setting.tokens.mint(tenant, (Scope.READ,))
    old = (
        f'[1,{{"id":"{token.id}","secret_sha256":"{token.secret_sha256}","tenant":"acme",'
        f'"tenant_uid":"{tenant.uid}","created_at_ms":1}}]'
    )
    await setting.store.txn((), (Put(keys.token(token.id), old.encode()),))
    assert (await caller(setting, credential.text)).rights == frozenset(Right) - {Right.OPERATE}


async def test_an_operators_token_is_minted_and_listed_beside_the_others_oldest_first() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    await setting.tokens.operator_token()
    minted = [(await setting.tokens.mint(None))[0] for _ in range(3)]
    await setting.tokens.mint(tenant)
    first = await setting.tokens.list(None, 2)
    second = await setting.tokens.list(None, 2, first.position)
    assert [token.id for token in (*first.items, *second.items)][1:] == [token.id for token in minted]
    assert second.position == ""


async def test_a_revoked_token_opens_nothing_and_is_listed_no_more() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    token, credential = await setting.tokens.mint(tenant)
    kept, _ = await setting.tokens.mint(tenant)
    assert await setting.tokens.revoke(tenant.uid, token.id) == await setting.store.revision()
    with pytest.raises(UnauthenticatedError):
        await caller(setting, credential.text)
    assert [each.id for each in (await setting.tokens.list(tenant.uid, 10)).items] == [kept.id]
    with pytest.raises(NotFoundError):
        await setting.tokens.revoke(tenant.uid, token.id)


async def test_a_revocation_is_heard_by_a_directory_that_remembered_the_token() -> None:
    setting = Setting()
    tenant = await setting.tenants.create(TenantId("acme"))
    token, _ = await setting.tokens.mint(tenant)
    directory = Directory(setting.store, monotonic_s=asyncio.get_running_loop().time)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(directory.run())
        await directory.heard(await setting.store.revision())
        for _ in range(20):
            await asyncio.sleep(0)
        assert await directory.token(token.id) == token
        async with asyncio.timeout(5):
            await directory.heard(await setting.tokens.revoke(tenant.uid, token.id))
        assert await directory.token(token.id) is None
        following.cancel()


async def test_a_token_is_revoked_in_its_owners_name_only() -> None:
    setting = Setting()
    acme, globex = [await setting.tenants.create(TenantId(name)) for name in ("acme", "globex")]
    token, credential = await setting.tokens.mint(acme)
    await setting.tokens.operator_token()
    for owner in (globex.uid, None):
        with pytest.raises(NotFoundError):
            await setting.tokens.revoke(owner, token.id)
    await caller(setting, credential.text)


async def test_the_operators_last_token_can_not_be_revoked() -> None:
    setting = Setting()
    last = credentials.parse(await setting.tokens.operator_token())
    assert last is not None
    with pytest.raises(WrongStateError, match="create the new one first"):
        await setting.tokens.revoke(None, last.id)
    another, _ = await setting.tokens.mint(None)
    await setting.tokens.revoke(None, last.id)
    with pytest.raises(WrongStateError):
        await setting.tokens.revoke(None, another.id)


async def test_a_token_that_an_operator_asked_for_never_gives_way_to_one_of_a_start() -> None:
    setting = Setting(ControlLimits(tokens_max=3))
    asked_for = [(await setting.tokens.mint(None))[1] for _ in range(3)]
    with pytest.raises(LimitExceededError) as refused:
        await setting.tokens.mint(None)
    assert refused.value.metadata == {"limit": "tokens_max", "value": "3", "seen": "4"}
    for _ in range(3):
        newest = await setting.tokens.operator_token()
    for text in (newest, *(credential.text for credential in asked_for)):
        await caller(setting, text)
    assert len(await setting.store.range("token/", limit=99)) == 4
