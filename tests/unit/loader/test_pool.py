"""Which boots of the warm pool are hurried, by who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from loader.guest import Guest
from loader.pool import WarmPool
from loader.sandbox.sandbox import Sandbox, SandboxLauncher
from loader.settings import LoaderSettings
from tests.unit.loader.fake_sandbox import HELLO, FakeSandbox


class Booting(FakeSandbox):
    """One that says hello when the test says so."""

    is_hurried = False

    def schedule(self, parts: int, *, is_background: bool) -> None:
        self.is_hurried = not is_background


class Launcher:
    def __init__(self) -> None:
        self.launched: list[Booting] = []

    async def launch(self) -> Booting:
        self.launched.append(Booting())
        return self.launched[-1]

    @property
    def hurried(self) -> list[bool]:
        return [sandbox.is_hurried for sandbox in self.launched]


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    launcher = Launcher()
    yield launcher
    for sandbox in launcher.launched:
        sandbox.close()


@pytest.fixture
async def pool(launcher: Launcher) -> AsyncIterator[WarmPool]:
    """One that boots two for its stock."""
    settings = LoaderSettings(warm_sandboxes=2, boots_parallel_max=2, boot_backoff_ms=60_000)
    async with asyncio.TaskGroup() as tasks:
        pool = WarmPool(cast("SandboxLauncher", launcher), settings, tasks, lambda reason: None)
        pool.fill()
        await settled()
        yield pool
        pool.close()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def taking(pool: WarmPool, *, in_hurry: bool = True) -> asyncio.Task[Guest]:
    taking = asyncio.create_task(pool.take(in_hurry=in_hurry))
    await settled()
    return taking


async def test_as_many_boots_are_hurried_as_callers_are_in_a_hurry(pool: WarmPool, launcher: Launcher) -> None:
    assert launcher.hurried == [False, False]
    calm = await taking(pool, in_hurry=False)
    assert launcher.hurried == [False, False]
    first = await taking(pool)
    assert launcher.hurried == [True, False]
    second = await taking(pool)
    assert launcher.hurried == [True, True]
    for waits in (calm, first, second):
        waits.cancel()


async def test_who_was_hurried_is_in_the_background_once_it_has_booted(pool: WarmPool, launcher: Launcher) -> None:
    waits = await taking(pool)
    launcher.launched[0].say(HELLO)
    assert (await waits).sandbox is cast("Sandbox", launcher.launched[0])
    assert launcher.hurried[:2] == [False, False]


async def test_a_boot_that_failed_passes_its_hurry_on(pool: WarmPool, launcher: Launcher) -> None:
    waits = await taking(pool)
    launcher.launched[0].kill()
    await settled()
    assert launcher.hurried[1]
    launcher.launched[1].say(HELLO)
    assert (await waits).sandbox is cast("Sandbox", launcher.launched[1])
