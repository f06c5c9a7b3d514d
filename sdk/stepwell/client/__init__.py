"""Stepwell's API from Python: `connect(endpoint, token)` gives a `Client`.

    async with connect("127.0.0.1:7837", token) as client:
        made = await client.instances.create("acme", "order", {"item": 7})
        output = await client.instances.result(made.name)

Params and payloads are values; answers are the messages of `stepwell.v1`, whose fields of JSON `value_of` reads. Calls
raise `stepwell.errors.ApiError`, never gRPC's own errors. The names below are found on first use, so that
`stepwell.client.contexts` can be had without paying for gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.client.connection import Client, connect
    from stepwell.client.endpoints import NotReachableError
    from stepwell.client.payloads import Json, value_of
    from stepwell.client.workflows import BundleFile, MemoryFile

__all__ = ["BundleFile", "Client", "Json", "MemoryFile", "NotReachableError", "connect", "value_of"]

_HOMES = {
    "Client": "stepwell.client.connection",
    "connect": "stepwell.client.connection",
    "NotReachableError": "stepwell.client.endpoints",
    "Json": "stepwell.client.payloads",
    "value_of": "stepwell.client.payloads",
    "BundleFile": "stepwell.client.workflows",
    "MemoryFile": "stepwell.client.workflows",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
