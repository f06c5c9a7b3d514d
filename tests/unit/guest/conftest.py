from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.replay.fake_host import FakeHost, install
from tests.replay.guest_process import GuestProcess


@pytest.fixture
def in_guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """asyncio as it is in a guest; instances that a test leaves open are closed."""
    hooks, begin, hosts = sys.get_asyncgen_hooks(), FakeHost.begin, []

    def noted(host: FakeHost) -> FakeHost:
        hosts.append(host)
        return begin(host)

    monkeypatch.setattr(FakeHost, "begin", noted)
    install()
    yield
    for host in hosts:
        host.instance.stop()
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
