"""A control plane over stores in memory, and a check that a test decides."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from cluster import keys
from cluster.store import RANGE_LIMIT_MAX, ClusterStore
from control_plane.deploys import Deployed, Deploys, FileStart
from control_plane.limits import ControlLimits
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from control_plane.turns import DeployTurns, Turns
from control_plane.versions import Versions
from control_plane.workflows import Workflows
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.runtime import GuestRuntime
from loader.bundles.store import KEEP_TRIES, Bundle, IsNamed, Upload, contested, missing
from stepwell.names import Digest, TenantUid, WorkflowId
from tests.contract.memory_store import MemoryStore


class MemoryBundles:
    """`BundleStore` in a dict. `uploads` are those neither committed nor abandoned."""

    def __init__(self) -> None:
        self.kept: dict[tuple[TenantUid, Digest], Bundle] = {}
        self.uploads: set[MemoryUpload] = set()

    def upload(self, tenant: TenantUid) -> Upload:
        upload = MemoryUpload(self, tenant)
        self.uploads.add(upload)
        return upload

    async def manifest(self, tenant: TenantUid, digest: Digest) -> Manifest:
        if (tenant, digest) not in self.kept:
            raise missing(digest)
        return self.kept[tenant, digest].manifest

    def pull(self, tenant: TenantUid, digest: Digest) -> AbstractAsyncContextManager[Path]:
        raise NotImplementedError

    async def delete(self, tenant: TenantUid, digest: Digest, is_named: IsNamed | None = None) -> None:
        if is_named is not None and await is_named(digest):
            return
        self.kept.pop((tenant, digest), None)


class MemoryUpload:
    """`Upload` that hashes what it gets."""

    def __init__(self, bundles: MemoryBundles, tenant: TenantUid) -> None:
        self._bundles = bundles
        self._tenant = tenant
        self._files: dict[str, bytes] = {}
        self._last = ""
        self._mine: tuple[tuple[TenantUid, Digest], Bundle] | None = None
        """What it keeps and may take back."""

    async def open(self, path: str, executable: bool) -> None:
        self._last = path
        self._files[path] = b"x" if executable else b""

    async def write(self, chunk: bytes) -> None:
        self._files[self._last] += chunk

    async def commit(self, manifest: Manifest, is_named: IsNamed | None = None) -> Bundle:
        content = repr(sorted(self._files.items())).encode() + manifest.canonical()
        digest = Digest("sha256-" + hashlib.sha256(content).hexdigest())
        bundle = Bundle(digest, manifest, len(self._files), sum(map(len, self._files.values())))
        kept, key = self._bundles.kept, (self._tenant, digest)
        for _ in range(KEEP_TRIES):
            seen = kept.get(key)
            named = is_named is None or await is_named(digest)
            if kept.get(key) is seen:
                if seen is None or not named:
                    kept[key] = bundle
                    self._mine = None if named else (key, bundle)
                self._bundles.uploads.discard(self)
                return bundle
        raise contested(digest)

    async def abandon(self) -> None:
        self._bundles.uploads.discard(self)
        if self._mine is not None:
            key, bundle = self._mine
            if self._bundles.kept.get(key) is bundle:
                del self._bundles.kept[key]
            self._mine = None


async def accept(tenant: TenantUid, digest: Digest) -> None:
    """Every bundle is good."""


class Check:
    """`BundleCheck` and `Guests` as a test wants them; `asked` has what it was asked about."""

    def __init__(self) -> None:
        self.answer: Callable[[TenantUid, Digest], Awaitable[None]] = accept
        self.asked: list[Digest] = []

    async def check(self, tenant: TenantUid, digest: Digest) -> None:
        self.asked.append(digest)
        await self.answer(tenant, digest)

    async def runtime(self) -> GuestRuntime:
        return GuestRuntime("3.11.2", "cpython", "x86_64", "glibc", "2.36")


class Pinned:
    """`PinnedInstances` as a test wants it: what it answers, one after the other, then 0."""

    def __init__(self, *counts: int | Exception) -> None:
        self.counts = list(counts)
        self.asked: list[tuple[Digest, tuple[WorkflowId, ...]]] = []

    async def count(self, tenant: TenantUid, digest: Digest, workflows: Sequence[WorkflowId]) -> int:
        self.asked.append((digest, tuple(workflows)))
        answer = self.counts.pop(0) if self.counts else 0
        if isinstance(answer, Exception):
            raise answer
        return answer


def manifest(*workflows: str, **vars: str) -> Manifest:
    entries = (WorkflowEntry(WorkflowId(each), f"main:{each.title()}") for each in workflows)
    return Manifest(tuple(entries), vars)


async def files(**contents: str) -> AsyncIterator[FileStart | bytes]:
    for name, content in contents.items():
        yield FileStart(f"{name}.py", False)
        yield content.encode()


class Setting:
    """All of the control plane. Its clock moves by a millisecond each time it is read."""

    def __init__(self, limits: ControlLimits | None = None, store: MemoryStore | None = None) -> None:
        ticks, dice = itertools.count(1_000), itertools.count(1)
        self.store = store or MemoryStore()
        self.bundles = MemoryBundles()
        self.check = Check()
        self.limits = limits or ControlLimits()

        def clock_ms() -> int:
            return next(ticks)

        def random_bytes(count: int) -> bytes:
            return next(dice).to_bytes(count, "big")

        self.clock_ms = clock_ms
        self.tenants = Tenants(self.store, clock_ms=clock_ms, random_bytes=random_bytes)
        self.tokens = Tokens(self.store, clock_ms=clock_ms, random_bytes=random_bytes, limits=self.limits)
        self.versions = Versions(self.store)
        self.workflows = Workflows(self.store)
        self.turns = Turns()
        self.deploys = self.another(self.store, self.check, self.turns)

    def another(self, store: ClusterStore, check: Check, turns: DeployTurns) -> Deploys:
        """Deploys of one more server, over the same records and bundles."""
        return Deploys(store, self.bundles, check, turns, clock_ms=self.clock_ms, limits=self.limits)

    async def written(self) -> dict[str, int]:
        """When each record was written last."""
        records = await self.store.range("", limit=RANGE_LIMIT_MAX)
        return {each.key: each.mod_revision for each in records if not each.key.startswith(keys.GENERATIONS)}

    async def deploy(self, tenant_id: str, code: str, *workflows: str, no_route: bool = False) -> Deployed:
        """A bundle of one module with that code."""
        tenant = await self.tenants.get(tenant_id)  # type: ignore[arg-type]
        return await self.deploys.deploy(tenant, manifest(*workflows), files(main=code), no_route=no_route)
