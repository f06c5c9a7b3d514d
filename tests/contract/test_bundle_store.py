"""What every bundle store promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundles import staging
from loader.bundles.store import BundleStore
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import BundleRefusedError, LimitExceededError, NotFoundError
from stepwell.names import Digest, TenantUid
from tests.contract.bundle_worlds import (
    ACME,
    FILES,
    MANIFEST,
    OTHER,
    CassandraNodes,
    left_over,
    named,
    pulled,
    put,
    upload,
)
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER


@pytest.fixture(params=["files", pytest.param("cassandra", marks=ON_ONE_WORKER)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    if request.param == "files":
        return FileBundleStore(tmp_path / "bundles")
    keyspace: Keyspace = request.getfixturevalue("keyspace")
    await keyspace.emptied()
    return await CassandraNodes(keyspace, tmp_path).open()


async def test_what_was_uploaded_is_pulled(store: BundleStore) -> None:
    bundle = await upload(store)
    assert (bundle.file_count, bundle.size_bytes) == (3, sum(map(len, FILES.values())))
    assert await pulled(store, bundle.digest) == FILES
    assert await store.manifest(ACME, bundle.digest) == MANIFEST


async def test_nobodys_user_can_read_everything_and_run_what_is_executable(store: BundleStore) -> None:
    async with store.pull(ACME, (await upload(store)).digest) as folder:
        modes = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
        assert modes == {"main.py": 0o644, "lib": 0o755, "lib/deep": 0o755, "lib/deep/er.py": 0o644, "run.sh": 0o755}
        assert folder.stat().st_mode & 0o777 == 0o755


async def test_a_digest_grants_nothing_to_another_tenant(store: BundleStore) -> None:
    digest = (await upload(store)).digest
    with pytest.raises(NotFoundError):
        await pulled(store, digest, OTHER)
    with pytest.raises(NotFoundError):
        await store.manifest(OTHER, digest)


async def test_the_same_content_is_the_same_version(store: BundleStore) -> None:
    first = await upload(store)
    assert await upload(store) == first
    assert await pulled(store, first.digest) == FILES


async def test_a_bundle_is_not_seen_before_its_commit_and_not_after_it_was_abandoned(store: BundleStore) -> None:
    digest = (await upload(store)).digest
    await store.delete(ACME, digest)
    incoming = await put(store)
    with pytest.raises(NotFoundError):
        await pulled(store, digest)
    await incoming.abandon()
    await incoming.abandon()
    with pytest.raises(NotFoundError):
        await pulled(store, digest)


async def test_to_abandon_an_upload_whose_commit_has_answered_changes_nothing(store: BundleStore) -> None:
    incoming = await put(store)
    digest = (await incoming.commit(MANIFEST)).digest
    await incoming.abandon()
    assert await pulled(store, digest) == FILES


async def test_a_bundle_of_many_parts_comes_back_as_it_was(store: BundleStore) -> None:
    files = {"a.bin": bytes(range(256)) * 40_000, "empty": b"", "b/ä.bin": b"b" * 5_000_000, "z.py": b"last"}
    assert await pulled(store, (await upload(store, files=files)).digest) == files


async def test_deleting_is_idempotent(store: BundleStore) -> None:
    digest = (await upload(store)).digest
    await store.delete(ACME, digest)
    await store.delete(ACME, digest)
    with pytest.raises(NotFoundError):
        await pulled(store, digest)
    with pytest.raises(NotFoundError):
        await store.manifest(ACME, digest)
    assert (await upload(store)).digest == digest
    assert await pulled(store, digest) == FILES


async def test_what_is_named_by_now_is_not_deleted(store: BundleStore) -> None:
    digest = (await upload(store)).digest
    await store.delete(ACME, digest, named)
    assert await pulled(store, digest) == FILES
    await store.delete(ACME, digest, left_over)
    with pytest.raises(NotFoundError):
        await pulled(store, digest)


async def test_what_was_kept_after_the_look_is_not_deleted(store: BundleStore) -> None:
    """Whoever deletes stood still as it was asked, while others deleted the bundle and deployed it again."""
    digest = (await upload(store)).digest

    async def meanwhile(_: Digest) -> bool:
        await store.delete(ACME, digest)
        await upload(store)
        return False

    await store.delete(ACME, digest, meanwhile)
    assert await pulled(store, digest) == FILES


async def test_a_path_that_is_refused_says_so_at_open(store: BundleStore) -> None:
    incoming = store.upload(ACME)
    with pytest.raises(BundleRefusedError, match="relative"):
        await incoming.open("../escape.py", False)
    await incoming.abandon()


async def test_too_many_files_name_the_limit(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "BUNDLE_FILES_MAX", 2)
    incoming = store.upload(ACME)
    for name in ("a", "b"):
        await incoming.open(name, False)
    with pytest.raises(LimitExceededError) as caught:
        await incoming.open("c", False)
    assert caught.value.metadata["limit"] == "bundle_files_max"
    await incoming.abandon()


async def test_too_many_bytes_name_the_limit(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "BUNDLE_BYTES_MAX", 100_000)
    incoming = store.upload(ACME)
    await incoming.open("a", False)
    await incoming.write(b"x" * 100_000)
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
        await pulled(store, Digest("../../etc"))
