"""TenantService of `stepwell.v1`: decodes, calls, encodes. For the operator alone."""

from __future__ import annotations

from typing import Any

from cluster.records import Tenant
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from rpc.auth import principal
from rpc.paging import page_size, page_token, position
from rpc.resource_names import checked, parse_tenant, tenant_name, token_name
from rpc.times import timestamp
from stepwell import names
from stepwell.v1 import tenants_pb2 as pb
from stepwell.v1.tenants_pb2_grpc import TenantServiceServicer

_LIST = "tenants"


class TenantService(TenantServiceServicer):
    def __init__(self, tenants: Tenants, tokens: Tokens) -> None:
        self._tenants = tenants
        self._tokens = tokens

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Any) -> pb.Tenant:
        principal(context).require_operator()
        tenant_id = checked(names.tenant_id, request.tenant_id, "tenant_id")
        request_id = checked(names.request_id, request.request_id, "request_id")
        return _encoded(await self._tenants.create(tenant_id, request_id))

    async def GetTenant(self, request: pb.GetTenantRequest, context: Any) -> pb.Tenant:
        caller = principal(context)
        caller.require_operator()
        return _encoded(await self._tenants.get(parse_tenant(request.name, caller)))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Any) -> pb.ListTenantsResponse:
        principal(context).require_operator()
        page = await self._tenants.list(page_size(request.page_size), position(_LIST, request.page_token))
        return pb.ListTenantsResponse(
            tenants=[_encoded(tenant) for tenant in page.items],
            next_page_token=page_token(_LIST, page.position) if page.position else "",
        )

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        caller = principal(context)
        caller.require_operator()
        tenant = await self._tenants.get(parse_tenant(request.parent, caller, "parent"))
        token, credential = await self._tokens.mint(tenant)
        shown = pb.Token(name=token_name(tenant.id, token.id), create_time=timestamp(token.created_at_ms))
        return pb.CreateTokenResponse(token=shown, secret=credential.text)


def _encoded(tenant: Tenant) -> pb.Tenant:
    return pb.Tenant(name=tenant_name(tenant.id), uid=tenant.uid, create_time=timestamp(tenant.created_at_ms))
