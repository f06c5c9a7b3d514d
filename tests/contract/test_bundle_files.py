"""What plain files owe beside the bundle store's port: where they lie, and what threads, crashes and others leave."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from loader.bundles.store_files import FileBundleStore
from stepwell.errors import InternalError, NotFoundError
from stepwell.names import Digest
from tests.contract.bundle_worlds import ACME, FILES, MANIFEST, left_over, named, pulled, put, upload


@pytest.fixture
def store(tmp_path: Path) -> FileBundleStore:
    return FileBundleStore(tmp_path / "bundles")


async def test_the_same_content_is_the_same_version_and_kept_once(store: FileBundleStore, tmp_path: Path) -> None:
    first = await upload(store)
    assert await upload(store) == first
    assert [each.name for each in (tmp_path / "bundles" / ACME).iterdir()] == [first.digest]
    assert not list((tmp_path / "bundles" / ".staging").iterdir())


async def test_an_upload_is_staged_until_it_is_committed_or_abandoned(store: FileBundleStore, tmp_path: Path) -> None:
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
async def test_a_commit_that_is_cancelled_keeps_nothing_but_what_is_named(
    store: FileBundleStore, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    digest = (await upload(store)).digest
    if not before:
        await store.delete(ACME, digest)
    settling, go_on = threading.Event(), threading.Event()
    settle = store.settle

    def settle_slowly(staged: Path, tenant_folder: Path, digest: Digest, share: bool) -> None:
        settling.set()
        go_on.wait(10)
        settle(staged, tenant_folder, digest, share)

    monkeypatch.setattr(store, "settle", settle_slowly)
    incoming = await put(store)
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(incoming.commit(MANIFEST, named if before else left_over))
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


async def test_interrupted_uploads_are_forgotten_at_the_next_start(store: FileBundleStore, tmp_path: Path) -> None:
    incoming = store.upload(ACME)
    await incoming.open("main.py", False)
    again = FileBundleStore(tmp_path / "bundles")
    again.recover()
    assert not (tmp_path / "bundles" / ".staging").exists()
    await incoming.abandon()


@pytest.mark.parametrize("spoil", ["change", "add", "remove", "link", "mode", "manifest"])
async def test_stored_bytes_that_were_changed_are_never_given_out_and_a_new_upload_heals_them(
    store: FileBundleStore, tmp_path: Path, spoil: str
) -> None:
    digest = (await upload(store)).digest
    folder = tmp_path / "bundles" / ACME / digest / "files"
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
        await pulled(store, digest)
    assert (await upload(store)).digest == digest
    assert await pulled(store, digest) == FILES
    assert not list((tmp_path / "bundles" / ".staging").iterdir())
