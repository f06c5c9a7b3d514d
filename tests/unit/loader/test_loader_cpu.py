"""Which part of the CPU a loader's sandboxes are told to take, and when in the background."""

from __future__ import annotations

import asyncio

import pytest

from loader.background import Background
from loader.bundles.store_files import FileBundleStore
from loader.sandbox.processes import SandboxProcess
from loader.settings import LoaderSettings
from tests.unit.loader.loaders import ACME, OTHER, WORKFLOW, CountingLauncher, deployed, loader_of


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, bool]]]:
    """By sandbox: the parts that it was told to take, and whether in the background."""
    told: dict[str, list[tuple[int, bool]]] = {}

    def schedule(sandbox: SandboxProcess, parts: int, *, is_background: bool) -> None:
        told.setdefault(sandbox.id, []).append((parts, is_background))

    monkeypatch.setattr(SandboxProcess, "schedule", schedule)
    return told


async def test_sandboxes_of_a_tenant_share_its_part_of_the_cpu(
    store: FileBundleStore, launcher: CountingLauncher, scheduled: dict[str, list[tuple[int, bool]]]
) -> None:
    digests = [await deployed(store, code=WORKFLOW + f"# {n}\n") for n in range(3)]
    theirs = await deployed(store, OTHER)
    async with loader_of(store, launcher) as loader:
        leases = [await loader.acquire(ACME, digest) for digest in digests]
        other = await loader.acquire(OTHER, theirs)
        ids = [lease.guest.sandbox.id for lease in (*leases, other)]
        assert [scheduled[id][-1] for id in ids] == [(3, False), (3, False), (3, False), (1, False)]
        leases[0].guest.kill("the test says so")
        await asyncio.sleep(0)
        assert [scheduled[id][-1] for id in ids[1:]] == [(2, False), (2, False), (1, False)]


async def test_what_boots_for_the_stock_does_so_in_the_background(
    store: FileBundleStore, launcher: CountingLauncher, scheduled: dict[str, list[tuple[int, bool]]]
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=1)) as loader:
        while not loader.warm_sandboxes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        lease = await loader.acquire(ACME, digest)
        assert scheduled[lease.guest.sandbox.id] == [(1, True), (1, False)]


async def test_what_boots_for_somebody_who_waits_does_so_in_the_foreground(
    store: FileBundleStore, launcher: CountingLauncher, scheduled: dict[str, list[tuple[int, bool]]]
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0)) as loader:
        lease = await loader.acquire(ACME, digest)
        assert scheduled[lease.guest.sandbox.id] == [(1, False), (1, True), (1, False)]


async def test_what_boots_for_a_busy_tenant_does_so_in_the_background(
    store: FileBundleStore,
    launcher: CountingLauncher,
    scheduled: dict[str, list[tuple[int, bool]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = await deployed(store)
    monkeypatch.setattr(Background, "is_suspect", lambda background, tenant: tenant == ACME)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0)) as loader:
        lease = await loader.acquire(ACME, digest)
        assert scheduled[lease.guest.sandbox.id] == [(1, True), (1, False)]
