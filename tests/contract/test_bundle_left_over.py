"""What every bundle store owes to deploys that come one after the other, of which some stand still meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from loader.bundles.store import KEEP_TRIES, BundleStore, Upload
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import NotFoundError, UnavailableError
from stepwell.names import Digest
from tests.contract.bundle_worlds import ACME, MANIFEST, CassandraNodes, left_over, named, put
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER
from tests.unit.control_plane.settings import MemoryBundles


@pytest.fixture(params=["memory", "files", pytest.param("cassandra", marks=ON_ONE_WORKER)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    if request.param == "memory":
        return MemoryBundles()
    if request.param == "files":
        return FileBundleStore(tmp_path / "bundles")
    keyspace: Keyspace = request.getfixturevalue("keyspace")
    await keyspace.emptied()
    return await CassandraNodes(keyspace, tmp_path).open()


async def is_kept(store: BundleStore, digest: Digest) -> bool:
    try:
        return await store.manifest(ACME, digest) == MANIFEST
    except NotFoundError:
        return False


def committing(upload: Upload, digests: list[Digest] | None = None) -> Callable[[], Awaitable[None]]:
    """Has it keep what no record names, and says under which digest."""

    async def commit() -> None:
        bundle = await upload.commit(MANIFEST, left_over)
        if digests is not None:
            digests.append(bundle.digest)

    return commit


def meanwhile(*works: Callable[[], Awaitable[object]], then: bool = False) -> Callable[[Digest], Awaitable[bool]]:
    """That no record names the bundle, but one of these is done each time before that is said; then says `then`."""
    left = list(works)

    async def is_named(digest: Digest) -> bool:
        if not left:
            return then
        await left.pop(0)()
        return False

    return is_named


async def test_what_no_record_names_is_taken_back_even_once_it_is_kept(store: BundleStore) -> None:
    incoming = await put(store)
    digest = (await incoming.commit(MANIFEST, left_over)).digest
    assert await is_kept(store, digest)
    await incoming.abandon()
    await incoming.abandon()
    assert not await is_kept(store, digest)


async def test_what_a_record_names_is_shared_and_stays(store: BundleStore) -> None:
    first, second = await put(store), await put(store)
    digest = (await first.commit(MANIFEST, named)).digest
    assert (await second.commit(MANIFEST, named)).digest == digest
    await second.abandon()
    await first.abandon()
    assert await is_kept(store, digest)


async def test_what_was_left_over_gives_way_and_whoever_left_it_takes_nothing_back(store: BundleStore) -> None:
    first, second = await put(store), await put(store)
    digest = (await first.commit(MANIFEST, left_over)).digest
    await second.commit(MANIFEST, left_over)
    await first.abandon()
    assert await is_kept(store, digest)
    await second.abandon()
    assert not await is_kept(store, digest)


async def test_what_came_while_it_was_asked_for_a_name_gives_way_only_when_that_was_asked_again(
    store: BundleStore,
) -> None:
    first, second = await put(store), await put(store)
    digest = (await first.commit(MANIFEST, meanwhile(committing(second)))).digest
    await second.abandon()
    assert await is_kept(store, digest)
    await first.abandon()
    assert not await is_kept(store, digest)


async def test_what_came_and_got_a_name_while_it_was_asked_for_one_is_shared(store: BundleStore) -> None:
    first, second = await put(store), await put(store)
    digest = (await first.commit(MANIFEST, meanwhile(committing(second), then=True))).digest
    await first.abandon()
    assert await is_kept(store, digest)


async def test_a_commit_that_is_refused_the_second_time_leaves_what_came_meanwhile(store: BundleStore) -> None:
    first, second = await put(store), await put(store)

    async def refused() -> None:
        raise UnavailableError("the turn was lost")

    digests: list[Digest] = []
    with pytest.raises(UnavailableError, match="turn was lost"):
        await first.commit(MANIFEST, meanwhile(committing(second, digests), refused))
    await first.abandon()
    assert await is_kept(store, digests[0])


async def test_what_went_while_it_was_asked_for_a_name_does_not_keep_others_from_coming(store: BundleStore) -> None:
    first, second = await put(store), await put(store)
    await first.commit(MANIFEST, left_over)
    digest = (await second.commit(MANIFEST, meanwhile(first.abandon))).digest
    assert await is_kept(store, digest)


async def test_what_changes_again_and_again_is_left_to_the_others(store: BundleStore) -> None:
    incoming = await put(store)
    digests: list[Digest] = []
    works = [committing(await put(store), digests) for _ in range(KEEP_TRIES)]
    with pytest.raises(UnavailableError, match="deploy again"):
        await incoming.commit(MANIFEST, meanwhile(*works))
    await incoming.abandon()
    assert await is_kept(store, digests[-1])
