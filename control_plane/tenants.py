"""Tenants: made by the operator, found by id."""

from __future__ import annotations

from collections.abc import Callable

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.generations import Change, change
from cluster.records import Answered, Tenant
from cluster.store import ClusterStore, Compare, Put
from cluster.tenant_uids import spread_of, tenant_uid
from control_plane.pages import Page, stored_page
from stepwell.errors import AlreadyExistsError, ConflictError, InvalidArgumentError, NotFoundError
from stepwell.names import TenantId

UID_BYTES = 12
"""Random bytes of a tenant's uid: enough that none is minted twice."""

_CREATE = "CreateTenant"


class Tenants:
    """Rules over the cluster's store; see there for consistency."""

    def __init__(
        self, store: ClusterStore, *, clock_ms: Callable[[], int], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes

    async def create(self, tenant_id: TenantId, request_id: str = "", spread: int = 1) -> Tenant:
        """A new tenant, its instances over so many shards. With a request_id, a repeated call gets the same tenant.

        Raises AlreadyExistsError, and InvalidArgumentError when the request_id was used for another tenant or spread,
        or for what can't be a spread.
        """
        try:
            uid = tenant_uid(self._random_bytes(UID_BYTES), spread)
        except ValueError as error:
            raise InvalidArgumentError(f"spread: {error}", field="spread") from None
        tenant = Tenant(tenant_id, uid, self._clock_ms())

        async def decide() -> Change[Tenant]:
            answered = await self._answered(request_id, tenant_id, spread)
            if answered is not None:
                return Change((), lambda _: answered)
            if await self._store.get(keys.tenant(tenant_id)) is not None:
                raise AlreadyExistsError(f"there is a tenant {tenant_id!r} already", tenant=tenant_id)
            operations = [Put(keys.tenant(tenant_id), encode(tenant))]
            compares = [Compare(keys.tenant(tenant_id), 0)]
            if request_id:
                operations.append(Put(keys.request(request_id), encode(Answered(_CREATE, tenant_id))))
                compares.append(Compare(keys.request(request_id), 0))
            return Change(tuple(operations), lambda _: tenant, tuple(compares))

        return await change(self._store, tenant.uid, decide)

    async def get(self, tenant_id: TenantId) -> Tenant:
        """Raises NotFoundError."""
        stored = await self._store.get(keys.tenant(tenant_id))
        if stored is None:
            raise NotFoundError(f"there is no tenant {tenant_id!r}", tenant=tenant_id)
        return decode_value(Tenant, stored)

    async def list(self, size: int, position: str = "") -> Page[Tenant]:
        """By id."""
        page = await stored_page(self._store, keys.TENANTS, size, position)
        return Page(tuple(decode_value(Tenant, stored) for stored in page.items), page.position)

    async def _answered(self, request_id: str, tenant_id: TenantId, spread: int) -> Tenant | None:
        if not request_id:
            return None
        stored = await self._store.get(keys.request(request_id))
        if stored is None:
            return None
        other = InvalidArgumentError(
            "request_id: it was used for another request; a new request takes a new one", field="request_id"
        )
        if decode_value(Answered, stored) != Answered(_CREATE, tenant_id):
            raise other
        try:
            tenant = await self.get(tenant_id)
        except NotFoundError:
            raise ConflictError(f"the tenant {tenant_id!r} was made by this request, and deleted since") from None
        if spread_of(tenant.uid) != spread:
            raise other
        return tenant
