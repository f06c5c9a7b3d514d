"""The cache of bundles: what is in use stays, what was pulled longest ago makes room, and one fetches for all."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loader.bundles.cache import FILE_BYTES, BundleCache
from loader.bundles.manifest import Manifest
from loader.bundles.staging import StagedFiles
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import InternalError, NotFoundError
from stepwell.names import Digest
from tests.unit.loader.loaders import ACME, MANIFEST

ONE = 10 + 2 * FILE_BYTES
"""What each of the bundles here takes."""


class Elsewhere:
    """Bundles of one file of ten bytes, that can be fetched, which `fetched` tells. While `held` is clear, it waits."""

    def __init__(self, digests: dict[str, Digest]) -> None:
        self._digests = digests
        self.fetched: list[str] = []
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.held = asyncio.Event()
        self.held.set()

    async def pull(self, cache: BundleCache, name: str, stack: AsyncExitStack | None = None, sent: str = "") -> Path:
        async def fetch(staged: StagedFiles) -> Manifest:
            self.fetched.append(name)
            self.begun.put_nowait(name)
            await self.held.wait()
            await staged.put(pieces(sent or name))
            return MANIFEST

        async with AsyncExitStack() as own:
            return await (stack or own).enter_async_context(cache.pull(ACME, self._digests[name], fetch))


def pieces(name: str) -> list[tuple[str, bool] | bytes]:
    return [("main.py", False), name.encode() * 10]


@pytest.fixture
async def elsewhere(tmp_path: Path) -> Elsewhere:
    store = FileBundleStore(tmp_path / "elsewhere")
    digests = {}
    for name in "abcd":
        staged = StagedFiles(store.stage)
        await staged.put(pieces(name))
        digests[name] = (await staged.finish(MANIFEST)).digest
        await staged.discard()
    return Elsewhere(digests)


async def opened(tmp_path: Path, bundles: int = 2) -> BundleCache:
    return await BundleCache.open(tmp_path / "cache", ONE * bundles)


async def test_what_was_pulled_longest_ago_makes_room(elsewhere: Elsewhere, tmp_path: Path) -> None:
    cache = await opened(tmp_path)
    for name in "abac":
        await elsewhere.pull(cache, name)
    assert cache.size_bytes == 2 * ONE
    await elsewhere.pull(cache, "a")
    await elsewhere.pull(cache, "c")
    assert "".join(elsewhere.fetched) == "abc"
    await elsewhere.pull(cache, "b")
    assert "".join(elsewhere.fetched) == "abcb"


async def test_what_is_in_use_stays_and_makes_room_once_it_is_not(elsewhere: Elsewhere, tmp_path: Path) -> None:
    cache = await opened(tmp_path)
    async with AsyncExitStack() as stack:
        folders = [await elsewhere.pull(cache, name, stack) for name in "abc"]
        assert [(folder / "main.py").read_bytes()[:1] for folder in folders] == [b"a", b"b", b"c"]
        assert cache.size_bytes == 3 * ONE
    await elsewhere.pull(cache, "d")
    assert cache.size_bytes == 2 * ONE
    assert [folder.exists() for folder in folders] == [False, False, True]


async def test_one_fetches_for_all_who_want_it_and_the_next_does_when_it_is_cancelled(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    cache = await opened(tmp_path)
    elsewhere.held.clear()
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(elsewhere.pull(cache, "a")) for _ in range(4)]
        await elsewhere.begun.get()
        pulls[0].cancel()
        await elsewhere.begun.get()
        elsewhere.held.set()
    assert elsewhere.fetched == ["a", "a"]
    assert len({pull.result() for pull in pulls[1:]}) == 1
    assert list((tmp_path / "cache" / ".staging").iterdir()) == []


async def test_another_bundle_than_the_one_asked_for_is_not_kept(elsewhere: Elsewhere, tmp_path: Path) -> None:
    cache = await opened(tmp_path)
    with pytest.raises(InternalError, match="deploy it again"):
        await elsewhere.pull(cache, "a", sent="b")
    assert not (tmp_path / "cache" / ACME).exists()
    assert (await elsewhere.pull(cache, "a")).exists()


async def test_what_cant_be_fetched_says_why_and_leaves_nothing(elsewhere: Elsewhere, tmp_path: Path) -> None:
    cache = await opened(tmp_path)

    async def fetch(staged: StagedFiles) -> Manifest:
        await staged.put(pieces("a")[:1])
        raise NotFoundError("nowhere")

    with pytest.raises(NotFoundError):
        async with cache.pull(ACME, elsewhere._digests["a"], fetch):
            pass
    assert cache.size_bytes == 0
    assert list((tmp_path / "cache" / ".staging").iterdir()) == []


async def test_a_cache_that_is_opened_again_has_what_it_had_and_is_held_to_its_new_bound(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    cache = await opened(tmp_path, bundles=4)
    for at, name in enumerate("abc"):
        folder = await elsewhere.pull(cache, name)
        os.utime(folder.parent, (at, at))
    (tmp_path / "cache" / "lost+found" / "x").mkdir(parents=True)
    (tmp_path / "cache" / ".staging" / "x").mkdir(parents=True)
    elsewhere.fetched.clear()
    again = await opened(tmp_path, bundles=3)
    for name in "bc":
        await elsewhere.pull(again, name)
    assert elsewhere.fetched == []
    assert again.size_bytes < 3 * ONE
    assert sorted(each.name for each in (tmp_path / "cache").iterdir()) == [".staging", ACME, "lost+found"]
    assert list((tmp_path / "cache" / ".staging").iterdir()) == []


async def test_who_wants_what_is_being_removed_waits_for_that_and_fetches_it(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await opened(tmp_path, bundles=1)
    removing, go_on = threading.Event(), threading.Event()
    discard = cache.files.discard

    def discard_slowly(folder: Path) -> None:
        removing.set()
        go_on.wait(10)
        discard(folder)

    await elsewhere.pull(cache, "a")
    monkeypatch.setattr(cache.files, "discard", discard_slowly)
    async with asyncio.TaskGroup() as group:
        evicting = group.create_task(elsewhere.pull(cache, "b"))
        await asyncio.to_thread(removing.wait, 10)
        evicting.cancel()
        again = group.create_task(elsewhere.pull(cache, "a"))
        await asyncio.sleep(0)
        monkeypatch.setattr(cache.files, "discard", discard)
        go_on.set()
    assert (again.result() / "main.py").read_bytes() == b"a" * 10
    assert elsewhere.fetched == ["a", "b", "a"]


async def test_to_discard_takes_it_away_from_those_who_use_it(elsewhere: Elsewhere, tmp_path: Path) -> None:
    cache = await opened(tmp_path)
    async with AsyncExitStack() as stack:
        folder = await elsewhere.pull(cache, "a", stack)
        await cache.discard(ACME, elsewhere._digests["a"])
        assert not folder.exists()
    await cache.discard(ACME, elsewhere._digests["a"])
    assert cache.size_bytes == 0
