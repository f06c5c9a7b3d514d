"""What is no message at all, to every call: refused as any bad request is, and only once it is known who calls."""

from __future__ import annotations

import pytest

from tests.api.methods import METHODS, Method
from tests.api.running import Running

DAMAGED = {"cut": b"\x0a\x05a", "not a field": b"\xff\xff", "a text that is not UTF-8": b"\x0a\x01\xff\x12\x01\xff"}


def by_name(method: Method) -> str:
    return method.name


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_bytes_are_an_invalid_argument(server: Running, method: Method, data: bytes) -> None:
    request = [data] if method.streams_requests else data
    assert server.refused(method.path, request, server.operator).reason == "INVALID_ARGUMENT"
    assert server.refused(method.path, request, None).reason == "UNAUTHENTICATED"


def test_a_damaged_part_ends_a_stream_and_so_does_a_second_one(server: Running) -> None:
    (deploy,) = (method for method in METHODS if method.streams_requests)
    for parts in ([b"", b"\xff"], [b"\xff", b"\xff"]):
        assert server.refused(deploy.path, parts, server.operator).reason == "INVALID_ARGUMENT"
