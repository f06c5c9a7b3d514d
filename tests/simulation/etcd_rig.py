"""A modelled etcd and two clients, for the tests of the model itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from random import Random
from typing import Any, Final, TypeVar

import pytest

from cluster.store import Event, Put
from stepwell.errors import UnavailableError
from tests.simulation.etcd import Etcd
from tests.simulation.etcd_client import EtcdStore
from tests.simulation.etcd_faults import CALM, HOSTILE, LATE_S, REQUEST_TIMEOUT_S, EtcdFaults
from tests.simulation.loop import SimulatedLoop

T = TypeVar("T")

SETTLED_S: Final = REQUEST_TIMEOUT_S + LATE_S + 2 * HOSTILE.hop_s[1]
"""After it, nothing that was asked before is still on its way."""


def simulated(test: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """Run it to its end on virtual time."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> T:
        errors: list[dict[str, Any]] = []
        # The type checker takes it for abstract: it has neither sockets nor signals.
        make: Callable[..., SimulatedLoop] = SimulatedLoop
        result: T = make(Random(0), errors.append).run_until_complete(test(*args, **kwargs))
        assert errors == []
        return result

    return run


class Rig:
    """`alive` and `connected` are those of the process that has `store`; `other` is another process's."""

    def __init__(self, faults: EtcdFaults = CALM, seed: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        self.seen: Counter[str] = Counter()
        self.etcd = Etcd(self.loop, Random(seed), self.seen, faults)
        self.alive = self.connected = True
        self.store = self.etcd.client(lambda: self.alive, lambda: self.connected)
        self.other = self.etcd.client(lambda: True)

    async def fails(self, request: Awaitable[object], faults: EtcdFaults = CALM) -> bool:
        """Whether the request is unavailable when it meets these faults. Afterwards all is calm."""
        self.etcd.faults = faults
        try:
            await request
        except UnavailableError:
            return True
        finally:
            self.etcd.faults = CALM
        return False

    def there(self) -> list[str]:
        """What is there, in truth."""
        return [found.key for found in self.etcd.state.range("", "", 99)]


async def put(store: EtcdStore, key: str, value: bytes = b"", lease: int = 0) -> int:
    result = await store.txn((), (Put(key, value, lease),))
    assert result.succeeded
    return result.revision


def recorded_changes(
    etcd: Etcd, patched: pytest.MonkeyPatch, heard: Callable[[float, tuple[Event, ...]], None]
) -> None:
    """Tell of each change at the moment when it is made, as no client can."""
    publish = etcd.watches.published

    def published(events: tuple[Event, ...]) -> None:
        heard(etcd.time.now(), events)
        publish(events)

    patched.setattr(etcd.watches, "published", published)
