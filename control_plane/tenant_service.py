"""TenantService of `stepwell.v1`: decodes, calls, encodes. For the operator alone, which the guard sees to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from cluster.directory import Directory
from cluster.records import Scope, Tenant, Token
from cluster.tenant_uids import spread_of
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from rpc.auth import principal
from rpc.paging import page_size, page_token, position
from rpc.resource_names import checked, parse_owner, parse_tenant, parse_token, tenant_name, token_name
from rpc.times import timestamp
from stepwell import names
from stepwell.errors import InvalidArgumentError
from stepwell.names import TenantId
from stepwell.v1 import tenants_pb2 as pb
from stepwell.v1.tenants_pb2_grpc import TenantServiceServicer

_LIST = "tenants"

_SCOPES = {
    pb.TOKEN_SCOPE_READ: Scope.READ,
    pb.TOKEN_SCOPE_RUN: Scope.RUN,
    pb.TOKEN_SCOPE_DEPLOY: Scope.DEPLOY,
}
_NUMBERS = {scope: number for number, scope in _SCOPES.items()}


class TenantService(TenantServiceServicer):
    def __init__(self, tenants: Tenants, tokens: Tokens, directory: Directory) -> None:
        self._tenants = tenants
        self._tokens = tokens
        self._directory = directory

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Any) -> pb.Tenant:
        tenant_id = checked(names.tenant_id, request.tenant_id, "tenant_id")
        request_id = checked(names.request_id, request.request_id, "request_id")
        return _encoded(await self._tenants.create(tenant_id, request_id, request.spread or 1))

    async def GetTenant(self, request: pb.GetTenantRequest, context: Any) -> pb.Tenant:
        return _encoded(await self._tenants.get(parse_tenant(request.name, principal(context))))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Any) -> pb.ListTenantsResponse:
        page = await self._tenants.list(page_size(request.page_size), position(_LIST, request.page_token))
        return pb.ListTenantsResponse(
            tenants=[_encoded(tenant) for tenant in page.items],
            next_page_token=page_token(_LIST, page.position) if page.position else "",
        )

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        scopes = _scopes(request.scopes)
        owner = await self._owner(parse_owner(request.parent, principal(context)))
        if owner is None and request.scopes:
            raise InvalidArgumentError(
                "scopes: an operator's token may do everything and takes none; name a tenant as its parent",
                field="scopes",
            )
        token, credential = await self._tokens.mint(owner, scopes)
        return pb.CreateTokenResponse(token=_token(token), secret=credential.text)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        owner = await self._owner(parse_owner(request.parent, principal(context)))
        uid = None if owner is None else owner.uid
        scope = f"tokens/{uid}"
        page = await self._tokens.list(uid, page_size(request.page_size), position(scope, request.page_token))
        return pb.ListTokensResponse(
            tokens=[_token(token) for token in page.items],
            next_page_token=page_token(scope, page.position) if page.position else "",
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> Empty:
        tenant_id, token_id = parse_token(request.name, principal(context))
        owner = await self._owner(tenant_id)
        revision = await self._tokens.revoke(None if owner is None else owner.uid, token_id)
        await self._directory.heard(revision)
        return Empty()

    async def _owner(self, tenant_id: TenantId | None) -> Tenant | None:
        return None if tenant_id is None else await self._tenants.get(tenant_id)


def _scopes(numbers: Iterable[int]) -> tuple[Scope, ...]:
    """None means all of them."""
    found: list[Scope] = []
    for number in numbers:
        scope = _SCOPES.get(pb.TokenScope.ValueType(number))
        if scope is None:
            raise InvalidArgumentError(f"scopes: {number} is not a scope that a token can have", field="scopes")
        found.append(scope)
    return tuple(found or Scope)


def _encoded(tenant: Tenant) -> pb.Tenant:
    return pb.Tenant(
        name=tenant_name(tenant.id),
        uid=tenant.uid,
        create_time=timestamp(tenant.created_at_ms),
        spread=spread_of(tenant.uid),
    )


def _token(token: Token) -> pb.Token:
    scopes = () if token.tenant is None else token.scopes
    return pb.Token(
        name=token_name(token.tenant, token.id),
        create_time=timestamp(token.created_at_ms),
        scopes=sorted(_NUMBERS[scope] for scope in scopes),
    )
