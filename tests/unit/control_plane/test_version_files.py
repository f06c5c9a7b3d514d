"""The files of a version: in pages, remembered within bounds, and one bundle at a time for each tenant."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane import version_files
from control_plane.version_files import VersionFiles
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import NotFoundError
from stepwell.names import Digest, TenantUid
from tests.unit.control_plane.settings import manifest

ACME, GLOBEX = TenantUid("acme"), TenantUid("globex")
CONTENT = {"main.py": b"1", "lib/a.py": b"22", "tools/run": b""}


class Watched(FileBundleStore):
    """Counts what is pulled, and how much of it at once; lets nobody through while it is `closed`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pulled: list[tuple[TenantUid, Digest]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.told = asyncio.Event()
        """That somebody pulls."""

    @asynccontextmanager
    async def pull(self, tenant: TenantUid, digest: Digest) -> AsyncGenerator[Path]:
        self.pulled.append((tenant, digest))
        self.told.set()
        await self.open.wait()
        async with super().pull(tenant, digest) as folder:
            yield folder


async def kept(store: FileBundleStore, tenant: TenantUid, **more: str) -> Digest:
    upload = store.upload(tenant)
    for path, content in CONTENT.items():
        await upload.open(path, path == "tools/run")
        await upload.write(content)
    return (await upload.commit(manifest("order", **more))).digest


async def test_files_are_listed_by_path_in_pages(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    digest, files = await kept(store, ACME), VersionFiles(store)
    first = await files.list(ACME, digest, 2)
    assert [(each.path, each.size_bytes, each.executable) for each in first.items] == [
        ("lib/a.py", 2, False), ("main.py", 1, False),
    ]  # fmt: skip
    assert first.items[1].sha256 == hashlib.sha256(b"1").hexdigest()
    second = await files.list(ACME, digest, 2, first.position)
    assert [(each.path, each.executable) for each in second.items] == [("tools/run", True)]
    assert second.position == ""
    assert (await files.list(ACME, digest, 3)).position == ""
    assert len(store.pulled) == 1


async def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    digest, files = await kept(store, ACME), VersionFiles(store)
    with pytest.raises(NotFoundError):
        await files.list(GLOBEX, digest, 10)


async def test_only_so_many_files_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_files, "FILES_REMEMBERED_MAX", 2 * len(CONTENT))
    store = Watched(tmp_path)
    one, two, three = [await kept(store, ACME, V=each) for each in "123"]
    files = VersionFiles(store)
    for digest in (one, two, one, three, one, two):
        await files.list(ACME, digest, 10)
    assert [digest for _, digest in store.pulled] == [one, two, three, two]


async def test_a_tenant_reads_one_bundle_at_a_time_and_no_other_waits_for_it(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    ours = [await kept(store, ACME, V=each) for each in "123"]
    theirs, files = await kept(store, GLOBEX), VersionFiles(store)
    store.open.clear()
    async with asyncio.TaskGroup() as tasks:
        for digest in ours:
            tasks.create_task(files.list(ACME, digest, 10))
        await store.told.wait()
        store.told.clear()
        tasks.create_task(files.list(GLOBEX, theirs, 10))
        await store.told.wait()
        assert store.pulled == [(ACME, ours[0]), (GLOBEX, theirs)]
        store.open.set()
    assert len(store.pulled) == 4
