"""A deploy: a stream of files becomes a checked, immutable version that a tenant's workflows are routed to.

In this order, so that whatever fails leaves nothing half done: the manifest is judged, the files are uploaded, the
tenant's turn is taken, the bundle is kept, the check runs it in a sandbox, and one transaction, which happens within
the turn or not at all, writes the version and all its routes.

A bundle is shared only once a version names it. One that is there and that none names was left by a turn that is over:
it gives way to the deploy's own bytes. So a deploy that is refused, however late, takes back what nobody relies on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from cluster.generations import change
from cluster.records import Route, Tenant, Version
from cluster.store import ClusterStore
from control_plane.check import BundleCheck
from control_plane.limits import ControlLimits
from control_plane.routing import Routing
from control_plane.turns import DeployTurns, Turn, TurnLostError
from control_plane.versions import Versions, refuse_retiring
from loader.bundles.manifest import Manifest, check_manifest
from loader.bundles.store import Bundle, BundleStore, Upload
from stepwell.errors import ConflictError, LimitExceededError, SandboxUnavailableError
from stepwell.names import Digest, TenantUid
from stepwell.retention import NOT_SAID
from stepwell.workflow_limits import UNLIMITED


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
    """Deploys of all tenants in one control process. `turns` are those of all processes that share the stores."""

    def __init__(
        self,
        store: ClusterStore,
        bundles: BundleStore,
        check: BundleCheck,
        turns: DeployTurns,
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
        self._turns = turns
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
        SandboxUnavailableError, what the stores raise, ConflictError while that version is being retired, and
        UnavailableError where the tenant's turn can't be had, or was lost.
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
        """What surely won't become a version is taken back; a transaction of which nobody told may have happened."""
        upload = self._bundles.upload(tenant.uid)
        async with AsyncExitStack() as turns:
            try:
                await self._receive(upload, parts)
                turn = await turns.enter_async_context(self._turns.of(tenant.uid))
                bundle = await self._accepted(tenant, upload, manifest, turn)
            except BaseException:
                await upload.abandon()
                raise
            try:
                return await self._route(tenant, bundle, turn, no_route)
            except (ConflictError, LimitExceededError, TurnLostError):
                await upload.abandon()
                raise

    async def _accepted(self, tenant: Tenant, upload: Upload, manifest: Manifest, turn: Turn) -> Bundle:
        """The bundle, kept, and checked unless a version names it."""
        named = False

        async def is_named(digest: Digest) -> bool:
            nonlocal named
            # In this order: what is there, and has no name when the turn is confirmed, can't get one any more.
            version = await self._versions.find(tenant.uid, digest)
            if version is not None:
                refuse_retiring(version)
            named = version is not None
            await turn.confirm()
            return named

        bundle = await upload.commit(manifest, is_named)
        if not named:
            await self._passes(tenant, bundle)
        return bundle

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

    async def _route(self, tenant: Tenant, bundle: Bundle, turn: Turn, no_route: bool) -> Deployed:
        version, now_ms = self._version(tenant, bundle), self._clock_ms()
        routing = Routing(self._store, tenant, version, turn, self._limits, now_ms, no_route=no_route)
        routed = await change(self._store, tenant.uid, routing.decide)
        return Deployed(routed.version, routed.routes, routed.created, routed.warnings)

    def _version(self, tenant: Tenant, bundle: Bundle) -> Version:
        entries = sorted((entry.workflow_id, entry.entrypoint) for entry in bundle.manifest.workflows)
        return Version(
            tenant_uid=tenant.uid,
            digest=bundle.digest,
            entrypoints=tuple(entries),
            vars=dict(bundle.manifest.vars),
            bindings=tuple(sorted(bundle.manifest.bindings.items())),
            created_at_ms=self._clock_ms(),
            file_count=bundle.file_count,
            size_bytes=bundle.size_bytes,
            schedules=tuple(
                (entry.workflow_id, entry.schedules)
                for entry in sorted(bundle.manifest.workflows, key=lambda each: each.workflow_id)
                if entry.schedules
            ),
            retentions=tuple(
                sorted((e.workflow_id, e.retention) for e in bundle.manifest.workflows if e.retention != NOT_SAID)
            ),
            limits=tuple(sorted((e.workflow_id, e.limits) for e in bundle.manifest.workflows if e.limits != UNLIMITED)),
        )
