"""Tenants and their tokens: for the operator's token alone."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.client.calls import Caller
from stepwell.client.patience import uncommitted
from stepwell.client.resource_names import tenant_name, token_name
from stepwell.v1 import tenants_pb2 as pb
from stepwell.v1.tenants_pb2_grpc import TenantServiceStub


class Tenants:
    """TenantService. A token's tenant is named; None stands for the operator."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = TenantServiceStub(caller.channel)

    async def create(self, tenant: str, *, spread: int = 1) -> pb.Tenant:
        """A new tenant, its instances over so many shards of a cluster: a power of two. AlreadyExistsError when the id
        is taken."""
        request = pb.CreateTenantRequest(tenant_id=tenant, request_id=self._caller.new_request_id(), spread=spread)
        return await self._caller.unary(self._stub.CreateTenant, request)

    async def get(self, tenant: str) -> pb.Tenant:
        """NotFoundError when there is none."""
        return await self._caller.unary(self._stub.GetTenant, pb.GetTenantRequest(name=tenant_name(tenant)))

    async def list(self, *, page_size: int = 0, page_token: str = "") -> pb.ListTenantsResponse:
        """A page of tenants, by id."""
        request = pb.ListTenantsRequest(page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListTenants, request)

    async def create_token(
        self, tenant: str | None, scopes: Iterable[pb.TokenScope.ValueType] = ()
    ) -> pb.CreateTokenResponse:
        """A token with these scopes, all of them where none is named. Its secret is in this answer and nowhere else,
        so that a call whose answer was lost is not made again: look for a token too many."""
        request = pb.CreateTokenRequest(parent="" if tenant is None else tenant_name(tenant), scopes=scopes)
        return await self._caller.unary(self._stub.CreateToken, request, repeats=uncommitted)

    async def list_tokens(
        self, tenant: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListTokensResponse:
        """A page of tokens, oldest first."""
        parent = "" if tenant is None else tenant_name(tenant)
        request = pb.ListTokensRequest(parent=parent, page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListTokens, request)

    async def revoke_token(self, tenant: str | None, token_id: str) -> None:
        """From here on it opens nothing; what it began ends within 5 s. NotFoundError when it was revoked before."""
        request = pb.RevokeTokenRequest(name=token_name(tenant, token_id))
        await self._caller.removal(self._stub.RevokeToken, request)
