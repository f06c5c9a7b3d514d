"""What every bundle store promises."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from loader import limits
from loader.bundles import store_files
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store import Bundle, BundleStore
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import BundleRefusedError, InternalError, LimitExceededError, NotFoundError
from stepwell.names import Digest, TenantUid, WorkflowId

ACME = TenantUid("acme1")
OTHER = TenantUid("other1")
MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {"region": "eu"})
FILES = {"main.py": b"x = 1\n", "lib/deep/er.py": b"", "run.sh": b"#!/bin/sh\n"}


@pytest.fixture
def store(tmp_path: Path) -> FileBundleStore:
    return FileBundleStore(tmp_path / "bundles")


async def upload(store: BundleStore, tenant: TenantUid = ACME, files: dict[str, bytes] = FILES) -> Bundle:
    incoming = store.upload(tenant)
    for path, content in files.items():
        await incoming.open(path, path.endswith(".sh"))
        for at in range(0, len(content), 4):
            await incoming.write(content[at : at + 4])
    return await incoming.commit(MANIFEST)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_what_was_uploaded_is_pulled(store: BundleStore) -> None:
    bundle = await upload(store)
    assert (bundle.file_count, bundle.size_bytes) == (3, sum(map(len, FILES.values())))
    assert content(await store.pull(ACME, bundle.digest)) == FILES
    assert await store.manifest(ACME, bundle.digest) == MANIFEST


async def test_nobodys_user_can_read_everything_and_run_what_is_executable(store: BundleStore) -> None:
    folder = await store.pull(ACME, (await upload(store)).digest)
    modes = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert modes == {"main.py": 0o644, "lib": 0o755, "lib/deep": 0o755, "lib/deep/er.py": 0o644, "run.sh": 0o755}
    assert folder.stat().st_mode & 0o777 == 0o755


async def test_the_same_content_is_the_same_version_and_kept_once(store: BundleStore, tmp_path: Path) -> None:
    first = await upload(store)
    assert await upload(store) == first
    assert [each.name for each in (tmp_path / "bundles" / ACME).iterdir()] == [first.digest]
    assert not list((tmp_path / "bundles" / ".staging").iterdir())


async def test_a_digest_grants_nothing_to_another_tenant(store: BundleStore) -> None:
    digest = (await upload(store)).digest
    with pytest.raises(NotFoundError):
        await store.pull(OTHER, digest)
    with pytest.raises(NotFoundError):
        await store.manifest(OTHER, digest)


async def test_a_bundle_is_not_seen_before_its_commit_and_not_after_it_was_abandoned(
    store: BundleStore, tmp_path: Path
) -> None:
    incoming = store.upload(ACME)
    await incoming.open("main.py", False)
    await incoming.write(b"x")
    assert not (tmp_path / "bundles" / ACME).exists()
    await incoming.abandon()
    await incoming.abandon()
    assert not list((tmp_path / "bundles" / ".staging").iterdir())


async def test_an_upload_that_is_cancelled_while_a_thread_works_for_it_leaves_nothing(
    store: FileBundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging, go_on = threading.Event(), threading.Event()
    stage = store.stage

    def stage_slowly() -> Path:
        staging.set()
        go_on.wait(10)
        return stage()

    monkeypatch.setattr(store, "stage", stage_slowly)
    incoming = store.upload(ACME)
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(incoming.open("main.py", False))
        await asyncio.to_thread(staging.wait, 10)
        opening.cancel()
        abandoning = group.create_task(incoming.abandon())
        await asyncio.sleep(0)
        go_on.set()
        await abandoning
    assert not list((tmp_path / "bundles" / ".staging").iterdir())
    await incoming.open("late.py", False)
    assert not list((tmp_path / "bundles" / ".staging").iterdir())


@pytest.mark.parametrize("before", [False, True])
async def test_a_commit_that_is_cancelled_keeps_nothing_that_was_not_there_before(
    store: FileBundleStore, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    digest = (await upload(store)).digest
    if not before:
        await store.delete(ACME, digest)
    settling, go_on = threading.Event(), threading.Event()
    settle = store.settle

    def settle_slowly(*settled: Any) -> bool:
        settling.set()
        go_on.wait(10)
        return settle(*settled)

    monkeypatch.setattr(store, "settle", settle_slowly)
    incoming = store.upload(ACME)
    for path, content in FILES.items():
        await incoming.open(path, path.endswith(".sh"))
        await incoming.write(content)
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(incoming.commit(MANIFEST))
        await asyncio.to_thread(settling.wait, 10)
        committing.cancel()
        abandoning = group.create_task(incoming.abandon())
        await asyncio.sleep(0)
        go_on.set()
        await abandoning
    if before:
        assert await store.manifest(ACME, digest) == MANIFEST
    else:
        with pytest.raises(NotFoundError):
            await store.manifest(ACME, digest)


async def test_interrupted_uploads_are_forgotten_at_the_next_start(store: BundleStore, tmp_path: Path) -> None:
    incoming = store.upload(ACME)
    await incoming.open("main.py", False)
    again = FileBundleStore(tmp_path / "bundles")
    again.recover()
    assert not (tmp_path / "bundles" / ".staging").exists()
    await incoming.abandon()


@pytest.mark.parametrize("spoil", ["change", "add", "remove", "link", "mode", "manifest"])
async def test_stored_bytes_that_were_changed_are_never_given_out_and_a_new_upload_heals_them(
    store: BundleStore, spoil: str
) -> None:
    digest = (await upload(store)).digest
    folder = await store.pull(ACME, digest)
    if spoil == "change":
        (folder / "main.py").write_bytes(b"x = 2\n")
    elif spoil == "add":
        (folder / "new.py").write_bytes(b"")
    elif spoil == "remove":
        (folder / "main.py").unlink()
    elif spoil == "link":
        (folder / "main.py").unlink()
        (folder / "main.py").symlink_to("run.sh")
    elif spoil == "mode":
        (folder / "main.py").chmod(0o755)
    else:
        (folder.parent / "manifest.json").write_bytes(b"{")
    with pytest.raises(InternalError, match="deploy it again"):
        await store.pull(ACME, digest)
    assert (await upload(store)).digest == digest
    assert content(await store.pull(ACME, digest)) == FILES


async def test_deleting_is_idempotent(store: BundleStore) -> None:
    digest = (await upload(store)).digest
    await store.delete(ACME, digest)
    await store.delete(ACME, digest)
    with pytest.raises(NotFoundError):
        await store.pull(ACME, digest)


async def test_a_path_that_is_refused_says_so_at_open(store: BundleStore) -> None:
    incoming = store.upload(ACME)
    with pytest.raises(BundleRefusedError, match="relative"):
        await incoming.open("../escape.py", False)
    await incoming.abandon()


async def test_too_many_files_name_the_limit(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_files, "BUNDLE_FILES_MAX", 2)
    incoming = store.upload(ACME)
    for name in ("a", "b"):
        await incoming.open(name, False)
    with pytest.raises(LimitExceededError) as caught:
        await incoming.open("c", False)
    assert caught.value.metadata["limit"] == "bundle_files_max"
    await incoming.abandon()


async def test_too_many_bytes_name_the_limit(store: BundleStore) -> None:
    incoming = store.upload(ACME)
    await incoming.open("a", False)
    await incoming.write(b"x" * limits.BUNDLE_BYTES_MAX)
    with pytest.raises(LimitExceededError) as caught:
        await incoming.write(b"x")
    assert caught.value.metadata["limit"] == "bundle_bytes_max"
    await incoming.abandon()


async def test_an_empty_bundle_and_bytes_without_a_file_are_refused(store: BundleStore) -> None:
    with pytest.raises(BundleRefusedError, match="no file"):
        await store.upload(ACME).commit(MANIFEST)
    with pytest.raises(BundleRefusedError, match="before the first file"):
        await store.upload(ACME).write(b"x")


@pytest.mark.parametrize("uid", ["", "..", "a/b", ".staging"])
async def test_a_tenants_uid_never_leads_elsewhere(store: BundleStore, uid: str) -> None:
    with pytest.raises(ValueError, match="uid"):
        store.upload(TenantUid(uid))


async def test_a_digest_never_leads_elsewhere(store: BundleStore) -> None:
    with pytest.raises(ValueError, match="version"):
        await store.pull(ACME, Digest("../../etc"))
