"""Leases, sharing, eviction and failures, over launchers that are quick: plain processes, and ones that fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loader.bundles.store_files import FileBundleStore
from loader.guest import Guest
from loader.loader import Loader
from loader.sandbox.processes import SandboxProcess
from loader.settings import LoaderSettings
from stepwell.errors import BundleRefusedError, NotFoundError, SandboxUnavailableError, UnavailableError
from stepwell.names import Digest, TenantUid
from tests.unit.loader.loaders import ACME, OTHER, WORKFLOW, CountingLauncher, deployed, loader_of


async def test_leases_of_a_version_share_one_sandbox_and_one_load(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        first, second = await asyncio.gather(loader.acquire(ACME, digest), loader.acquire(ACME, digest))
        third = await loader.acquire(ACME, digest)
        assert first.guest is second.guest is third.guest
        assert launcher.launches == 1


async def test_tenants_with_the_same_bytes_never_share(store: FileBundleStore, launcher: CountingLauncher) -> None:
    digest = await deployed(store)
    assert await deployed(store, OTHER) == digest
    async with loader_of(store, launcher) as loader:
        mine, theirs = await asyncio.gather(loader.acquire(ACME, digest), loader.acquire(OTHER, digest))
        assert mine.guest is not theirs.guest


async def test_replays_share_a_sandbox_with_each_other_and_with_nothing_that_lives(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        live = await loader.acquire(ACME, digest)
        first, second = [await loader.acquire(ACME, digest, replays=True) for _ in range(2)]
        assert first.guest is second.guest is not live.guest
        first.guest.kill("a replay spun")
        assert live.guest.alive
        assert (await loader.acquire(ACME, digest)).guest is live.guest
        assert (await loader.acquire(ACME, digest, replays=True)).guest is not first.guest


async def test_a_lease_alone_is_alone_and_its_sandbox_ends_with_it(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        shared = await loader.acquire(ACME, digest)
        alone = await loader.acquire(ACME, digest, alone=True)
        assert alone.guest is not shared.guest
        alone.release()
        alone.release()
        assert await alone.guest.death == "it is not needed any more"
        shared.release()
        assert shared.guest.alive


async def test_a_dead_sandbox_is_replaced_at_the_next_acquire(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        lease = await loader.acquire(ACME, digest)
        lease.guest.kill("the test says so")
        await lease.guest.death
        again = await loader.acquire(ACME, digest)
        assert again.guest.alive
        assert again.guest is not lease.guest
        lease.release()
        assert loader.sandboxes == 1


async def test_a_sandbox_whose_end_is_awaited_is_given_to_nobody(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    ends = "import threading, os\nthreading.Timer(0.2, os.closerange, (3, 256)).start()\n"
    digest = await deployed(store, code=ends + WORKFLOW)
    async with loader_of(store, launcher) as loader:
        lease = await loader.acquire(ACME, digest)
        while lease.guest.usable:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert lease.guest.alive
        assert (await loader.acquire(ACME, digest)).guest is not lease.guest
        assert await lease.guest.death == "it closed its connection"


async def test_the_one_idle_longest_makes_room_and_leased_ones_never_do(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digests = [await deployed(store, code=WORKFLOW + f"# {n}\n") for n in range(4)]
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0, sandboxes_max=3)) as loader:
        leases = [await loader.acquire(ACME, digest) for digest in digests[:3]]
        leases[2].release()
        leases[1].release()
        fourth = await loader.acquire(ACME, digests[3])
        assert [lease.guest.alive for lease in leases] == [True, True, False]
        assert await leases[2].guest.death == "its place was needed"
        assert fourth.guest.alive


async def test_when_memory_is_short_those_idle_longest_go_until_enough_is_given_back(
    store: FileBundleStore, launcher: CountingLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SandboxProcess, "memory_bytes", lambda _: 100)
    monkeypatch.setattr("loader.loader.MEMORY_LOOK_S", 1_000)
    digests = [await deployed(store, code=WORKFLOW + f"# {n}\n") for n in range(5)]
    async with loader_of(store, launcher) as loader:
        leases = [await loader.acquire(ACME, digest) for digest in digests[:4]]
        for lease in (leases[2], leases[0], leases[1]):
            lease.release()
        launcher.excess = 150
        await loader.acquire(ACME, digests[4])
        assert [lease.guest.alive for lease in leases] == [False, True, False, True]
        assert await leases[2].guest.death == "its memory was needed"


async def test_a_look_at_memory_every_second_ends_what_is_idle(
    store: FileBundleStore, launcher: CountingLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.loader.MEMORY_LOOK_S", 0.01)
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        lease = await loader.acquire(ACME, digest)
        launcher.excess = 1
        lease.release()
        assert await lease.guest.death == "its memory was needed"


async def test_without_room_a_request_waits_until_something_is_released(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    one, two = await deployed(store), await deployed(store, OTHER)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0, sandboxes_max=1)) as loader:
        held = await loader.acquire(ACME, one)
        waiting = asyncio.ensure_future(loader.acquire(OTHER, two))
        await asyncio.sleep(0)
        assert not waiting.done()
        held.release()
        assert (await waiting).guest.alive


async def test_tenants_take_turns_to_have_their_sandboxes_loaded(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest, loaded = await deployed(store, OTHER), list[TenantUid]()
    flood = [await deployed(store, ACME, WORKFLOW + f"# {number}") for number in range(4)]
    settings = LoaderSettings(warm_sandboxes=0, loads_parallel_max=1)

    async def acquired(tenant: TenantUid, digest: Digest) -> None:
        await loader.acquire(tenant, digest)
        loaded.append(tenant)

    async with loader_of(store, launcher, settings) as loader:
        await asyncio.gather(*(acquired(ACME, each) for each in flood), acquired(OTHER, digest))
    assert loaded.index(OTHER) <= 2, "it was not behind the other's four"


async def test_a_tenant_whose_sandboxes_end_again_and_again_waits_for_the_next(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest, loop = await deployed(store), asyncio.get_running_loop()
    settings = LoaderSettings(warm_sandboxes=0, sandboxes_per_tenant_max=2, starts_a_minute_per_tenant_max=120)
    async with loader_of(store, launcher, settings) as loader:
        began = loop.time()
        for _ in range(4):
            (await loader.acquire(ACME, digest)).guest.kill("the test says so")
        assert loop.time() - began >= 1.0, "two at once, then one every half second"


async def test_an_idle_sandbox_ends_after_its_time(store: FileBundleStore, launcher: CountingLauncher) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0, idle_timeout_ms=1)) as loader:
        lease = await loader.acquire(ACME, digest)
        lease.release()
        assert await lease.guest.death == "it was idle"
        assert loader.sandboxes == 0


async def test_a_warm_sandbox_is_taken_and_the_stock_refilled(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=1)) as loader:
        await stocked(loader)
        lease = await loader.acquire(ACME, digest)
        await stocked(loader)
        assert launcher.launches == 2
        assert lease.guest.alive


async def stocked(loader: Loader) -> None:
    """Wait for a warm sandbox."""
    async with asyncio.timeout(20):
        while loader.warm_sandboxes < 1:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_failed_start_is_tried_again(store: FileBundleStore, tmp_path: Path) -> None:
    digest = await deployed(store)
    launcher = CountingLauncher(tmp_path / "sandboxes", failures=2)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0, boot_backoff_ms=1)) as loader:
        assert (await loader.acquire(ACME, digest)).guest.alive
        assert launcher.launches == 3


async def test_starts_that_keep_failing_give_a_correlation_id_and_no_host_path(
    store: FileBundleStore, tmp_path: Path
) -> None:
    digest = await deployed(store)
    launcher = CountingLauncher(tmp_path / "sandboxes", failures=100)
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0, boot_backoff_ms=1)) as loader:
        with pytest.raises(SandboxUnavailableError) as caught:
            await loader.acquire(ACME, digest)
        assert caught.value.metadata == {"correlation_id": "c-1"}
        assert "host" not in caught.value.message
        assert loader.sandboxes == 0


async def test_a_check_passes_a_good_bundle_and_leaves_no_sandbox(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        await loader.check(ACME, digest)
        assert loader.sandboxes == 0


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
        ("x = 1\n", "Order"),
        ("import os\nos._exit(1)\n", "does a module end the process"),
        ("while True: pass\n", "took over 2 s"),
    ],
)
async def test_a_check_refuses_a_bundle_with_the_reason(
    store: FileBundleStore, launcher: CountingLauncher, code: str, why: str
) -> None:
    digest = await deployed(store, code=code)
    settings = LoaderSettings(warm_sandboxes=0, import_timeout_ms=2_000)
    async with loader_of(store, launcher, settings) as loader:
        with pytest.raises(BundleRefusedError, match=why):
            await loader.check(ACME, digest)


async def test_a_version_that_hung_once_while_it_was_imported_is_tried_again(
    store: FileBundleStore, launcher: CountingLauncher, tmp_path: Path
) -> None:
    hung = tmp_path / "hung"
    code = f"import os, time\nif not os.path.exists({str(hung)!r}):\n    open({str(hung)!r}, 'w')\n    time.sleep(60)\n"
    digest = await deployed(store, code=code + WORKFLOW)
    settings = LoaderSettings(warm_sandboxes=0, import_timeout_ms=1_500)
    async with loader_of(store, launcher, settings) as loader:
        (await loader.acquire(ACME, digest)).release()
        hung.unlink()
        with pytest.raises(BundleRefusedError, match=r"took over 1\.5 s"):
            await loader.check(ACME, digest)


async def test_a_tenant_whose_checks_hang_keeps_nobody_elses_waiting(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    hanging = [await deployed(store, code=f"while True: {number}\n") for number in range(3)]
    digest = await deployed(store, OTHER)
    async with loader_of(store, launcher) as loader, asyncio.timeout(20):
        checks = [asyncio.create_task(loader.check(ACME, each)) for each in hanging]
        await asyncio.sleep(0)
        await loader.check(OTHER, digest)
        assert not any(check.done() for check in checks)
        for check in checks:
            check.cancel()


async def test_a_check_that_waits_for_its_tenants_pace_takes_no_place_from_others(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest, others = await deployed(store), await deployed(store, OTHER)
    settings = LoaderSettings(
        warm_sandboxes=0, checks_parallel_max=1, sandboxes_per_tenant_max=1, starts_a_minute_per_tenant_max=1
    )
    async with loader_of(store, launcher, settings) as loader, asyncio.timeout(20):
        await loader.check(ACME, digest)
        paced = asyncio.create_task(loader.check(ACME, digest))
        await asyncio.sleep(0)
        await loader.check(OTHER, others)
        assert not paced.done()
        paced.cancel()


async def test_a_check_counts_as_a_start(store: FileBundleStore, launcher: CountingLauncher) -> None:
    digest = await deployed(store)
    settings = LoaderSettings(warm_sandboxes=0, sandboxes_per_tenant_max=1, starts_a_minute_per_tenant_max=1)
    async with loader_of(store, launcher, settings) as loader:
        await loader.check(ACME, digest)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await loader.check(ACME, digest)
        assert launcher.launches == 1


async def test_a_version_that_is_not_there_is_not_found(store: FileBundleStore, launcher: CountingLauncher) -> None:
    async with loader_of(store, launcher) as loader:
        with pytest.raises(NotFoundError):
            await loader.acquire(ACME, Digest("sha256-" + "0" * 64))
        assert loader.sandboxes == 0


async def test_closing_ends_every_sandbox_and_refuses_who_waits(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    one, two = await deployed(store), await deployed(store, OTHER)
    guests: list[Guest] = []
    async with loader_of(store, launcher, LoaderSettings(warm_sandboxes=0, sandboxes_max=1)) as loader:
        guests.append((await loader.acquire(ACME, one)).guest)
        waiting = asyncio.ensure_future(loader.acquire(OTHER, two))
        alone = asyncio.ensure_future(loader.acquire(OTHER, two, alone=True))
        await asyncio.sleep(0)
        await loader.close()
        with pytest.raises(UnavailableError):
            await alone
        assert guests[0].death.result() == "the server stops"
        with pytest.raises(UnavailableError):
            await waiting
        with pytest.raises(UnavailableError):
            await loader.acquire(ACME, one)


async def test_giving_up_one_acquire_leaves_the_shared_load_to_the_others(
    store: FileBundleStore, launcher: CountingLauncher
) -> None:
    digest = await deployed(store)
    async with loader_of(store, launcher) as loader:
        impatient = asyncio.ensure_future(loader.acquire(ACME, digest))
        patient = asyncio.ensure_future(loader.acquire(ACME, digest))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).guest.alive
        assert launcher.launches == 1


async def test_starts_that_keep_failing_are_heard_of_with_the_reason_until_one_succeeds(
    store: FileBundleStore, tmp_path: Path
) -> None:
    digest = await deployed(store)
    launcher = CountingLauncher(tmp_path / "sandboxes", failures=4)
    heard: list[str] = []
    settings = LoaderSettings(warm_sandboxes=0, boot_backoff_ms=1, boot_attempts_max=3)
    async with Loader(store, launcher, settings, make_correlation_id=lambda: "c-1", on_starts=heard.append) as loader:
        for times in (1, 2):
            with pytest.raises(SandboxUnavailableError):
                await loader.acquire(ACME, digest)
            assert heard == ["/host/path: out of luck"] * times
        assert (await loader.acquire(ACME, digest)).guest.alive
        assert heard == ["/host/path: out of luck"] * 2 + [""]


async def test_whoever_watches_starts_hears_how_long_one_took_and_of_each_that_failed(
    store: FileBundleStore, tmp_path: Path
) -> None:
    class Watching:
        def __init__(self) -> None:
            self.heard: list[float | None] = []

        def booted(self, seconds: float) -> None:
            self.heard.append(seconds)

        def boot_failed(self) -> None:
            self.heard.append(None)

    watching, launcher = Watching(), CountingLauncher(tmp_path / "sandboxes", failures=1)
    settings = LoaderSettings(warm_sandboxes=0, boot_backoff_ms=1)
    async with Loader(store, launcher, settings, make_correlation_id=lambda: "c-1", observer=watching) as loader:
        await loader.acquire(ACME, await deployed(store))
    failed, seconds = watching.heard
    assert failed is None
    assert seconds is not None
    assert 0 < seconds < settings.boot_timeout_ms / 1000
