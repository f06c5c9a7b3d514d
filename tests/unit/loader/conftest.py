"""What tests of a loader are given."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loader.bundles.store_files import FileBundleStore
from loader.guest import Guest
from tests.unit.loader.fake_sandbox import FakeSandbox
from tests.unit.loader.loaders import CountingLauncher


@pytest.fixture
def store(tmp_path: Path) -> FileBundleStore:
    return FileBundleStore(tmp_path / "bundles")


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[CountingLauncher]:
    os.mkdir(tmp_path / "sandboxes")
    launcher = CountingLauncher(tmp_path / "sandboxes")
    yield launcher
    assert os.listdir(tmp_path / "sandboxes") == []


@pytest.fixture
async def sandbox() -> AsyncIterator[FakeSandbox]:
    fake = FakeSandbox()
    yield fake
    fake.close()


@pytest.fixture
async def guest(sandbox: FakeSandbox) -> AsyncIterator[Guest]:
    guest = Guest(sandbox)
    yield guest
    guest.kill("the test is over")
    await asyncio.sleep(0)
