"""Stepwell's API from Python: `connect(endpoint, token)` gives a `Client`.

    async with connect("127.0.0.1:7837", token) as client:
        instance = await client.instances.create("acme", "order", params=b'{"item": 7}')

Calls raise `stepwell.errors.ApiError`, never gRPC's own errors; answers are the messages of `stepwell.v1`. The names
below are found on first use, so that `stepwell.client.contexts` can be had without paying for gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.client.connection import Client, connect
    from stepwell.client.endpoints import NotReachableError

__all__ = ["Client", "NotReachableError", "connect"]

_HOMES = {
    "Client": "stepwell.client.connection",
    "connect": "stepwell.client.connection",
    "NotReachableError": "stepwell.client.endpoints",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
