"""Tokens open what they were minted for; an operator always has one, and never a pile."""

from __future__ import annotations

import pytest

from cluster import credentials, keys
from cluster.directory import Directory
from control_plane.limits import ControlLimits
from rpc.auth import Authenticator, Principal
from stepwell.errors import LimitExceededError, UnauthenticatedError
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
    assert await caller(setting, credential.text) == Principal(token.id, TenantId("acme"))


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
    assert refused.value.metadata == {"tenant": "acme", "limit": "tokens_max", "value": "2", "seen": "2"}
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
