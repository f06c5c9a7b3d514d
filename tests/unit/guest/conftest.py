from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.replay.fake_host import install
from tests.replay.guest_process import GuestProcess


@pytest.fixture
def in_guest() -> Iterator[None]:
    """asyncio as it is in a guest."""
    hooks = sys.get_asyncgen_hooks()
    install()
    yield
    sys.set_asyncgen_hooks(*hooks)


@pytest.fixture
def guest() -> Iterator[GuestProcess]:
    """A guest in a process, that said hello."""
    with GuestProcess() as process:
        yield process


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An empty folder for a bundle."""
    return tmp_path
