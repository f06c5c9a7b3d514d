"""What guests run on is what their interpreter says of itself, found out once."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from loader.bundles.runtime import GuestRuntime
from loader.bundles.store_files import FileBundleStore
from loader.sandbox.rootfs import PYTHON
from loader.sandbox.runtime import runtime_of
from loader.sandbox.sandbox import SandboxError
from loader.sandbox.sandbox_gvisor import GVisorLauncher
from loader.sandbox.sandbox_process import ProcessLauncher
from stepwell.errors import SandboxUnavailableError
from tests.unit.loader.loaders import CountingLauncher, loader_of


async def test_an_interpreter_says_what_it_is() -> None:
    libc, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    assert await runtime_of(sys.executable) == GuestRuntime(
        platform.python_version(), "cpython", platform.machine(), libc, version
    )


async def test_each_kind_of_sandbox_asks_the_interpreter_that_its_guests_run_on(tmp_path: Path) -> None:
    assert await GVisorLauncher(tmp_path, tmp_path, None).runtime() == await runtime_of(str(PYTHON))
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'["3.12.1", "cpython", "riscv64", "", ""]\'\n')
    other.chmod(0o755)
    assert await ProcessLauncher(tmp_path, str(other)).runtime() == GuestRuntime("3.12.1", "cpython", "riscv64", "", "")


@pytest.mark.parametrize("python", ["/absent/python", "/bin/false"])
async def test_an_interpreter_that_says_nothing_is_an_error(python: str) -> None:
    with pytest.raises(SandboxError, match=python):
        await runtime_of(python)


class Asked(CountingLauncher):
    """Counts how often it was asked; fails at first when told to."""

    asked = 0
    fails = False

    async def runtime(self) -> GuestRuntime:
        self.asked += 1
        if self.fails:
            raise SandboxError("/host/path: out of luck")
        return GuestRuntime("3.11.2", "cpython", "x86_64", "glibc", "2.36")


async def test_a_loader_asks_once_however_often_it_is_asked(tmp_path: Path) -> None:
    launcher = Asked(tmp_path / "sandboxes")
    async with loader_of(FileBundleStore(tmp_path / "bundles"), launcher) as loader:
        assert await loader.runtime() == await loader.runtime()
        assert launcher.asked == 1


async def test_that_nobody_knows_it_is_told_without_the_hosts_paths(tmp_path: Path) -> None:
    launcher = Asked(tmp_path / "sandboxes")
    launcher.fails = True
    async with loader_of(FileBundleStore(tmp_path / "bundles"), launcher) as loader:
        with pytest.raises(SandboxUnavailableError, match="c-1") as caught:
            await loader.runtime()
        assert "/host" not in caught.value.message
        launcher.fails = False
        assert (await loader.runtime()).machine == "x86_64"
