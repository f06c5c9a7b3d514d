"""A deploy: a stream of files becomes a checked, immutable version that a tenant's workflows are routed to.

In this order, so that whatever fails leaves nothing half done: the manifest is judged, the files are uploaded, the
bundle is kept, the check runs it in a sandbox, and one transaction writes the version and all its routes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.generations import change
from cluster.records import Route, Tenant, Version
from cluster.store import ClusterStore
from control_plane.check import BundleCheck
from control_plane.limits import ControlLimits
from control_plane.routing import Routing
from control_plane.turns import Turns
from control_plane.versions import Versions
from loader.bundles.manifest import Manifest, check_manifest
from loader.bundles.store import Bundle, BundleStore, Upload
from stepwell.errors import LimitExceededError, SandboxUnavailableError
from stepwell.names import TenantUid


@dataclass(frozen=True, slots=True)
class FileStart:
    """Opens the next file of a bundle."""

    path: str
    executable: bool


@dataclass(frozen=True, slots=True)
class Deployed:
    """`routes` are those of the version's workflows, by id; `created` is false when the tenant had it before."""

    version: Version
    routes: tuple[Route, ...]
    created: bool
    warnings: tuple[str, ...]


class Deploys:
    """Deploys of all tenants in one control process."""

    def __init__(
        self,
        store: ClusterStore,
        bundles: BundleStore,
        check: BundleCheck,
        *,
        clock_ms: Callable[[], int],
        limits: ControlLimits,
    ) -> None:
        self._store = store
        self._bundles = bundles
        self._check = check
        self._clock_ms = clock_ms
        self._limits = limits
        self._versions = Versions(store)
        self._turns = Turns()
        self._checks = asyncio.Semaphore(limits.checks_at_once_max)
        self._under_way: Counter[TenantUid] = Counter()

    async def deploy(
        self,
        tenant: Tenant,
        manifest: Manifest,
        parts: AsyncIterable[FileStart | bytes],
        *,
        no_route: bool = False,
    ) -> Deployed:
        """Take in the files (each its start, then its bytes) and route the manifest's workflows to the new version.

        With `no_route` their routes stay as they are. The same files and manifest again are the same version: nothing
        is checked or made twice, and its workflows are routed to it. Raises BundleRefusedError, LimitExceededError,
        SandboxUnavailableError, and what the store raises.
        """
        check_manifest(manifest)
        with self._counted(tenant):
            return await self._deploy(tenant, manifest, parts, no_route)

    @contextmanager
    def _counted(self, tenant: Tenant) -> Iterator[None]:
        most, seen = self._limits.deploys_at_once_max, self._under_way[tenant.uid] + 1
        if seen > most:
            raise LimitExceededError(
                f"{most} deploys of the tenant {tenant.id!r} are under way, as many as may be: let one of them end",
                tenant=tenant.id, limit="deploys_at_once_max", value=str(most), seen=str(seen),
            )  # fmt: skip
        self._under_way[tenant.uid] = seen
        try:
            yield
        finally:
            self._under_way[tenant.uid] -= 1
            if not self._under_way[tenant.uid]:
                del self._under_way[tenant.uid]

    async def _deploy(
        self, tenant: Tenant, manifest: Manifest, parts: AsyncIterable[FileStart | bytes], no_route: bool
    ) -> Deployed:
        upload = self._bundles.upload(tenant.uid)
        try:
            await self._receive(upload, parts)
            # A refused bundle is deleted: nobody may be between keeping the same one and its version's record.
            async with self._turns.of(tenant.uid):
                bundle = await self._committed(upload, manifest)
                if await self._versions.find(tenant.uid, bundle.digest) is None:
                    return await self._accept(tenant, bundle, no_route)
                return await self._route(tenant, bundle, no_route)
        finally:
            await upload.abandon()

    async def _committed(self, upload: Upload, manifest: Manifest) -> Bundle:
        try:
            return await upload.commit(manifest)
        except BaseException:
            await upload.abandon()
            raise

    async def _accept(self, tenant: Tenant, bundle: Bundle, no_route: bool) -> Deployed:
        """Make the bundle a version. What surely won't become one is deleted; a lost transaction may have happened."""
        try:
            await self._passes(tenant, bundle)
        except BaseException:
            await self._bundles.delete(tenant.uid, bundle.digest)
            raise
        try:
            return await self._route(tenant, bundle, no_route)
        except LimitExceededError:
            await self._bundles.delete(tenant.uid, bundle.digest)
            raise

    async def _receive(self, upload: Upload, parts: AsyncIterable[FileStart | bytes]) -> None:
        seconds = self._limits.upload_seconds_max
        deadline = asyncio.timeout(seconds)
        began = asyncio.get_running_loop().time()
        try:
            async with deadline:
                async for part in parts:
                    if isinstance(part, FileStart):
                        await upload.open(part.path, part.executable)
                    else:
                        await upload.write(part)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise LimitExceededError(
                f"the upload took longer than {seconds:g} seconds: deploy a smaller bundle, or from nearer by",
                limit="upload_seconds_max", value=f"{seconds:g}",
                seen=f"{asyncio.get_running_loop().time() - began:g}",
            ) from None  # fmt: skip

    async def _passes(self, tenant: Tenant, bundle: Bundle) -> None:
        deadline = asyncio.timeout(self._limits.check_seconds_max)
        try:
            async with deadline, self._checks:
                await self._check.check(tenant.uid, bundle.digest)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise SandboxUnavailableError(
                f"the bundle's check did not end within {self._limits.check_seconds_max:g} seconds: try again later"
            ) from None

    async def _route(self, tenant: Tenant, bundle: Bundle, no_route: bool) -> Deployed:
        version, now_ms = self._version(tenant, bundle), self._clock_ms()
        routing = Routing(self._store, tenant, version, self._limits, now_ms, no_route=no_route)
        routed = await change(self._store, tenant.uid, routing.decide)
        return Deployed(routed.version, routed.routes, routed.created, routed.warnings)

    def _version(self, tenant: Tenant, bundle: Bundle) -> Version:
        entries = sorted((entry.workflow_id, entry.entrypoint) for entry in bundle.manifest.workflows)
        return Version(
            tenant_uid=tenant.uid,
            digest=bundle.digest,
            entrypoints=tuple(entries),
            vars=dict(bundle.manifest.vars),
            created_at_ms=self._clock_ms(),
            file_count=bundle.file_count,
            size_bytes=bundle.size_bytes,
        )
