"""Tenants and their tokens: for the operator's token alone."""

from __future__ import annotations

from stepwell.client.calls import Caller
from stepwell.client.resource_names import tenant_name
from stepwell.v1 import tenants_pb2 as pb
from stepwell.v1.tenants_pb2_grpc import TenantServiceStub


class Tenants:
    """TenantService."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = TenantServiceStub(caller.channel)

    async def create(self, tenant: str) -> pb.Tenant:
        """A new tenant. AlreadyExistsError when the id is taken."""
        request = pb.CreateTenantRequest(tenant_id=tenant, request_id=self._caller.new_request_id())
        return await self._caller.unary(self._stub.CreateTenant, request)

    async def get(self, tenant: str) -> pb.Tenant:
        """NotFoundError when there is none."""
        return await self._caller.unary(self._stub.GetTenant, pb.GetTenantRequest(name=tenant_name(tenant)))

    async def list(self, *, page_size: int = 0, page_token: str = "") -> pb.ListTenantsResponse:
        """A page of tenants, by id."""
        request = pb.ListTenantsRequest(page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListTenants, request)

    async def create_token(self, tenant: str) -> pb.CreateTokenResponse:
        """A token for everything within one tenant. Its secret is in this answer and nowhere else."""
        return await self._caller.unary(self._stub.CreateToken, pb.CreateTokenRequest(parent=tenant_name(tenant)))
